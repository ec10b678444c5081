//! The voice: turns of phrase that no native speaker would write, in messages, comments and names of functions.
//!
//! Only patterns that are nearly always wrong are here; the house style has the rest, and readers judge.

use super::finding::{Finding, Rule};
use super::lexer::{Token, TokenKind};
use super::source::Source;

struct Pattern {
    /// Lower case; `*` is any one word.
    words: &'static [&'static str],
    /// Words that make it right when they come before.
    except_after: &'static [&'static str],
    /// Words that make it right when they come after.
    except_before: &'static [&'static str],
    instead: &'static str,
}

const fn pattern(words: &'static [&'static str], instead: &'static str) -> Pattern {
    Pattern { words, except_after: &[], except_before: &[], instead }
}

/// After "is no": comparisons, and set phrases.
const COMPARISONS: &[&str] = &[
    "longer",
    "more",
    "less",
    "fewer",
    "better",
    "worse",
    "bigger",
    "larger",
    "smaller",
    "shorter",
    "slower",
    "faster",
    "later",
    "earlier",
    "different",
    "such",
    "use",
    "match",
    "higher",
    "lower",
    "wider",
    "older",
    "newer",
    "further",
    "greater",
    "reason",
    "need",
    "doubt",
    "point",
    "way",
    "good",
];
/// Before "is no": "there is no cube" is English.
const THERE: &[&str] = &["there", "here", "where"];

const PATTERNS: &[Pattern] = &[
    Pattern {
        words: &["is", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        instead: "write `is not a …`",
    },
    Pattern {
        words: &["are", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        instead: "write `are not …`",
    },
    Pattern {
        words: &["was", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        instead: "write `was not a …`",
    },
    Pattern {
        words: &["is", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        instead: "write `is logged`, `is reported`, or who tells it",
    },
    Pattern {
        words: &["are", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        instead: "write `are logged`, `are reported`, or who tells it",
    },
    Pattern {
        words: &["been", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        instead: "write `has been logged`, `has been reported`",
    },
    pattern(&["to", "be", "had"], "write `available`, or what failed"),
    pattern(&["nobody", "is"], "name the thing, and write what it is not"),
    pattern(&["nobody", "has"], "name the thing, and write what it lacks"),
    pattern(&["nobody", "gets"], "name the thing, and write what it does not do"),
    pattern(&["nobody", "knows"], "name the thing, and write what it does not do"),
    pattern(&["nobody", "waits"], "name the thing, and write what it does not do"),
    pattern(&["nobody's"], "name the thing, and write what it lacks"),
    pattern(&["whoever"], "name the thing that does it, or `anyone who` for people"),
    pattern(&["behind", "it"], "write `after it`"),
    pattern(&["behind", "them"], "write `after them`"),
    pattern(&["runs", "behind"], "write `runs after`"),
    pattern(&["be", "it"], "write `whether it is`"),
    pattern(&["yet", "to", "come"], "write what has not arrived"),
    pattern(&["comes", "about"], "write `happens`, `is made`"),
    pattern(&["otherwise", "than"], "write `unlike`, `differently from`"),
    pattern(&["from", "which", "on"], "write `from which`"),
    pattern(&["what", "is", "to", "be"], "write `what should be`, or name it"),
    pattern(&["is", "nothing", "for"], "write `is not for`, or what is refused"),
    pattern(&["tells", "why"], "write `says why`, `reports why`"),
    pattern(&["tells", "of"], "write `reports`, `shows`"),
    pattern(&["cannot", "but"], "write `must`"),
];

/// A word of running text; an empty one ends a sentence or a clause.
struct Word {
    text: String,
    line: usize,
}

/// This file, which has to quote what it looks for.
const OWN: &str = "xtask/src/tidy/voice.rs";

pub(super) fn check(source: &Source) -> Vec<Finding> {
    if source.path == OWN {
        return Vec::new();
    }
    let mut findings = passages(source).iter().flat_map(|words| passage(source, words)).collect::<Vec<_>>();
    findings.sort();
    findings.dedup();
    findings
}

fn passage(source: &Source, words: &[Word]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in 0..words.len() {
        for pattern in PATTERNS.iter().filter(|pattern| pattern.is_at(words, at)) {
            let phrase = pattern.words.iter().filter(|word| **word != "*").copied().collect::<Vec<_>>().join(" ");
            let what = format!("\"{phrase}\" is not plain English: {}", pattern.instead);
            findings.push(Finding::new(Rule::Voice, &source.path, words[at].line, what));
        }
    }
    findings
}

impl Pattern {
    fn is_at(&self, words: &[Word], at: usize) -> bool {
        let fits = |(pattern, word): (&&str, &Word)| match *pattern {
            "*" => !word.text.is_empty() && !self.except_before.contains(&word.text.as_str()),
            text => word.text == text,
        };
        let is_excepted = at > 0 && self.except_after.contains(&words[at - 1].text.as_str());
        words.len() >= at + self.words.len() && self.words.iter().zip(&words[at..]).all(fits) && !is_excepted
    }
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

fn words(token: &Token) -> Vec<Word> {
    let mut words = Vec::new();
    let mut line = token.line;
    let mut text = String::new();
    let mut is_escape = false;
    for c in token.text.chars().chain([' ']) {
        let is_word = !is_escape && (c.is_alphanumeric() || c == '\'' || c == '_');
        is_escape = !is_escape && c == '\\' && token.kind == TokenKind::Text;
        if is_word {
            text.extend(c.to_lowercase());
            continue;
        }
        if !text.is_empty() {
            words.push(Word { text: std::mem::take(&mut text), line });
        }
        if matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '(' | ')' | '-' | '/' | '=') {
            words.push(Word { text: String::new(), line });
        }
        line += usize::from(c == '\n');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::File;

    #[track_caller]
    fn check_text(text: &str, expected: &[(usize, &str)]) {
        let found = check(&Source::new(&File { path: "a.rs".to_owned(), text: text.to_owned() }));
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
            let found = check(&Source::new(&File { path: "a.rs".to_owned(), text: format!("f(\"a {text}\")") }));
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
