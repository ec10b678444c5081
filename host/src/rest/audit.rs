//! The audit trail: each request for a change is one line at `info`, with the target [`TARGET`], that says who asked,
//! from where, for what, and what became of it. A client that hangs up does not escape it.

use std::sync::Arc;

use axum::response::Response;
use polycube_api::Word;
use serde_json::Value;

use super::call::Call;
use super::client::Client;
use super::context::Context;
use super::error::Refusal;
use super::statistics::{Outcome, Statistics};

/// What `--log` can select: `warn,audit=info` keeps these lines without the daemon's other ones.
const TARGET: &str = "audit";

/// Most bytes of a request's body in its line.
const LONGEST: usize = 512;

/// The line of a request for a change, which is written in the end.
pub(super) struct Entry {
    client: Client,
    /// Method and path.
    change: String,
    cube: Option<String>,
    body: Option<String>,
    statistics: Arc<Statistics>,
    is_written: bool,
}

impl Entry {
    /// Begins the line of a request.
    pub(super) fn begin(context: &Context, client: &Client, call: &Call) -> Self {
        Self {
            client: client.clone(),
            change: format!("{} {}", call.method, call.place()),
            cube: cube(context, call),
            body: (!call.body.is_null()).then(|| shortened(call.body.to_string())),
            statistics: Arc::clone(&context.statistics),
            is_written: false,
        }
    }

    /// Writes the line.
    pub(super) fn end(mut self, answer: &Result<Response, Refusal>) {
        match answer {
            Ok(_) => self.write(Outcome::Made, "done"),
            Err(refusal) => {
                let status = refusal.status();
                let outcome = if status.is_server_error() { Outcome::Failed } else { Outcome::Refused };
                let word = if outcome == Outcome::Failed { "failed" } else { "refused" };
                self.write(outcome, &format!("{word} ({}): {}", status.as_u16(), refusal.reason()));
            }
        }
    }

    fn write(&mut self, outcome: Outcome, result: &str) {
        self.is_written = true;
        self.statistics.count(outcome);
        let Self { client, change, cube, body, .. } = self;
        let (who, from, cube) = (client.who.to_string(), &*client.from, cube.as_deref());
        // JSON has no line breaks of its own, and escapes those of its texts.
        let body = body.as_ref().map(tracing::field::display);
        tracing::info!(target: TARGET, who, from, change = change.as_str(), cube, body, result, "change");
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.is_written {
            // What it asked for may be done all the same.
            self.write(Outcome::Failed, "not known: the client did not wait for the answer");
        }
    }
}

/// The cube that a request is about.
fn cube(context: &Context, call: &Call) -> Option<String> {
    let text = |member: &str| call.body.get(member).and_then(Value::as_str).map(str::to_owned);
    let (first, second) = (call.path.first()?, call.path.get(1));
    if Word::parse(first).is_some() {
        return text("cube").or_else(|| text("peer1").and_then(|peer| Some(peer.split_once(':')?.0.to_owned())));
    }
    match context.view.registry.service(first) {
        Ok(_) => second.cloned().or_else(|| text("name")),
        Err(_) => Some(first.clone()),
    }
}

fn shortened(mut text: String) -> String {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_body_is_cut_between_characters() {
        assert_eq!(shortened("short".to_owned()), "short");
        let cut = shortened(format!("x{}", "é".repeat(LONGEST)));
        assert_eq!((cut.len(), cut.ends_with("é…")), (LONGEST - 1 + '…'.len_utf8(), true));
    }
}
