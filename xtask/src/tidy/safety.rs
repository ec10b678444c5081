//! Crates without unsafe code, and work left undone.

use super::finding::{Finding, Rule};
use super::source::Source;

/// Roots of crates in which no unsafe code may be.
const SAFE: [&str; 8] = [
    "api/src/lib.rs",
    "document/src/lib.rs",
    "cli/src/lib.rs",
    "cli/src/main.rs",
    "cli/src/bin/polycube-extcap.rs",
    "tasks/src/main.rs",
    "packaging/src/main.rs",
    "xtask/src/main.rs",
];

/// Marks of work left undone, put together so that this file does not hold them.
const UNDONE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_forbidden = source.text.lines().any(|line| line == "#![forbid(unsafe_code)]");
    if SAFE.contains(&source.path.as_str()) && !is_forbidden {
        findings.push(Finding::new(Rule::Safety, &source.path, 0, "#![forbid(unsafe_code)] is missing"));
    }
    for (at, line) in source.text.lines().enumerate() {
        for mark in UNDONE.iter().filter(|mark| line.contains(**mark)) {
            findings.push(Finding::new(Rule::Undone, &source.path, at + 1, format!("`{mark}` belongs in an issue")));
        }
    }
    findings
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
    fn unsafe_code_stays_forbidden() {
        check_text("cli/src/main.rs", "//! Doc\n\n#![forbid(unsafe_code)]\n", &[]);
        check_text("cli/src/main.rs", "fn main() {}\n", &["cli/src/main.rs: #![forbid(unsafe_code)] is missing"]);
    }

    #[test]
    fn undone_work_is_found() {
        for mark in UNDONE {
            let what = format!("tests/src/lab.rs:1: `{mark}` belongs in an issue");
            check_text("tests/src/lab.rs", &format!("// {mark} later"), &[&what]);
        }
    }
}
