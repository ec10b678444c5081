//! Does a daemon load it, and do packets pass and stop between network namespaces? This needs root, and polycubed and
//! polycubectl on PATH.

use std::path::PathBuf;
use std::process::Command;

#[test]
fn packets_pass_are_counted_and_dropped() {
    // cargo has built the plugin beside this test.
    let test = std::env::current_exe().expect("a test has a path");
    let built: PathBuf = test.parent().expect("target/debug/deps").to_owned();
    let status = Command::new("tests/packets.sh").arg(built).status().expect("the script starts");
    assert!(status.success(), "{status}");
}
