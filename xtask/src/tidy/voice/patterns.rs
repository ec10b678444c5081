//! The turns of phrase, and what to write instead.

use super::words::Word;

pub(super) struct Pattern {
    /// Lower case; `*` is any one word.
    pub(super) words: &'static [&'static str],
    /// Words that make it right when they come before.
    except_after: &'static [&'static str],
    /// Words that make it right when they come after.
    except_before: &'static [&'static str],
    /// Whether it is wrong only where a clause begins, and only when that is not a question.
    begins: bool,
    pub(super) instead: &'static str,
}

const fn pattern(words: &'static [&'static str], instead: &'static str) -> Pattern {
    Pattern { words, except_after: &[], except_before: &[], begins: false, instead }
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

pub(super) const PATTERNS: &[Pattern] = &[
    Pattern {
        words: &["is", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        begins: false,
        instead: "write `is not a …`",
    },
    Pattern {
        words: &["are", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        begins: false,
        instead: "write `are not …`",
    },
    Pattern {
        words: &["was", "no", "*"],
        except_after: THERE,
        except_before: COMPARISONS,
        begins: false,
        instead: "write `was not a …`",
    },
    Pattern {
        words: &["is", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        begins: false,
        instead: "write `is logged`, `is reported`, or who tells it",
    },
    Pattern {
        words: &["are", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        begins: false,
        instead: "write `are logged`, `are reported`, or who tells it",
    },
    Pattern {
        words: &["been", "told", "*"],
        except_after: &[],
        except_before: &["apart", "to"],
        begins: false,
        instead: "write `has been logged`, `has been reported`",
    },
    Pattern {
        words: &["who", "*"],
        // `the user, who …`
        except_after: &[","],
        except_before: &["it", "they", "we", "you", "may", "can", "should"],
        begins: true,
        instead: "name the thing that does it, or `anyone who` for people",
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

impl Pattern {
    pub(super) fn is_at(&self, words: &[Word], at: usize) -> bool {
        let fits = |(pattern, word): (&&str, &Word)| match *pattern {
            "*" => !word.is_mark() && !self.except_before.contains(&word.text.as_str()),
            text => word.text == text,
        };
        let before = at.checked_sub(1).map(|at| &words[at]);
        let is_excepted = before.is_some_and(|word| self.except_after.contains(&word.text.as_str()));
        let is_in_place = !self.begins || (before.is_none_or(Word::is_mark) && !is_question(&words[at..]));
        let follows = words.len() >= at + self.words.len() && self.words.iter().zip(&words[at..]).all(fits);
        follows && is_in_place && !is_excepted
    }
}

/// Whether the sentence that these words continue ends with a question mark.
fn is_question(words: &[Word]) -> bool {
    words.iter().find(|word| matches!(word.text.as_str(), "." | "!" | "?")).is_some_and(|mark| mark.text == "?")
}
