//! `polycubectl`: does what a command line asks for.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};

use hyper::Method;
use polycube_api::{Help, Keyword, Word};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::failure::Failure;
use crate::grammar::{Call, Captures, Input, Line, Order, Output, Question, Request, Topic, UsageError, View, subject};
use crate::output::print;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::show::{Paper, Schema};
use crate::terminal::{escape_text, has_colours, width};
use crate::{capture, captures, complete, configuration, grammar, help, hint, input, join, plugin, show, stream, top};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Does what the arguments ask for.
///
/// # Errors
///
/// Why it was not done.
pub(crate) fn run() -> Result<(), Failure> {
    if let Some(words) = complete::asked() {
        return print(&complete::lines(&words, |partial| {
            let request = partial.request()?;
            let answer = Session::new(partial.endpoint.clone()).ok()?.ask_briefly(&request)?;
            complete::help(&answer.body).filter(|_| answer.status.is_success())
        }));
    }
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    obey(args.clone()).map_err(|failure| hint::add(failure, &args))
}

fn obey(args: Vec<OsString>) -> Result<(), Failure> {
    let Line { order, endpoint, verbose, clock } = grammar::parse(args)?;
    let session = || Session::new(endpoint.clone());
    match order {
        Order::Help(question) => help(&question, session),
        Order::Explanation(asked) => print(&help::explain(&asked, width().unwrap_or(help::WIDTH))),
        Order::OwnVersion => print(&format!("polycubectl {VERSION}\n")),
        Order::Script(shell) => print(complete::script(shell)),
        Order::Configuration(asked) => configuration::run(&asked, session),
        Order::Plugin(order) => plugin::run(&order, session),
        Order::Capture(asked) => capture::run(endpoint.clone(), &asked, verbose),
        Order::Captures(Captures::Get { request, destination }) => captures::get(&session()?, &request, &destination),
        Order::Captures(Captures::Query(packets)) => captures::query(&session()?, packets),
        Order::Captures(Captures::Help) => print(&help::text(Topic::Captures, width().unwrap_or(help::WIDTH))),
        Order::Packets(packets) => stream::take(&session()?, &packets),
        Order::Joined(joined) => join::take(&session()?, &joined),
        Order::Top { once } => top::run(&session()?, once),
        Order::Call(Call { output: Output::Versions(view), request, .. }) => {
            let answer = session().and_then(|session| session.accepted(&request));
            versions(&view, answer, Paper::of_stdout(clock))
        }
        Order::Call(mut call) => {
            match (input::read(call.input)?, call.input) {
                (Some(body), _) => call.request.body = Some(body),
                (None, Input::Required) if call.request.path.trim_end_matches('/') == Word::Cubes.as_str() => {
                    return Err(UsageError::NoCubes.into());
                }
                (None, Input::Required) => return Err(UsageError::NothingToSet.into()),
                (None, Input::Dash) => return Err(input::InputError::Empty { name: input::NAME.to_owned() }.into()),
                (None, Input::No | Input::Optional) => {}
            }
            let session = session()?;
            if let Some(model) = call.settings.question().and_then(|question| node(&session, &question)) {
                call.request.body = Some(call.settings.body(&model)?);
            }
            let answer = session.ask(&call.request)?;
            if !answer.status.is_success() {
                let asked = if call.output == Output::Result { Asked::Action } else { Asked::Verb };
                let refusal = Refusal::new(&answer, asked);
                return Err(if verbose { refusal.with_log(&answer) } else { refusal }.into());
            }
            let is_said = call.is_for_people() && !answer.body.trim_ascii().is_empty();
            let model = if is_said { model(&session, &call.request) } else { None };
            let schema = Schema::of(model.as_ref());
            if call.shows_entries() && is_empty(&answer) {
                // Not on standard output, where programs count lines.
                let _ = writeln!(io::stderr(), "polycubectl: `{}` has no entries", subject(&call.request));
            }
            print(&output(&call.output, &answer, schema, Paper::of_stdout(clock))?)
        }
    }
}

/// The data model of what a request shows; without it, values are shown as they are.
fn model(session: &Session, shown: &Request) -> Option<Keyword> {
    if let Some(model) = grammar::model(shown) {
        return Some(model);
    }
    // The framework's own documents have none.
    if Word::parse(shown.path.split('/').next().unwrap_or_default()).is_some() {
        return None;
    }
    let path = format!("{}?help=SHOW&deep", shown.path);
    node(session, &Request { method: Method::OPTIONS, path, body: None })
}

/// The data model in the answer to a question.
fn node(session: &Session, question: &Request) -> Option<Keyword> {
    let answer = session.ask_briefly(question).filter(|answer| answer.status.is_success())?;
    serde_json::from_slice::<Help>(&answer.body).ok()?.node
}

/// Whether the answer is a list or a directory of nothing.
fn is_empty(answer: &Answer) -> bool {
    match serde_json::from_slice(&answer.body) {
        Ok(Value::Array(entries)) => entries.is_empty(),
        Ok(Value::Object(members)) => members.is_empty(),
        _ => false,
    }
}

/// The daemon's answer to what can follow.
fn help_of(session: &Session, request: &Request) -> Result<Help, Failure> {
    serde_json::from_slice(&session.accepted(request)?.body).map_err(|_| Failure::NotJson)
}

/// Prints the grammar's part of the help, and the daemon's.
fn help(question: &Question, session: impl FnOnce() -> Result<Session, Failure>) -> Result<(), Failure> {
    let ours = help::text(question.topic, width().unwrap_or(help::WIDTH));
    let Some(request) = question.request() else { return print(&ours) };
    let answer = session().and_then(|session| help_of(&session, &request));
    match (answer, question.is_ours()) {
        (Ok(answer), false) => print(&help::text_of(&answer, question, width())),
        (Ok(answer), true) => {
            let names = help::names(&answer, question, width());
            print(&if names.is_empty() { ours } else { format!("{ours}\n{names}") })
        }
        // The grammar's part answers the question: that the rest is missing is only a note.
        (Err(failure), true) => {
            print(&ours)?;
            let _ = writeln!(io::stderr(), "{}", failure.shown(has_colours(&io::stderr())));
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
fn versions(view: &View, answer: Result<Answer, Failure>, paper: Paper) -> Result<(), Failure> {
    let mut both = json!({ "polycubectl": { "version": VERSION } });
    let failure = match answer.map(|answer| serde_json::from_slice(&answer.body)) {
        Ok(Ok(Value::Object(theirs))) => {
            both.as_object_mut().into_iter().for_each(|both| both.extend(theirs.clone()));
            None
        }
        Ok(_) => Some(Failure::NotJson),
        Err(failure) => Some(failure),
    };
    print(&show::render(view, &both, Schema::default(), paper))?;
    failure.map_or(Ok(()), Err)
}

fn output(output: &Output, answer: &Answer, schema: Schema<'_>, paper: Paper) -> Result<String, Failure> {
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
        (Ok(value), _) => Ok(show::render(view, &value, schema, paper)),
        (Err(_), View::Json | View::Yaml | View::Names) => Err(Failure::NotJson),
        (Err(_), View::Text { .. } | View::Topology) => Ok(escape_text(&String::from_utf8_lossy(&answer.body))),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[track_caller]
    fn check(form: &Output, body: &str, expected: &str) {
        let answer = Answer { status: StatusCode::OK, body: body.to_owned().into() };
        assert_eq!(output(form, &answer, Schema::default(), None.into()).unwrap(), expected, "{body}");
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
        assert!(matches!(
            output(&Output::View(View::Json), &answer, Schema::default(), None.into()),
            Err(Failure::NotJson)
        ));
    }
}
