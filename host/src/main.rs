//! `polycubed`: hosts network functions as plugins and chains their eBPF programs into the path of a port.
//!
//! Rooms, each above what it uses: `daemon` → `rest` → `engine` → `reconcile` → `plan` → `model` → `datapath`, `plugins` →
//! `registry` → `wiring` → `topology`, `schema` → `sys`. ARCHITECTURE.md says what each is for.

mod cleanup;
mod conf_dir;
mod daemon;
mod datapath;
mod engine;
#[cfg(debug_assertions)]
mod fault;
mod lock;
mod model;
mod netdev;
mod options;
mod plan;
mod plugins;
mod problem;
mod reconcile;
mod registry;
mod rest;
mod schema;
mod store;
mod sys;
mod topology;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;
use options::{Command, Options};

/// `EX_USAGE` of sysexits(3).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let options = match Options::try_parse() {
        Ok(options) => options,
        Err(error) if error.use_stderr() => {
            eprintln!("polycubed: {}", one_line(&error.to_string()));
            return USAGE.into();
        }
        Err(text) => {
            // Help or the version, to stdout; when even that fails, the exit status is all there is.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
    };
    let done = match options.command {
        None => daemon::run(&options),
        Some(Command::Cleanup { dry_run }) => cleanup::run(&options, dry_run),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polycubed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What clap says of a wrong command line, without the usage: `--help` has it.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let kept = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let kept: Vec<&str> = kept.map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: ")).collect();
    format!("{}; see polycubed --help", kept.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_gets_one_line() {
        for (words, line) in [
            (
                ["polycubed", "--logg"],
                "unexpected argument '--logg' found; a similar argument exists: '--log'; see polycubed --help",
            ),
            (
                ["polycubed", "--port=x"],
                "invalid value 'x' for '--port <PORT>': invalid digit found in string; see polycubed --help",
            ),
        ] {
            assert_eq!(one_line(&Options::try_parse_from(words).unwrap_err().to_string()), line);
        }
    }
}
