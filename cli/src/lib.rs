//! The command line of `polycubed`, a thin client of its REST API, and the program by which Wireshark finds captures.
//!
//! Two programs share these rooms, and their `main` functions do no more than to call here.

#![forbid(unsafe_code)]

mod address;
mod client;
mod complete;
mod config;
mod dump;
mod extcap;
mod failure;
mod grammar;
mod help;
mod input;
mod refusal;
mod session;
mod show;
mod stream;
mod token;
mod watch;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::failure::Failure;
use crate::grammar::{Call, Input, Line, Order, Output, Question, Request, UsageError};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::show::{View, escape_text};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `polycubectl` does with its arguments.
pub fn command_line() -> ExitCode {
    ended(run())
}

/// What `polycube-extcap` does with its arguments.
pub fn extcap() -> ExitCode {
    ended(extcap::run())
}

fn ended(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to hear that stderr is closed.
            let _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run() -> Result<(), Failure> {
    if let Some(words) = complete::asked() {
        return print(&complete::lines(&words, |partial| {
            let request = partial.question.request()?;
            let session = Session::new(partial.way.clone()).ok()?;
            let answer = accepted(session.ask_briefly(&request)?).ok()?;
            help::Answer::parse(&answer.body)
        }));
    }
    let Line { order, way } = grammar::parse(env::args_os().skip(1))?;
    let session = || Session::new(way);
    match order {
        Order::Help(question) => help(&question, session),
        Order::OwnVersion => print(&format!("polycubectl {VERSION}\n")),
        Order::Script(shell) => print(shell.script()),
        Order::Tap(tap) => stream::take(&session()?, &tap),
        Order::Call(Call { output: Output::Versions(view), request, .. }) => {
            let answer = session().and_then(|session| accepted(session.ask(&request)?));
            versions(&view, answer)
        }
        Order::Call(mut call) => {
            match (input::read(call.input)?, call.input) {
                (Some(body), _) => call.request.body = Some(body),
                (None, Input::Required) if call.request.path == "cubes/" => return Err(UsageError::NoCubes.into()),
                (None, Input::Required) => return Err(UsageError::NothingToSet.into()),
                (None, Input::No | Input::Optional) => {}
            }
            let answer = session()?.ask(&call.request)?;
            if !answer.status.is_success() {
                return Err(Failure::Refused(Refusal::of_call(&answer, &call)));
            }
            print(&output(&call.output, &answer)?)
        }
    }
}

fn accepted(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() { Ok(answer) } else { Err(Failure::Refused(Refusal::from(&answer))) }
}

/// What can follow, as the daemon says.
fn help_of(session: &Session, request: &Request) -> Result<help::Answer, Failure> {
    let answer = accepted(session.ask(request)?)?;
    help::Answer::parse(&answer.body).ok_or(Failure::NotJson)
}

/// Prints what the grammar says, and what the daemon has to add.
fn help(question: &Question, session: impl FnOnce() -> Result<Session, Failure>) -> Result<(), Failure> {
    let ours = question.topic.text(show::width().unwrap_or(help::WIDTH));
    let Some(request) = question.request() else { return print(&ours) };
    let answer = session().and_then(|session| help_of(&session, &request));
    match (answer, question.is_ours()) {
        (Ok(answer), false) => print(&answer.text(question, show::width())),
        (Ok(answer), true) => {
            let names = answer.names(question, show::width());
            print(&if names.is_empty() { ours } else { format!("{ours}\n{names}") })
        }
        // What the grammar says is all that was asked for: that the rest is missing is a remark.
        (Err(failure), true) => {
            print(&ours)?;
            let _ = writeln!(io::stderr(), "{failure}");
            Ok(())
        }
        (Err(failure @ Failure::Client(_)), false) => {
            print(&ours)?;
            Err(failure)
        }
        (Err(failure), false) => Err(failure),
    }
}

/// Both ends' versions: our own whether or not the other answers.
fn versions(view: &View, answer: Result<Answer, Failure>) -> Result<(), Failure> {
    let mut both = json!({ "polycubectl": { "version": VERSION } });
    let failure = match answer.map(|answer| serde_json::from_slice(&answer.body)) {
        Ok(Ok(Value::Object(theirs))) => {
            both.as_object_mut().into_iter().for_each(|both| both.extend(theirs.clone()));
            None
        }
        Ok(_) => Some(Failure::NotJson),
        Err(failure) => Some(failure),
    };
    print(&view.render(&both, show::width()))?;
    failure.map_or(Ok(()), Err)
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
        (Ok(value), _) => Ok(view.render(&value, show::width())),
        (Err(_), View::Json | View::Yaml) => Err(Failure::NotJson),
        (Err(_), View::Text { .. } | View::Topology) => Ok(escape_text(&String::from_utf8_lossy(&answer.body))),
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
