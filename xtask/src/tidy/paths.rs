//! The paths that a file's code names: those of its imports, groups taken apart, and those in between.

use super::lexer::{Token, TokenKind};
use super::source::starts_with;

/// A path, such as `crate::engine::Handle`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) words: Vec<String>,
    pub(super) line: usize,
    /// What an import calls it.
    pub(super) imported_as: Option<String>,
    /// The modules inside the file that the path is named in, outermost first.
    pub(super) within: Vec<String>,
}

/// Every path of more than one word, and every import.
pub(super) fn paths(code: &[Token]) -> Vec<Named> {
    let mut reader = Reader { code, at: 0, blocks: Vec::new(), found: Vec::new() };
    while reader.at < code.len() {
        reader.step();
    }
    reader.found
}

struct Reader<'a> {
    code: &'a [Token],
    at: usize,
    /// The blocks around this place; a module's has its name.
    blocks: Vec<Option<String>>,
    found: Vec<Named>,
}

impl Reader<'_> {
    fn step(&mut self) {
        let here = &self.code[self.at..];
        let is_word = here[0].kind == TokenKind::Word;
        if here[0].is("use") && here.get(1).is_some_and(|next| !next.is("<")) {
            self.at += 1;
            self.import(&[]);
        } else if here.len() > 2 && here[0].is("mod") && here[2].is("{") {
            self.blocks.push(Some(here[1].text.clone()));
            self.at += 3;
        } else if here[0].is("{") {
            self.blocks.push(None);
            self.at += 1;
        } else if here[0].is("}") {
            self.blocks.pop();
            self.at += 1;
        } else if is_word {
            let (words, line) = self.path();
            if words.len() > 1 {
                self.add(words, line, None);
            }
        } else {
            self.at += 1;
        }
    }

    fn add(&mut self, words: Vec<String>, line: usize, imported_as: Option<String>) {
        let within = self.blocks.iter().flatten().cloned().collect();
        self.found.push(Named { words, line, imported_as, within });
    }

    /// Reads words joined by `::`.
    fn path(&mut self) -> (Vec<String>, usize) {
        let line = self.code[self.at].line;
        let mut words = vec![self.code[self.at].text.clone()];
        self.at += 1;
        while starts_with(&self.code[self.at..], &[":", ":"])
            && self.code.get(self.at + 2).is_some_and(|next| next.kind == TokenKind::Word)
        {
            words.push(self.code[self.at + 2].text.clone());
            self.at += 3;
        }
        (words, line)
    }

    /// Reads one tree of an import, up to the `,`, `}` or `;` after it.
    fn import(&mut self, before: &[String]) {
        if starts_with(&self.code[self.at..], &[":", ":"]) {
            self.at += 2;
        }
        let mut words = before.to_vec();
        let mut line = self.code.get(self.at).map_or(0, |token| token.line);
        if self.code.get(self.at).is_some_and(|token| token.kind == TokenKind::Word) {
            let (more, first) = self.path();
            line = first;
            // `a::{self}` names `a`.
            words.extend(more.into_iter().filter(|word| word != "self" || before.is_empty()));
            if starts_with(&self.code[self.at..], &[":", ":"]) {
                self.at += 2;
            }
        }
        if self.code.get(self.at).is_some_and(|token| token.is("{")) {
            self.at += 1;
            while self.code.get(self.at).is_some_and(|token| !token.is("}")) {
                self.import(&words);
                if self.code.get(self.at).is_some_and(|token| token.is(",")) {
                    self.at += 1;
                }
            }
            self.at += 1;
            return;
        }
        let mut name = words.last().cloned();
        if self.code.get(self.at).is_some_and(|token| token.is("*")) {
            self.at += 1;
            words.push("*".to_owned());
            name = None;
        } else if self.code.get(self.at).is_some_and(|token| token.is("as")) {
            name = self.code.get(self.at + 1).map(|token| token.text.clone());
            self.at += 2;
        }
        self.add(words, line, name);
        // Whatever follows, the reader gets on.
        if !self.code.get(self.at).is_some_and(|token| token.is(",") || token.is("}")) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lexer::tokens;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = paths(&tokens(text));
        let found = found.iter().map(|path| {
            let within = path.within.iter().map(|module| format!("{module}/")).collect::<String>();
            let name = path.imported_as.as_ref().map(|name| format!(" as {name}")).unwrap_or_default();
            format!("{within}{}{name}", path.words.join("::"))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn groups_of_an_import_are_taken_apart() {
        check("use a::b; c", &["a::b as b"]);
        check("use {a::b, c};", &["a::b as b", "c as c"]);
        check(
            "use a::{b, c::{self, D as E, f::*}}; g::h",
            &["a::b as b", "a::c as c", "a::c::D as E", "a::c::f::*", "g::h"],
        );
        check("use ::a::{b,}; pub(crate) use self::c::d;", &["a::b as b", "self::c::d as d"]);
    }

    #[test]
    fn paths_in_code_are_found() {
        check("fn a(b: &c::D) -> crate::E<f::G> { h::<i::J>() }", &["c::D", "crate::E", "f::G", "i::J"]);
        check("impl a::B for super::super::C {}", &["a::B", "super::super::C"]);
        check("fn a() -> impl Iterator + use<'a> { b::c }", &["b::c"]);
    }

    #[test]
    fn a_path_knows_the_modules_around_it() {
        check("mod a { use super::b; fn c() { d::e } } f::g", &["a/super::b as b", "a/d::e", "f::g"]);
    }
}
