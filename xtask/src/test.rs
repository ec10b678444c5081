//! `./x test`: builds everything, then runs every test, as root on a kernel that supports what the daemon needs.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use crate::command::{cargo, run as run_command};
use crate::machine;

pub(crate) fn run(args: &[String]) -> Result<()> {
    machine::check()?;
    // The black-box tests start the daemon, the command line and the plugins, which `cargo test` alone does not build.
    run_command("cargo build", cargo().args(["build", "--workspace", "--locked"]))?;
    eprintln!("./x: cargo test");
    let mut tests = cargo();
    tests.args(["test", "--workspace", "--locked"]).args(args).stdout(Stdio::piped());
    let mut child = tests.spawn().context("cannot start cargo")?;
    let mut total = Total::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).split(b'\n') {
        let line = line?;
        io::stdout().write_all(&line)?;
        println!();
        total.add(&String::from_utf8_lossy(&line));
    }
    let status = child.wait()?;
    println!("total: {} passed, {} failed", total.passed, total.failed);
    ensure!(status.success(), "cargo test: {status}");
    Ok(())
}

/// What cargo's closing lines add up to.
#[derive(Debug, Default, PartialEq)]
struct Total {
    passed: u32,
    failed: u32,
}

impl Total {
    /// Adds a line such as `test result: ok. 95 passed; 0 failed; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|result| result.split_once(". ")) else {
            return;
        };
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u32>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let mut total = Total::default();
        for line in [
            "test result: ok. 95 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.63s",
            "test plan::tests::passed ... ok",
            "test result: FAILED. 8 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 6.56s",
        ] {
            total.add(line);
        }
        assert_eq!(total, Total { passed: 103, failed: 3 });
    }
}
