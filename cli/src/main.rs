//! `polycubectl`: the command line of `polycubed`.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    polycubectl::command_line()
}
