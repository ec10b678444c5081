//! Help on services and their cubes: the nodes of the data model, and the actions and streams beside them.

use serde_json::Value;

use super::keyword::{self, Help, Keyword, Kind};
use super::{Verb, node, root};
use crate::problem::{ErrorTag, Problem, suggestion};
use crate::registry::Service;
use crate::rest::dispatch::nothing_here;
use crate::rest::error::Refused;
use crate::rest::{Api, resource};
use crate::schema::{Node, locate};

/// Help on the path that is a service's name.
pub fn on_service(api: &Api, service: &Service, verb: Verb) -> Help {
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

/// Help on the cube `name`, or on the node at `path` below it. A cube that is to be made needs its `service`.
pub async fn on_cube(
    api: &Api,
    service: Option<&Service>,
    name: &str,
    path: &[String],
    verb: Verb,
) -> Result<Help, Refused> {
    match service_of(api, service, name)? {
        (service, true) => on_node(api, service, name, path, verb).await,
        (service, false) if verb == Verb::Add && path.is_empty() => {
            let mut help = Help::of(service.model.service.description.as_str());
            node::add_entry(&mut help, &service.whole, "name");
            Ok(help)
        }
        (service, false) => {
            let cubes = root::cubes(api, |cube| cube.service == service.model.service.name);
            let known = suggestion(name, cubes.iter().map(|cube| cube.name.as_str()));
            Err(nothing_here(name, &format!("cube `{name}` does not exist{known}")))
        }
    }
}

/// The service that `name` is a cube of, or `service`, and whether the cube exists.
fn service_of<'a>(api: &'a Api, service: Option<&'a Service>, name: &str) -> Result<(&'a Service, bool), Refused> {
    let view = &*api.view;
    let registry = &api.view.registry;
    match (view.topology.cube(name), service) {
        (Ok((_, cube)), Some(service)) if cube.service != service.model.service.name => {
            let service = &service.model.service.name;
            Err(nothing_here(name, &format!("cube `{name}` is not of service {service}")))
        }
        (Ok((_, cube)), _) => Ok((registry.service(&cube.service)?, true)),
        (Err(_), Some(service)) => Ok((service, false)),
        (Err(_), None) => {
            let services = registry.services().map(|(name, _)| name);
            let known = suggestion(name, view.topology.cubes().map(|(name, _)| name.as_str()).chain(services));
            Err(nothing_here(name, &format!("there is no cube and no service `{name}`{known}")))
        }
    }
}

async fn on_node(api: &Api, service: &Service, name: &str, path: &[String], verb: Verb) -> Result<Help, Refused> {
    let beside = Beside::at(service, path);
    let here = match locate(&service.whole, path) {
        Ok(here) => here,
        Err(_) if beside.description.is_some() || !beside.below.is_empty() => {
            let params = if verb == Verb::None { beside.below } else { Vec::new() };
            let mut help = Help { params, ..Help::of(beside.description.unwrap_or_default()) };
            if let Some(input) = service.model.inputs.get(&path.join("/")).filter(|_| verb == Verb::None) {
                node::add_entry(&mut help, input.config(), "");
            }
            return Ok(help);
        }
        Err((node, word)) => {
            let known = suggestion(word, node.children());
            let place = format!("{name}/{}", path.join("/"));
            return Err(nothing_here(&place, &format!("there is no `{word}`{known}")));
        }
    };
    let last = path.last().map_or(name, String::as_str);
    let found = find(api, &service.whole, name, path).await;
    let mut help = match (here, found) {
        (Node::Entry(item), Err(_)) if verb == Verb::Add => {
            let mut help = Help::of(item["description"].as_str().unwrap_or_default());
            node::add_entry(&mut help, item, key(&service.whole, path));
            return Ok(help);
        }
        (_, Err(problem)) => return Err(problem.into()),
        (Node::Entry(_), Ok(())) => {
            let key = key(&service.whole, path);
            let mut help = node::on(here, last, verb, &[]);
            // An entry keeps its key.
            help.params.retain(|param| verb.reads() || param.name != key);
            help
        }
        (Node::List { key, .. }, Ok(())) => node::on(here, last, verb, &entries(api, name, path, key).await),
        (Node::Container(_) | Node::Leaf(_), Ok(())) => node::on(here, last, verb, &[]),
    };
    if verb == Verb::None {
        let is_new = |keyword: &Keyword| help.params.iter().all(|param| param.name != keyword.name);
        let more: Vec<Keyword> = beside.below.into_iter().filter(is_new).collect();
        help.params.extend(more);
    }
    Ok(help)
}

/// The actions and streams at and below a path.
#[derive(Default)]
struct Beside {
    /// Of the one that the path leads to.
    description: Option<String>,
    below: Vec<Keyword>,
}

impl Beside {
    fn at(service: &Service, path: &[String]) -> Self {
        let service = &service.model.service;
        let actions = service.actions.iter().map(|action| (&action.path, &action.description, Kind::Action));
        let streams = service.streams.iter().map(|stream| (&stream.path, &stream.description, Kind::Stream));
        let mut found = Self::default();
        for (whole, description, kind) in actions.chain(streams) {
            let words: Vec<&str> = whole.split('/').collect();
            // A word in braces stands for any.
            let is_same = |(word, given): (&&str, &String)| word.starts_with('{') || *word == given;
            if words.len() < path.len() || !words.iter().zip(path).all(is_same) {
                continue;
            }
            let keyword = match &words[path.len()..] {
                [] => {
                    found.description = Some(description.clone());
                    continue;
                }
                [word] if word.starts_with('{') => Keyword::key(word.trim_matches(['{', '}']), description, Vec::new()),
                [word] => Keyword::new(*word, kind, description.as_str()),
                [word, ..] => Keyword::new(*word, Kind::Container, ""),
            };
            if found.below.iter().all(|known| known.name != keyword.name) {
                found.below.push(keyword);
            }
        }
        found
    }
}

/// The key of the list whose entry `path` leads to.
fn key<'a>(schema: &'a Value, path: &[String]) -> &'a str {
    match path.split_last().map(|(_, list)| locate(schema, list)) {
        Some(Ok(Node::List { key, .. })) => key,
        _ => "",
    }
}

/// Looks for the entry that `path` leads to or through, if it does.
async fn find(api: &Api, schema: &Value, cube: &str, path: &[String]) -> Result<(), Problem> {
    let is_entry = |depth: usize| matches!(locate(schema, &path[..depth]), Ok(Node::Entry(_)));
    if !(1..=path.len()).any(is_entry) {
        return Ok(());
    }
    match resource::read(api.clone(), cube.to_owned(), path.to_vec()).await {
        Err(problem) if matches!(problem.tag, ErrorTag::DataMissing | ErrorTag::UnknownElement) => Err(problem),
        // That a plugin does not tell its state says nothing about the entry.
        Err(_) | Ok(_) => Ok(()),
    }
}

/// The keys of a list's entries as they are now; a plugin that does not tell its state has none.
async fn entries(api: &Api, cube: &str, path: &[String], key: &str) -> Vec<String> {
    let Ok(list) = resource::read(api.clone(), cube.to_owned(), path.to_vec()).await else {
        return Vec::new();
    };
    let word = |entry: &Value| Some(keyword::text(entry.get(key)?));
    list.value.as_array().into_iter().flatten().filter_map(word).collect()
}
