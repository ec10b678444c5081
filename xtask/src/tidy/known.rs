//! Findings from before their rule was introduced. The list only gets shorter: an entry that covers nothing is a
//! finding itself.

mod list;

use super::finding::{Finding, Rule};

/// All findings of one kind in one file.
struct Known {
    path: &'static str,
    rule: Rule,
    /// The finding's words; empty for all that the rule finds.
    what: &'static str,
}

const fn known(path: &'static str, rule: Rule, what: &'static str) -> Known {
    Known { path, rule, what }
}

impl Known {
    fn covers(&self, finding: &Finding) -> bool {
        finding.path == self.path && finding.rule == self.rule && (self.what.is_empty() || finding.what == self.what)
    }
}

/// The findings that are not on the list, and one for each of its entries that covers nothing.
pub(super) fn unknown(findings: Vec<Finding>) -> Vec<Finding> {
    let voice = list::VOICE.iter().map(|path| known(path, Rule::Voice, "")).collect::<Vec<_>>();
    let lists = [list::HOST, list::REST, list::SERVICES, &voice];
    compare(findings, &lists.into_iter().flatten().collect::<Vec<_>>())
}

fn compare(findings: Vec<Finding>, known: &[&Known]) -> Vec<Finding> {
    let stale = known.iter().filter(|known| !findings.iter().any(|finding| known.covers(finding))).map(|known| {
        let what = if known.what.is_empty() { "nothing left" } else { known.what };
        let what = format!("fixed ({what}): remove its line from xtask/src/tidy/known/list.rs");
        Finding::new(known.rule, known.path, 0, what)
    });
    let stale = stale.collect::<Vec<_>>();
    let new = findings.into_iter().filter(|finding| !known.iter().any(|known| known.covers(finding)));
    new.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: [&Known; 2] = [&known("a.rs", Rule::Shape, "long"), &known("b.rs", Rule::Voice, "")];

    #[track_caller]
    fn check(findings: &[(&str, Rule, &str)], expected: &[&str]) {
        let findings = findings.iter().map(|(path, rule, what)| Finding::new(*rule, path, 1, *what));
        let found = compare(findings.collect(), &LIST);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_known_finding_passes_and_a_new_one_does_not() {
        let known = [("a.rs", Rule::Shape, "long"), ("b.rs", Rule::Voice, "x"), ("b.rs", Rule::Voice, "y")];
        check(&known, &[]);
        check(&[&known[..], &[("a.rs", Rule::Shape, "other")]].concat(), &["a.rs:1: other"]);
        check(&[&known[..], &[("c.rs", Rule::Shape, "long")]].concat(), &["c.rs:1: long"]);
    }

    #[test]
    fn an_entry_for_nothing_is_found() {
        check(
            &[("a.rs", Rule::Shape, "long")],
            &["b.rs: fixed (nothing left): remove its line from xtask/src/tidy/known/list.rs"],
        );
        check(
            &[("b.rs", Rule::Voice, "x")],
            &["a.rs: fixed (long): remove its line from xtask/src/tidy/known/list.rs"],
        );
    }
}
