//! A hint for those who typed `?` where a file has a name of one letter: the shell replaces `?` with that name.

use std::ffi::OsString;
use std::path::Path;

use crate::failure::Failure;

/// Adds the hint to a failure of a command line that may have been meant as a question.
pub(crate) fn add(failure: Failure, args: &[OsString]) -> Failure {
    match args.iter().rev().find_map(|arg| suspect(arg, &failure)) {
        Some(word) => Failure::Question { word, failure: Box::new(failure) },
        None => failure,
    }
}

/// A word that may have been a question mark: one that is not known, or the name of a file here.
fn suspect(arg: &OsString, failure: &Failure) -> Option<String> {
    let word = arg.to_str().filter(|word| word.chars().count() == 1 && *word != "?" && *word != "-")?;
    let is_meant = match failure {
        Failure::Usage(_) => true,
        Failure::Refused(refusal) => refusal.is_about(word) || Path::new(word).exists(),
        _ => false,
    };
    is_meant.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::UsageError;

    #[track_caller]
    fn check(words: &[&str], failure: Failure, expected: Option<&str>) {
        let args: Vec<OsString> = words.iter().map(Into::into).collect();
        let text = add(failure, &args).to_string();
        let found =
            text.lines().last().unwrap().strip_prefix("polycubectl: if `").and_then(|rest| rest.split_once('`'));
        assert_eq!(found.map(|(word, _)| word), expected, "{text}");
    }

    #[test]
    fn a_word_of_one_letter_may_have_been_a_question() {
        check(&["sniffer", "set", "x"], UsageError::NothingToSet.into(), Some("x"));
        check(&["sniffer", "set", "xy"], UsageError::NothingToSet.into(), None);
        check(&["sniffer", "set"], UsageError::NothingToSet.into(), None);
        check(&["sniffer", "set", "x"], Failure::NotJson, None);
    }
}
