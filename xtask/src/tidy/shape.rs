//! The shape of files and functions: one style of modules, nothing too long, errors that have a type.

use super::finding::{Finding, Rule};
use super::functions::functions;
use super::lexer::{Token, TokenKind};
use super::source::{Source, depth_change, starts_with};

/// Past this a file holds more than one subject.
const MOST_LINES: usize = 500;
/// Past this a function does more than one thing.
const MOST_LINES_OF_A_FUNCTION: usize = 80;
/// Past this a reader of the call no longer knows which argument is which.
const MOST_ARGUMENTS: usize = 5;

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let finding = |line, what: String| Finding::new(Rule::Shape, &source.path, line, what);
    let mut findings = Vec::new();
    let lines = source.text.lines().count();
    if lines > MOST_LINES {
        findings.push(finding(0, format!("the file has {lines} lines, and {MOST_LINES} is the most: split it")));
    }
    if let Some(directory) = source.path.strip_suffix("/mod.rs") {
        findings
            .push(finding(0, format!("move this file to {directory}.rs: a module's file goes next to its directory")));
    }
    for (line, path) in redundant_paths(source) {
        findings.push(finding(line, format!("#[path = \"{path}\"] is what rustc assumes anyway: remove it")));
    }
    for function in functions(&source.all) {
        if function.lines > MOST_LINES_OF_A_FUNCTION {
            let what = format!("`fn {}` has more than {MOST_LINES_OF_A_FUNCTION} lines", function.name);
            findings.push(finding(function.line, what));
        }
        if function.arguments > MOST_ARGUMENTS {
            let what = format!("`fn {}` takes more than {MOST_ARGUMENTS} arguments: take a struct", function.name);
            findings.push(finding(function.line, what));
        }
    }
    if !source.is_test() {
        for line in untyped_errors(&source.code) {
            findings.push(finding(line, "an error is a `String`: give it a type, with thiserror".to_owned()));
        }
    }
    findings
}

/// `#[path = "x/tests.rs"] mod tests;` in `x.rs`.
fn redundant_paths(source: &Source) -> Vec<(usize, String)> {
    let stem = source.path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
    let is_attribute = |window: &[Token]| {
        starts_with(window, &["#", "[", "path", "="]) && window[4].kind == TokenKind::Text && window[6].is("mod")
    };
    let code = source.all.iter().filter(|token| token.kind != TokenKind::Comment).cloned().collect::<Vec<_>>();
    // The root of a crate finds its modules beside itself.
    let is_root = matches!(stem, "lib" | "main") || source.path.contains("/tests/") && !source.path.contains("/src/");
    let attributes = code.windows(8).filter(|window| is_attribute(window));
    let redundant = attributes.filter(|window| {
        let (path, module) = (&window[4].text, &window[7].text);
        let place = if is_root || stem == "mod" { String::new() } else { format!("{stem}/") };
        *path == format!("{place}{module}.rs") || *path == format!("{place}{module}/mod.rs")
    });
    redundant.map(|window| (window[0].line, window[4].text.clone())).collect()
}

/// Lines with a `Result<_, String>`.
fn untyped_errors(code: &[Token]) -> Vec<usize> {
    let results = code
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| (pair[0].is("Result") || pair[0].is("RResult")) && pair[1].is("<"));
    results.filter(|(at, _)| has_string_error(&code[at + 1..])).map(|(_, pair)| pair[0].line).collect()
}

/// Whether the second of the generic arguments that `code` begins with is `String`.
fn has_string_error(code: &[Token]) -> bool {
    let mut depth = 0;
    for (at, token) in code.iter().enumerate() {
        let is_arrow = token.is(">") && at > 0 && code[at - 1].is("-");
        depth += match token.text.as_str() {
            "<" => 1,
            ">" if !is_arrow => -1,
            _ => depth_change(token),
        };
        if depth == 1 && token.is(",") {
            return starts_with(&code[at + 1..], &["String", ">"]);
        }
        if depth <= 0 {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: &str, expected: &[&str]) {
        let found = check(&Source::example(path, text));
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn a_long_file_is_found() {
        check_text("a.rs", &"\n".repeat(MOST_LINES), &[]);
        let what = "a.rs: the file has 501 lines, and 500 is the most: split it";
        check_text("a.rs", &"\n".repeat(MOST_LINES + 1), &[what]);
    }

    #[test]
    fn a_long_function_is_found() {
        let text = |lines| format!("\nfn a() {{{}}}\n", "\n".repeat(lines - 1));
        check_text("a.rs", &text(MOST_LINES_OF_A_FUNCTION), &[]);
        check_text("a.rs", &text(MOST_LINES_OF_A_FUNCTION + 1), &["a.rs:2: `fn a` has more than 80 lines"]);
    }

    #[test]
    fn a_function_with_many_arguments_is_found() {
        check_text("a.rs", "fn a(&self, b: B, c: C, d: D, e: E, f: F) {}", &[]);
        let what = "a.rs:1: `fn a` takes more than 5 arguments: take a struct";
        check_text("a.rs", "fn a(&self, b: B, c: C, d: D, e: E, f: F, g: G) {}", &[what]);
    }

    #[test]
    fn a_second_style_of_modules_is_found() {
        check_text("host/src/rest.rs", "mod help;", &[]);
        let what =
            "host/src/rest/mod.rs: move this file to host/src/rest.rs: a module's file goes next to its directory";
        check_text("host/src/rest/mod.rs", "mod help;", &[what]);
    }

    #[test]
    fn a_redundant_path_is_found() {
        let what = "a/src/b.rs:1: #[path = \"b/tests.rs\"] is what rustc assumes anyway: remove it";
        check_text("a/src/b.rs", "#[path = \"b/tests.rs\"]\nmod tests;", &[what]);
        check_text("a/src/b.rs", "#[path = \"c/tests.rs\"]\nmod tests;", &[]);
        check_text("a/tests/b.rs", "#[path = \"b/mock.rs\"]\nmod mock;", &[]);
    }

    #[test]
    fn an_error_without_a_type_is_found() {
        let what = "a.rs:1: an error is a `String`: give it a type, with thiserror";
        check_text("a.rs", "fn a() -> Result<(), String> {}", &[what]);
        check_text("a.rs", "fn a(b: impl Fn(A) -> Result<Vec<(B, C)>, String>) {}", &[what]);
        check_text("a.rs", "fn a() -> Result<Option<String>, Error> {}", &[]);
        check_text("a.rs", "fn a() -> io::Result<String> {}", &[]);
        check_text("a.rs", "#[cfg(test)] fn a() -> Result<(), String> {}", &[]);
    }
}
