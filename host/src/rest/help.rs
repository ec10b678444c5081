//! `OPTIONS PATH?help=VERB[&completion][&deep]`: what can follow a path, from the schemas, the declared paths and the names that
//! exist. `OPTIONS PATH?model`: the data model below a path alone, which asks no plugin; what the path names need not exist.
//!
//! The command line's help and completion are made of it: the command line knows no service itself.

mod cube;
mod framework;
mod keyword;
mod names;
mod node;

use axum::http::StatusCode;
use polycube_api::{Help, Verb};

use self::names::Asker;
use super::call::{Call, Content, Done};
use super::context::Context;
use super::error::Refusal;
use super::resource_kind::ResourceKind;
use super::route::Route;
use crate::problem::Problem;

/// What is asked for before a verb is typed.
const NO_VERB: &str = "NONE";

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Query {
    /// The verb that the words are for; none before it is typed.
    verb: Option<Verb>,
    completion: bool,
    /// Whether the whole data model below is wanted as well.
    deep: bool,
    /// Whether the data model below is all that is wanted.
    model: bool,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut query = Self { verb: None, completion: false, deep: false, model: false };
        for part in text.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=').unwrap_or((part, "")) {
                ("help", word) if word.eq_ignore_ascii_case(NO_VERB) => query.verb = None,
                ("help", word) => {
                    let verb = Verb::parse(&word.to_ascii_lowercase());
                    query.verb = Some(verb.ok_or_else(|| {
                        let known = Verb::ALL.map(|verb| verb.as_str().to_ascii_uppercase()).join(", ");
                        Problem::bad("", format!("help={word} is not one of {NO_VERB}, {known}"))
                    })?);
                }
                ("completion", _) => query.completion = true,
                ("deep", _) => query.deep = true,
                ("model", _) => query.model = true,
                (other, _) => {
                    let problem = Problem::invalid("", format!("unknown parameter `{other}`"));
                    return Err(problem.knowing(other, ["help", "completion", "deep", "model"]));
                }
            }
        }
        Ok(query)
    }
}

/// Whether `verb`, or none, asks for what can be read.
fn reads(verb: Option<Verb>) -> bool {
    matches!(verb, None | Some(Verb::Show))
}

/// Whether `verb` does something to resources of a kind.
fn takes(kind: ResourceKind, verb: Verb) -> bool {
    kind.methods().iter().any(|method| method.verb() == Some(verb))
}

pub(super) async fn answer(context: &Context, call: &Call, routes: &'static [Route]) -> Result<Done, Refusal> {
    let query = Query::parse(&call.query).map_err(|problem| problem.under(&call.place()))?;
    if query.model {
        let help = Help { node: cube::node(context, &call.path), ..Help::default() };
        let json = serde_json::to_value(help);
        let json = json.map_err(|error| Problem::failed("", format!("cannot write the data model: {error}")))?;
        return Ok(Done::new(StatusCode::OK, Content::Document(json)));
    }
    let mut help = on(context, &call.path, query.verb, routes).await?;
    if query.deep {
        help.node = cube::node(context, &call.path);
    }
    Asker::new(context).fill_in(&call.path, &mut help).await?;
    let json = if query.completion { serde_json::to_value(help.words()) } else { serde_json::to_value(help) };
    let json = json.map_err(|error| Problem::failed("", format!("cannot write the help: {error}")))?;
    Ok(Done::new(StatusCode::OK, Content::Document(json)))
}

async fn on(context: &Context, path: &[String], verb: Option<Verb>, routes: &'static [Route]) -> Result<Help, Refusal> {
    let Some((first, rest)) = path.split_first() else { return Ok(framework::on_all(context, verb, routes)) };
    if let Some(help) = framework::on(context, path, verb, routes).await? {
        return Ok(help);
    }
    match (context.view.registry.service(first), rest.split_first()) {
        (Ok(service), None) => Ok(cube::on_service(context, service, verb)),
        (Ok(service), Some((name, path))) => cube::on_cube(context, Some(service), name, path, verb).await,
        (Err(_), _) => cube::on_cube(context, None, first, rest, verb).await,
    }
}

#[cfg(test)]
mod tests;
