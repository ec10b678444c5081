//! The example does what it says. Needs root.

#![allow(clippy::unwrap_used, reason = "what goes wrong here fails the test")]

#[path = "../examples/verdict.rs"]
#[allow(dead_code, reason = "its `main` prints what is checked here")]
mod verdict;

#[track_caller]
fn check(expression: &str, expected: bool) {
    let found = verdict::verdicts(expression, &verdict::query()).unwrap();
    let found = found.iter().map(|(name, _, matches)| (*name, *matches)).collect::<Vec<_>>();
    assert_eq!(found, [("socket", expected), ("tc", expected), ("xdp", expected)], "{expression}");
}

#[test]
fn every_kind_of_program_gives_the_same_verdict() {
    check("udp port 53", true);
    check("src host 10.0.0.1 and dst port 53", true);
    check("tcp", false);
    check("vlan", false);
    check("len = 54", true);
}
