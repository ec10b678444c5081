//! Path words and their place in a URL.

use std::fmt::Write;

use super::error::UsageError;

/// Refuses the words that would lead somewhere else: a server may resolve `..`, and an empty segment vanishes.
pub(super) fn check(word: &str) -> Result<(), UsageError> {
    match word {
        "" | "." | ".." => Err(UsageError::PathWord { word: word.to_owned() }),
        _ => Ok(()),
    }
}

/// Writes each word as one segment of a URL, followed by a slash.
pub(super) fn encode<W: AsRef<str>>(words: &[W]) -> String {
    words.iter().map(|word| segment(word.as_ref()) + "/").collect()
}

/// Writes a word as a segment, or as a value in a query.
pub(crate) fn segment(word: &str) -> String {
    let mut segment = String::new();
    for byte in word.bytes() {
        match byte {
            // RFC 3986 section 2.3, and the colon of `cube:port`, which section 3.3 allows in a segment.
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                segment.push(char::from(byte));
            }
            _ => {
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_encoded(words: &[&str], expected: &str) {
        assert_eq!(encode(words), expected);
    }

    #[test]
    fn each_word_is_one_segment() {
        check_encoded(&[], "");
        check_encoded(&["br1", "ports", "p1"], "br1/ports/p1/");
        check_encoded(&["br1:toveth1"], "br1:toveth1/");
        check_encoded(&["10.0.0.0/8"], "10.0.0.0%2F8/");
        check_encoded(&["a b", "?x#y", "50%"], "a%20b/%3Fx%23y/50%25/");
        check_encoded(&["é\n"], "%C3%A9%0A/");
    }

    #[test]
    fn words_that_lead_elsewhere_are_refused() {
        for word in ["", ".", ".."] {
            assert_eq!(check(word), Err(UsageError::PathWord { word: word.to_owned() }));
        }
        assert_eq!(check("..."), Ok(()));
    }
}
