//! The command line of `polycubed`, a thin client of its REST API, and the program by which Wireshark finds captures.
//!
//! Two programs share these rooms; their `main` functions only call here.
//!
//! From top to bottom: `command` and `extcap` are the programs; `hint` adds to what went wrong. `configuration` saves and
//! applies all of it, `plugin` writes and tries plugins of one's own. `capture` captures in one line, `captures` takes files of captures, `stream` takes packets to a `sink`, `join` those of several captures, `bundle` adds what surrounds a capture, `keys` sends a TLS key log ahead of them, `top` shows what passes, `watch` describes
//! them, `session` asks the daemon. `help`, `complete` and `show` write what is printed, `input` reads a body. `failure`
//! and `refusal` say what went wrong. `project` has the templates of plugins. `private` starts a daemon for one capture. `client` speaks HTTP, with what `config`, `token` and `address` say. `wireshark` finds its folder, `clock` and `quantity` are for people. The ground is
//! `grammar`, the words of a command line without any I/O, with `endpoint`, `records` and `terminal`.

#![forbid(unsafe_code)]

mod address;
mod bundle;
mod capture;
mod captures;
mod client;
mod clock;
mod command;
mod complete;
mod config;
mod configuration;
mod endpoint;
mod extcap;
mod failure;
mod grammar;
mod help;
mod hint;
mod input;
mod join;
mod keys;
mod output;
mod plugin;
mod private;
mod project;
mod quantity;
mod records;
mod refusal;
mod session;
mod show;
mod sink;
mod stream;
mod terminal;
mod token;
mod top;
mod watch;
mod wireshark;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::failure::Failure;
use crate::terminal::has_colours;

/// What `polycubectl` does with its arguments.
pub fn command_line() -> ExitCode {
    ended(command::run())
}

/// What `polycube-extcap` does with its arguments.
pub fn extcap() -> ExitCode {
    ended(extcap::run())
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "{}", failure.shown(has_colours(&io::stderr())));
            ExitCode::from(failure.exit_code())
        }
    }
}
