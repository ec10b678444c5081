//! `OPTIONS PATH?help=VERB[&completion]`: what can follow a path, from the schemas and the names that exist.
//!
//! The command line makes its help and completion of it, and knows no service itself.

mod keyword;
mod link;
mod node;
mod root;

use axum::http::StatusCode;

use self::keyword::{Help, Keyword, Kind, Names};
use super::Api;
use super::dispatch::{Call, Done, nothing_here};
use super::error::Refused;
use super::resource;
use crate::problem::{Problem, suggestion};
use crate::registry::Service;
use crate::schema::{Node, locate};

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
    let view = api.engine.view();
    let cube = path.iter().find_map(|word| view.topology.cube(word).ok()).map(|(_, cube)| cube);
    for keyword in help.leaf.iter_mut().chain(&mut help.params).chain(&mut help.optional) {
        keyword.values.extend(match keyword.names {
            Names::Nothing => Vec::new(),
            Names::Netdevs => link::netdevs(api).await?,
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
    match (api.engine.registry.service(first), rest.split_first()) {
        (Ok(service), None) => Ok(on_service(api, service, verb)),
        (Ok(service), Some((cube, path))) => on_cube(api, Some(service), cube, path, verb).await,
        (Err(_), _) => on_cube(api, None, first, rest, verb).await,
    }
}

fn on_service(api: &Api, service: &Service, verb: Verb) -> Help {
    let schema = &service.model.service;
    let mut help = Help::of(schema.description.as_str());
    if verb == Verb::Add {
        let name = &service.whole["properties"]["name"];
        let example = Keyword::of("name", name).example;
        let about = name["description"].as_str().unwrap_or_default();
        help.params.push(Keyword { example, ..Keyword::key("name", about, Vec::new()) });
        node::add_entry(&mut help, &service.whole, "name");
        return help;
    }
    if verb == Verb::None {
        help.commands = vec!["add", "set", "show", "del"];
    }
    help.params = root::cubes(api, |cube| cube.service == schema.name);
    help
}

async fn on_cube(
    api: &Api,
    service: Option<&Service>,
    name: &str,
    path: &[String],
    verb: Verb,
) -> Result<Help, Refused> {
    let view = api.engine.view();
    let registry = &api.engine.registry;
    let found = view.topology.cube(name).ok();
    let of_other = |service: &Service| found.is_some_and(|(_, cube)| cube.service != service.model.service.name);
    let service = match (found, service) {
        (_, Some(service)) if of_other(service) => {
            return Err(nothing_here(name, &format!("cube `{name}` is not of service {}", service.model.service.name)));
        }
        (None, Some(service)) if verb == Verb::Add && path.is_empty() => {
            let mut help = Help::of(service.model.service.description.as_str());
            node::add_entry(&mut help, &service.whole, "name");
            return Ok(help);
        }
        (Some((_, cube)), _) => registry.service(&cube.service)?,
        (None, _) => {
            let services = registry.services().map(|(name, _)| name);
            let known = suggestion(name, view.topology.cubes().map(|(name, _)| name.as_str()).chain(services));
            return Err(nothing_here(name, &format!("there is no cube and no service `{name}`{known}")));
        }
    };
    if let Some(action) = service.model.service.actions.iter().find(|action| action.path == path.join("/")) {
        return Ok(Help::of(action.description.as_str()));
    }
    let here = locate(&service.whole, path).map_err(|(node, word)| {
        let known = suggestion(word, node.children());
        nothing_here(&format!("{name}/{}", path.join("/")), &format!("there is no `{word}`{known}"))
    })?;
    let last = path.last().map_or(name, String::as_str);
    let mut help = match here {
        Node::Entry(item) => {
            let key = key(&service.whole, path);
            if verb == Verb::Add && !exists(api, name, path).await {
                let mut help = Help::of(item["description"].as_str().unwrap_or_default());
                node::add_entry(&mut help, item, key);
                return Ok(help);
            }
            let mut help = node::on(here, last, verb, &[]);
            // An entry keeps its key.
            help.params.retain(|param| verb.reads() || param.name != key);
            help
        }
        Node::List { key, .. } => node::on(here, last, verb, &entries(api, name, path, key).await),
        Node::Container(_) | Node::Leaf(_) => node::on(here, last, verb, &[]),
    };
    if verb == Verb::None {
        let below = |action: &str| {
            let words: Vec<&str> = action.split('/').collect();
            let rest = words.strip_prefix(path.iter().map(String::as_str).collect::<Vec<_>>().as_slice())?;
            (rest.len() == 1).then(|| rest[0].to_owned())
        };
        let actions = service.model.service.actions.iter();
        help.params.extend(
            actions.filter_map(|action| {
                Some(Keyword::new(below(&action.path)?, Kind::Action, action.description.as_str()))
            }),
        );
    }
    Ok(help)
}

/// The key of the list whose entry `path` leads to.
fn key<'a>(schema: &'a serde_json::Value, path: &[String]) -> &'a str {
    match path.split_last().map(|(_, list)| locate(schema, list)) {
        Some(Ok(Node::List { key, .. })) => key,
        _ => "",
    }
}

async fn exists(api: &Api, cube: &str, path: &[String]) -> bool {
    resource::read(api.clone(), cube.to_owned(), path.to_vec()).await.is_ok()
}

/// The keys of a list's entries as they are now; a plugin that does not tell its state has none.
async fn entries(api: &Api, cube: &str, path: &[String], key: &str) -> Vec<String> {
    let Ok(list) = resource::read(api.clone(), cube.to_owned(), path.to_vec()).await else {
        return Vec::new();
    };
    let word = |entry: &serde_json::Value| Some(keyword::text(entry.get(key)?));
    list.value.as_array().into_iter().flatten().filter_map(word).collect()
}

#[cfg(test)]
mod tests;
