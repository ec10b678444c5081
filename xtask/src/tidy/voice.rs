//! The voice: turns of phrase that no native speaker would write, in messages, comments, names of functions and pages.
//!
//! Only patterns that are nearly always wrong are here; the house style has the rest, and readers judge.

mod patterns;
mod words;

use super::finding::{Finding, Rule};
use super::lexer::{Token, TokenKind};
use super::source::{File, Source};
use patterns::PATTERNS;
use words::{Word, words};

/// The patterns themselves, which have to quote what they look for.
const OWN: &str = "xtask/src/tidy/voice";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.path.starts_with(OWN) {
        return Vec::new();
    }
    findings(&source.path, &passages(source))
}

/// Checks a page of documentation.
pub(super) fn check_page(page: &File) -> Vec<Finding> {
    let token = Token { kind: TokenKind::Comment, text: page.text.clone(), line: 1 };
    findings(&page.path, &[words(&token)])
}

fn findings(path: &str, passages: &[Vec<Word>]) -> Vec<Finding> {
    let mut findings = passages.iter().flat_map(|words| passage(path, words)).collect::<Vec<_>>();
    findings.sort();
    findings.dedup();
    findings
}

fn passage(path: &str, words: &[Word]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in 0..words.len() {
        for pattern in PATTERNS.iter().filter(|pattern| pattern.is_at(words, at)) {
            let phrase = pattern.words.iter().filter(|word| **word != "*").copied().collect::<Vec<_>>().join(" ");
            let what = format!("\"{phrase}\" is not plain English: {}", pattern.instead);
            findings.push(Finding::new(Rule::Voice, path, words[at].line, what));
        }
    }
    findings
}

/// The texts of a file: each string, each run of comments, and each function's name.
fn passages(source: &Source) -> Vec<Vec<Word>> {
    let mut passages: Vec<Vec<Word>> = Vec::new();
    let mut comment_ends = None;
    for (at, token) in source.all.iter().enumerate() {
        match token.kind {
            TokenKind::Comment if comment_ends.is_some_and(|end| end + 1 == token.line) => {
                passages.last_mut().into_iter().for_each(|passage| passage.extend(words(token)));
            }
            TokenKind::Text | TokenKind::Comment => passages.push(words(token)),
            TokenKind::Word if at > 0 && source.all[at - 1].is("fn") => {
                let name = Token { text: token.text.replace('_', " "), ..token.clone() };
                passages.push(words(&name));
            }
            _ => continue,
        }
        comment_ends = (token.kind == TokenKind::Comment).then_some(token.line);
    }
    passages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(text: &str, expected: &[(usize, &str)]) {
        let found = check(&Source::example("a.rs", text));
        let found = found.iter().map(|finding| {
            let phrase = finding.what.split('"').nth(1).unwrap();
            (finding.line, phrase)
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{text}");
    }

    #[test]
    fn every_pattern_is_found_in_a_message() {
        for pattern in PATTERNS {
            let text = pattern.words.iter().map(|word| word.replace('*', "thing")).collect::<Vec<_>>().join(" ");
            let phrase = text.trim_end_matches(" thing").to_owned();
            let found = check(&Source::example("a.rs", &format!("f(\"a: {text}\")")));
            let quoted = format!("\"{phrase}\"");
            assert!(found.iter().any(|finding| finding.what.starts_with(&quoted)), "{text}");
        }
    }

    #[test]
    fn messages_comments_and_names_are_read() {
        check_text("bail!(\"`{input}` is no JSON\")", &[(1, "is no")]);
        check_text("// The panic is\n// told twice.", &[(1, "is told")]);
        check_text("/// A\nfn a() {}\n/// Runs behind it.", &[(3, "behind it"), (3, "runs behind")]);
        check_text("fn a_panic_is_told_at_once() {}", &[(1, "is told")]);
        check_text("let nobody = is_no_name;", &[]);
        check_text("f(\"a\\\n   is no b\")", &[(2, "is no")]);
    }

    #[test]
    fn a_thing_is_not_called_who() {
        check_text("// Who reads gets what waits.", &[(1, "who")]);
        check_text("// Nothing waits: who reads gets it.", &[(1, "who")]);
        check_text("// Who reads this? A user who reads, who waits: who they are.", &[]);
    }

    #[test]
    fn pages_are_read() {
        let page = File::example("README.md", "# A\n\nThat is\nno page.\n");
        let found = check_page(&page).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, ["README.md:3: \"is no\" is not plain English: write `is not a …`"]);
    }

    #[test]
    fn what_is_english_stays() {
        for text in [
            "there is no cube",
            "it is no longer there",
            "is no more than 4",
            "they are told apart",
            "that is, no",
            "what is. No",
        ] {
            check_text(&format!("// {text}"), &[]);
        }
        check_text("f(\"nobody\")", &[]);
    }
}
