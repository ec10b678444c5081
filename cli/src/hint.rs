//! A hint for those who typed `?` where a file has a name of one letter: the shell replaces `?` with that name.

use std::ffi::OsString;
use std::path::Path;

use crate::failure::Failure;

/// Adds the hint to a failure of a command line that may have been meant as a question.
pub(crate) fn add(failure: Failure, args: &[OsString]) -> Failure {
    match suspect(args, |word| Path::new(word).exists()).filter(|_| may_be_meant(&failure)) {
        Some(word) => Failure::Question { word, failure: Box::new(failure) },
        None => failure,
    }
}

/// Whether a question in place of a word would have been answered.
fn may_be_meant(failure: &Failure) -> bool {
    matches!(failure, Failure::Usage(_) | Failure::Refused(_))
}

/// The last word that the shell may have made of a question mark: the name of a file here. What follows a flag is its value.
fn suspect(args: &[OsString], exists: impl Fn(&str) -> bool) -> Option<String> {
    let words = args.iter().enumerate().rev().filter(|(at, _)| {
        let before = at.checked_sub(1).map(|before| args[before].as_encoded_bytes());
        !before.is_some_and(|before| before.starts_with(b"-"))
    });
    let is_one = |word: &&str| word.chars().count() == 1 && *word != "?" && *word != "-";
    words.filter_map(|(_, arg)| arg.to_str()).filter(is_one).find(|word| exists(word)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::UsageError;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        let args: Vec<OsString> = line.split(' ').map(Into::into).collect();
        assert_eq!(suspect(&args, |word| "x2-?".contains(word)).as_deref(), expected, "{line}");
    }

    #[test]
    fn the_name_of_a_file_may_have_been_a_question() {
        check("sniffer set x", Some("x"));
        check("x sniffer set 2", Some("2"));
        check("sniffer set xy", None);
        check("sniffer set y", None);
        check("sniffer set", None);
        check("config apply -", None);
        check("sniffer set ?", None);
    }

    #[test]
    fn what_follows_a_flag_is_its_value() {
        check("sniffer dump -c 2", None);
        check("sniffer x -c 2", Some("x"));
        check("sniffer dump -c=2 x", None);
    }

    #[test]
    fn the_hint_is_for_what_was_not_understood() {
        assert!(may_be_meant(&UsageError::NothingToSet.into()));
        assert!(!may_be_meant(&Failure::NotJson));
    }
}
