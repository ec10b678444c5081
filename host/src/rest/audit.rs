//! The audit trail: each request for a change is one line at `info`, with the target [`TARGET`], that says who asked,
//! from where, for what, and what became of it. A client that hangs up does not escape it.

use std::sync::Arc;

use axum::http::Method;
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
    /// Whether the body has what nobody may see. Then a refusal may have a part of it.
    has_secrets: bool,
    statistics: Arc<Statistics>,
    is_written: bool,
}

impl Entry {
    /// Begins the line of a request.
    pub(super) fn begin(context: &Context, client: &Client, call: &Call) -> Self {
        let secrets = secrets(context, call);
        // What is not an object cannot be taken apart.
        let is_secret =
            |name: &String| call.method == Method::POST && !call.body.is_object() || !call.body[name].is_null();
        let has_secrets = secrets.as_ref().is_some_and(|secrets| secrets.iter().any(is_secret));
        Self {
            client: client.clone(),
            change: format!("{} {}", call.method, call.place()),
            cube: cube(context, call),
            body: secrets
                .filter(|_| !has_secrets || call.body.is_object())
                .and_then(|secrets| shown(&call.body, &secrets)),
            has_secrets,
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
                let reason = if self.has_secrets { String::new() } else { format!(": {}", refusal.reason()) };
                self.write(outcome, &format!("{word} ({}){reason}", status.as_u16()));
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

/// The members of the body that nobody may see; `None` if the request is for something that does not exist, so that it is not
/// known which.
fn secrets(context: &Context, call: &Call) -> Option<Vec<String>> {
    let view = &context.view;
    let Some(first) = call.path.first().filter(|first| Word::parse(first).is_none()) else { return Some(Vec::new()) };
    let service = view.registry.service(first).ok().or_else(|| {
        let (_, cube) = view.topology.get(first)?;
        view.registry.service(&cube.service).ok()
    })?;
    Some(service.model.secrets().map(str::to_owned).collect())
}

/// The body as it is shown, with nothing in the place of `secrets`; `None` if there is nothing to show.
fn shown(body: &Value, secrets: &[String]) -> Option<String> {
    let mut body = body.clone();
    let members = body.as_object_mut().into_iter().flatten();
    members.filter(|(name, _)| secrets.contains(name)).for_each(|(_, value)| *value = Value::Null);
    (!body.is_null()).then(|| shortened(body.to_string()))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_left_out() {
        let body = json!({ "log": "CLIENT_RANDOM 1 2", "first-line": 7 });
        let shown = |secrets: &[&str]| shown(&body, &secrets.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(shown(&["log"]).as_deref(), Some(r#"{"log":null,"first-line":7}"#));
        assert_eq!(shown(&[]), Some(body.to_string()));
    }

    #[test]
    fn a_long_body_is_cut_between_characters() {
        assert_eq!(shortened("short".to_owned()), "short");
        let cut = shortened(format!("x{}", "é".repeat(LONGEST)));
        assert_eq!((cut.len(), cut.ends_with("é…")), (LONGEST - 1 + '…'.len_utf8(), true));
    }
}
