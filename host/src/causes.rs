//! An error and its causes as a line.

use polycube_api::without_numbers;

/// What went wrong, then why. Many errors end with their cause already, because clients get no more than their text: what is
/// said once is not said again.
pub(crate) fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.ends_with(&cause) {
            line = if line.is_empty() { cause } else { format!("{line}: {cause}") };
        }
    }
    without_numbers(&line)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("file.json:1:1: {source}")]
    struct Manifest {
        source: std::fmt::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let manifest = || Manifest { source: std::fmt::Error };
        let cause = std::fmt::Error.to_string();
        assert_eq!(in_one_line(&manifest().into()), format!("file.json:1:1: {cause}"));
        let placed = Err::<(), _>(manifest()).context("plugins").unwrap_err();
        assert_eq!(in_one_line(&placed), format!("plugins: file.json:1:1: {cause}"));
    }
}
