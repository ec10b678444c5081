//! Texts as people read them.

/// A text in one line. Doc comments and manifests have several.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A message without the numbers that [`std::io::Error`] adds to the system's words, as in `Connection refused (os error 111)`.
#[must_use]
pub fn without_numbers(message: &str) -> String {
    const BEFORE: &str = " (os error ";
    let mut text = String::new();
    let mut rest = message;
    while let Some((before, after)) = rest.split_once(BEFORE) {
        text.push_str(before);
        rest = match after.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix(')') {
            Some(after) => after,
            None => {
                text.push_str(BEFORE);
                after
            }
        };
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_a_text_are_joined() {
        assert_eq!(
            one_line("Where files go;\nthe name may have\n\n  the time"),
            "Where files go; the name may have the time"
        );
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn numbers_of_errors_are_left_out() {
        let error = std::io::Error::from_raw_os_error(2);
        let message = format!("cannot read /t ({error}): try {error}; 5 (os error");
        assert_eq!(
            without_numbers(&message),
            "cannot read /t (No such file or directory): try No such file or directory; 5 (os error"
        );
        for text in ["", "nothing", " (os error x)", "a (os error 5", "no (error 5)"] {
            assert_eq!(without_numbers(text), text);
        }
    }
}
