//! `polycubed`: hosts network functions as plugins and chains their eBPF programs into the path of a port.
//!
//! Rooms, each above what it uses: `daemon` → `rest` → `engine` → `reconcile` → `plan` → `model` → `datapath`, `plugins` →
//! `registry` → `wiring` → `topology`, `schema` → `sys`. ARCHITECTURE.md says what each is for.

mod causes;
mod cleanup;
mod conf_dir;
mod containers;
mod daemon;
mod datapath;
mod engine;
mod environment;
#[cfg(debug_assertions)]
mod fault;
mod file_type;
mod lock;
mod model;
mod netdev;
mod options;
mod plan;
mod plugins;
mod reconcile;
mod registry;
mod rest;
mod slow_path;
mod source;
mod store;
mod sys;
mod topology;
mod wiring;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use polycube_schema::{self as schema, problem};

use options::{Command, LoadError, Loaded, one_line};

/// `EX_USAGE` of sysexits(3): a wrong command line.
const USAGE: u8 = 64;
/// `EX_CONFIG` of sysexits(3): a wrong configuration file.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let [_, word, path] = words.as_slice()
        && word == store::TRIAL
    {
        return store::run_trial(Path::new(path));
    }
    if let [_, word, path] = words.as_slice()
        && word == store::TRIAL_OF_COPY
    {
        return store::run_trial_of_copy(Path::new(path));
    }
    let loaded = match Loaded::read(&words) {
        Ok(loaded) => loaded,
        Err(LoadError::CommandLine(text)) if !text.use_stderr() => {
            // Help or the version, to stdout; when even that fails, the exit status is all there is.
            let _ = text.print();
            return ExitCode::SUCCESS;
        }
        Err(LoadError::CommandLine(error)) => {
            eprintln!("polycubed: {}; see polycubed --help", one_line(&error.to_string()));
            return USAGE.into();
        }
        Err(error) => {
            for line in causes::in_one_line(&error.into()).lines() {
                eprintln!("polycubed: {line}");
            }
            return CONFIG.into();
        }
    };
    sys::process::survive_limit_of_file_sizes();
    let done = match loaded.options.command.clone() {
        Some(Command::Check) => daemon::check(&loaded),
        Some(Command::CheckPlugin { file }) => daemon::check_plugin(&file),
        Some(Command::Cleanup { dry_run }) => cleanup::run(&loaded.options, dry_run),
        None => daemon::run(&words, loaded),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("polycubed: {}", causes::in_one_line(&error));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::options::Options;

    #[test]
    fn a_wrong_command_line_gets_one_line() {
        for (words, line) in [
            (["polycubed", "--logg"], "unexpected argument '--logg' found; a similar argument exists: '--log'"),
            (["polycubed", "--port=x"], "invalid value 'x' for '--port <PORT>': invalid digit found in string"),
        ] {
            assert_eq!(one_line(&Options::try_parse_from(words).unwrap_err().to_string()), line);
        }
    }
}
