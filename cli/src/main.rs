//! `polycubectl`: the command line of `polycubed`, a thin client of its REST API.

#![forbid(unsafe_code)]

mod address;
mod client;
mod failure;
mod grammar;
mod help;
mod refusal;
mod show;
mod token;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

use crate::address::Address;
use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::grammar::{Call, Line, Order, Output};
use crate::refusal::Refusal;
use crate::show::{View, escape_text};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to hear that stderr is closed.
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<(), Failure> {
    let Line { order, url, token_file } = grammar::parse(env::args_os().skip(1))?;
    let call = match order {
        Order::Help(topic) => return print(&topic.text()),
        Order::OwnVersion => return print(&format!("polycubectl {VERSION}\n")),
        Order::Call(call) => call,
    };
    let url = url.or_else(|| variable("POLYCUBECTL_URL"));
    let address = url.map_or_else(|| Ok(Address::default()), |url| Address::parse(&url))?;
    let authorization = token::authorization(token_file.as_deref(), variable("POLYCUBECTL_TOKEN"))?;
    if let Output::Versions(View::Text { .. }) = call.output {
        print(&format!("polycubectl:\n version: {VERSION}\n"))?;
    }
    let answer = ask(&Client::new(address, authorization), &call)?;
    if !answer.status.is_success() {
        return Err(Failure::Refused(Refusal::from(&answer)));
    }
    print(&output(&call.output, &answer)?)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn ask(client: &Client, call: &Call) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    let answer = runtime.block_on(client.send(&call.request));
    // A name server that does not answer must not hold up the exit.
    runtime.shutdown_background();
    Ok(answer?)
}

fn output(output: &Output, answer: &Answer) -> Result<String, Failure> {
    let (view, is_result) = match output {
        Output::Nothing => return Ok(String::new()),
        Output::Result => (&View::plain(), true),
        Output::View(view) | Output::Versions(view) => (view, false),
    };
    if answer.body.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    match (serde_json::from_slice(&answer.body), view) {
        (Ok(Value::Null), _) if is_result => Ok(String::new()),
        (Ok(value), _) => Ok(view.render(&value)),
        (Err(_), View::Json) => Err(Failure::NotJson),
        (Err(_), View::Text { .. }) => Ok(escape_text(&String::from_utf8_lossy(&answer.body))),
    }
}

/// Writes to stdout; a reader that has seen enough, such as `head`, ends the writing quietly.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[track_caller]
    fn check(form: &Output, body: &str, expected: &str) {
        let answer = Answer { status: StatusCode::OK, body: body.to_owned().into() };
        assert_eq!(output(form, &answer).unwrap(), expected, "{body}");
    }

    #[test]
    fn changes_are_silent() {
        check(&Output::Nothing, "{\"name\":\"s\"}", "");
    }

    #[test]
    fn an_action_prints_its_result_if_it_has_one() {
        check(&Output::Result, "", "");
        check(&Output::Result, "null", "");
        check(&Output::Result, "{}", "");
        check(&Output::Result, "{\"flushed\":3}", "flushed: 3\n");
        check(&Output::Result, "\"done\"", "done\n");
    }

    #[test]
    fn an_answer_that_is_not_json_is_text() {
        check(&Output::View(View::plain()), "drops 3\n\u{1b}", "drops 3\n\\u{1b}");
        let answer = Answer { status: StatusCode::OK, body: "drops 3".into() };
        assert!(matches!(output(&Output::View(View::Json), &answer), Err(Failure::NotJson)));
    }
}
