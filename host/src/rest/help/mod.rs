//! `OPTIONS PATH?help=VERB[&completion]`: what can follow a path, from the schemas and the names that exist.
//!
//! The command line makes its help and completion of it, and knows no service itself.

mod cube;
mod keyword;
mod link;
mod node;
mod root;

use axum::http::StatusCode;

use self::keyword::{Help, Names};
use super::Api;
use super::dispatch::{Call, Done};
use super::error::Refused;
use crate::problem::{Problem, suggestion};

/// The command that the words are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    None,
    Add,
    Set,
    Show,
    Del,
}

const VERBS: [(&str, Verb); 5] =
    [("NONE", Verb::None), ("ADD", Verb::Add), ("SET", Verb::Set), ("SHOW", Verb::Show), ("DEL", Verb::Del)];

impl Verb {
    fn reads(self) -> bool {
        matches!(self, Self::None | Self::Show)
    }
}

/// What is asked for.
#[derive(Debug, PartialEq)]
struct Query {
    verb: Verb,
    completion: bool,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut query = Self { verb: Verb::None, completion: false };
        for part in text.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=').unwrap_or((part, "")) {
                ("help", word) => {
                    let verb = VERBS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
                    query.verb = verb.map(|(_, verb)| *verb).ok_or_else(|| {
                        Problem::bad("", format!("help={word} is not one of NONE, ADD, SET, SHOW, DEL"))
                    })?;
                }
                ("completion", _) => query.completion = true,
                (other, _) => {
                    let known = suggestion(other, ["help", "completion"]);
                    return Err(Problem::invalid("", format!("unknown parameter `{other}`{known}")));
                }
            }
        }
        Ok(query)
    }
}

pub async fn answer(api: Api, call: Call) -> Result<Done, Refused> {
    let query = Query::parse(&call.query).map_err(|problem| problem.under(&call.path.join("/")))?;
    let mut help = on(&api, &call.path, query.verb).await?;
    look_up(&api, &call.path, &mut help).await?;
    Ok(Done::new(StatusCode::OK, Some(if query.completion { help.words() } else { help.into() })))
}

/// Adds the names that exist to the leaves that want one.
async fn look_up(api: &Api, path: &[String], help: &mut Help) -> Result<(), Refused> {
    let view = &*api.view;
    let cube = path.iter().find_map(|word| view.topology.cube(word).ok()).map(|(_, cube)| cube);
    for keyword in help.leaf.iter_mut().chain(&mut help.params).chain(&mut help.optional) {
        keyword.values.extend(match keyword.names {
            Names::Nothing => Vec::new(),
            Names::Netdevs => link::netdevs(api).await?,
            Names::Peers => [link::ports(&view.topology), link::netdevs(api).await?].concat(),
            Names::Ports => cube.into_iter().flat_map(|cube| cube.ports()).map(|(port, _)| port.to_string()).collect(),
        });
    }
    Ok(())
}

async fn on(api: &Api, path: &[String], verb: Verb) -> Result<Help, Refused> {
    let Some((first, rest)) = path.split_first() else { return Ok(root::on_all(api, verb)) };
    if let Some(help) = root::on_framework(api, first, rest, verb).await? {
        return Ok(help);
    }
    match (api.view.registry.service(first), rest.split_first()) {
        (Ok(service), None) => Ok(cube::on_service(api, service, verb)),
        (Ok(service), Some((name, path))) => cube::on_cube(api, Some(service), name, path, verb).await,
        (Err(_), _) => cube::on_cube(api, None, first, rest, verb).await,
    }
}

#[cfg(test)]
mod tests;
