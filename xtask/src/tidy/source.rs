//! A file as the rules see it: its tokens, and which of them are compiled for tests only.

use super::lexer::{Token, TokenKind, tokens};

/// A file of the repository.
pub(super) struct File {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

/// A Rust file, read once for all rules.
pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    /// Code and strings, without comments and without what only tests compile.
    pub(super) code: Vec<Token>,
    /// Everything, tests and comments included.
    pub(super) all: Vec<Token>,
    /// Modules that only tests compile and that have a file of their own.
    test_modules: Vec<String>,
    /// Whether the file is a module that only tests compile.
    pub(super) is_test_module: bool,
}

impl Source {
    pub(super) fn new(file: &File) -> Self {
        let all = tokens(&file.text);
        let mut code = all.iter().filter(|token| token.kind != TokenKind::Comment).cloned().collect::<Vec<_>>();
        let test_modules = drop_tests(&mut code);
        Self { path: file.path.clone(), text: file.text.clone(), code, all, test_modules, is_test_module: false }
    }

    /// Whether no part of the file is in what users run.
    pub(super) fn is_test(&self) -> bool {
        self.is_test_module || self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }

    /// The paths, without `.rs`, of modules that only tests compile: they, and what is below them, are tests.
    fn test_places(&self) -> impl Iterator<Item = String> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        let directory = ["/mod", "/lib", "/main"].iter().find_map(|root| stem.strip_suffix(root)).unwrap_or(stem);
        self.test_modules.iter().map(move |name| format!("{directory}/{name}"))
    }
}

#[cfg(test)]
impl File {
    pub(super) fn example(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

#[cfg(test)]
impl Source {
    pub(super) fn example(path: &str, text: &str) -> Self {
        Self::new(&File::example(path, text))
    }
}

/// Reads all files, and finds out which of them only tests compile.
pub(super) fn read_all(files: &[File]) -> Vec<Source> {
    let mut sources = files.iter().map(Source::new).collect::<Vec<_>>();
    let tests = sources.iter().flat_map(Source::test_places).collect::<Vec<_>>();
    for source in &mut sources {
        let is_below =
            |place: &String| source.path.strip_prefix(place).is_some_and(|rest| rest.starts_with(['.', '/']));
        source.is_test_module = tests.iter().any(is_below);
    }
    sources
}

/// Takes away what `#[cfg(test)]` guards, and answers the names of guarded modules that are files.
fn drop_tests(code: &mut Vec<Token>) -> Vec<String> {
    let mut modules = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if !starts_with(&code[at..], &["#", "[", "cfg", "(", "test", ")", "]"]) {
            at += 1;
            continue;
        }
        let end = item_end(code, at + 7);
        let item = &code[at + 7..end];
        if let Some(module) = item.windows(3).find(|window| window[0].is("mod") && window[2].is(";")) {
            modules.push(module[1].text.clone());
        }
        code.drain(at..end);
    }
    modules
}

pub(super) fn starts_with(code: &[Token], words: &[&str]) -> bool {
    code.len() >= words.len() && words.iter().zip(code).all(|(word, token)| token.is(word))
}

/// Where the item that begins at `from` ends: after its `;`, or after its body.
fn item_end(code: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in code.iter().enumerate().skip(from) {
        match depth_change(token) {
            1 => depth += 1,
            -1 => {
                depth -= 1;
                if depth == 0 && token.is("}") {
                    // An import's group ends with both.
                    let ends_both = code.get(at + 1).is_some_and(|next| next.is(";"));
                    return at + 1 + usize::from(ends_both);
                }
            }
            _ if depth == 0 && token.is(";") => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// 1 where a bracket opens, -1 where one closes.
pub(super) fn depth_change(token: &Token) -> i32 {
    match token.text.as_str() {
        _ if token.kind != TokenKind::Punctuation => 0,
        "(" | "[" | "{" => 1,
        ")" | "]" | "}" => -1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_only_tests_compile_are_known() {
        let file = File::example;
        let files = [
            file("a/src/lib.rs", "#[cfg(test)] mod fixture; mod other;"),
            file("a/src/other.rs", "#[cfg(test)] mod double;"),
            file("a/src/fixture/part.rs", ""),
            file("a/src/other/double.rs", ""),
            file("a/src/other/tests.rs", ""),
            file("a/tests/one.rs", ""),
            file("a/src/fixtures.rs", ""),
        ];
        let found = read_all(&files).iter().map(Source::is_test).collect::<Vec<_>>();
        assert_eq!(found, [false, false, true, true, true, true, false]);
    }

    #[track_caller]
    fn check(text: &str, expected: &str, modules: &[&str]) {
        let source = Source::example("a.rs", text);
        let words = source.code.iter().map(|token| token.text.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(words, expected, "{text}");
        assert_eq!(source.test_modules, modules, "{text}");
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        check("a; #[cfg(test)] mod tests { fn b() {} } c", "a ; c", &[]);
        check("#[cfg(test)]\npub mod fixture;\nc", "c", &["fixture"]);
        check("#[cfg(test)] #[path = \"x\"] fn a(b: [u8; 2]) { d } c", "c", &[]);
        check("#[cfg(test)] use a::{b, c}; d", "d", &[]);
        check("#[cfg(unix)] mod a; b", "# [ cfg ( unix ) ] mod a ; b", &[]);
    }
}
