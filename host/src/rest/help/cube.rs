//! Help on services and their cubes: the nodes of the data model, and the actions and streams beside them.

use polycube_api::{Help, Keyword, KeywordKind, Verb};
use polycube_plugin_api::ServiceKind;
use serde_json::Value;

use super::names::Asker;
use super::{keyword, node, reads, takes};
use crate::problem::{ErrorTag, Problem};
use crate::registry::Service;
use crate::rest::context::Context;
use crate::rest::error::Refusal;
use crate::rest::resource::{self, neither};
use crate::rest::resource_kind::ResourceKind;
use crate::schema::{Node, locate};

/// Help on the path that is a service's name.
pub(super) fn on_service(context: &Context, service: &Service, verb: Option<Verb>) -> Help {
    let schema = &service.model.service;
    let mut help = Help::of(schema.description.as_str());
    if verb == Some(Verb::Add) {
        let name = &service.whole["properties"]["name"];
        let example = keyword::of("name", name).example;
        let about = name["description"].as_str().unwrap_or_default();
        help.params.push(Keyword { example, ..Keyword::key("name", about, Vec::new()) });
        node::add_entry(&mut help, &service.whole, "name");
        help.optional.extend(parent(service));
        return help;
    }
    if verb.is_none() {
        help.commands = Verb::ALL.into_iter().filter(|verb| takes(ResourceKind::Service, *verb)).collect();
    }
    help.params = cubes_of(context, service);
    help
}

/// What a new cube can be attached to at once.
fn parent(service: &Service) -> Option<Keyword> {
    let is_transparent = service.model.service.kind == ServiceKind::Transparent;
    let about = "Port, as CUBE:PORT, or netdev to attach the cube to";
    let leaf = Keyword::new("parent", KeywordKind::Leaf, about);
    let leaf = Keyword { simpletype: "string".to_owned(), example: "br1:port1".to_owned(), ..leaf };
    is_transparent.then(|| Keyword { names: "peers".to_owned(), pair: true, ..leaf })
}

fn cubes_of(context: &Context, service: &Service) -> Vec<Keyword> {
    Asker::new(context).cubes(|cube| cube.service == service.model.service.name)
}

/// Help on the cube `name`, or on the node at `path` below it. A cube that does not exist yet needs its `service`.
pub(super) async fn on_cube(
    context: &Context,
    service: Option<&Service>,
    name: &str,
    path: &[String],
    verb: Option<Verb>,
) -> Result<Help, Refusal> {
    match service_of(context, service, name)? {
        (service, true) => on_node(context, service, name, path, verb).await,
        (service, false) if verb == Some(Verb::Add) && path.is_empty() => {
            let mut help = Help::of(service.model.service.description.as_str());
            node::add_entry(&mut help, &service.whole, "name");
            help.optional.extend(parent(service));
            Ok(help)
        }
        (service, false) => {
            let cubes = cubes_of(context, service);
            let problem = nowhere(name, format!("cube `{name}` does not exist"));
            Err(problem.knowing(name, cubes.iter().map(|cube| cube.name.as_str())).into())
        }
    }
}

fn nowhere(path: &str, message: String) -> Problem {
    Problem::new(ErrorTag::UnknownElement, path, message)
}

/// The service that `name` is a cube of, or `service`, and whether the cube exists.
fn service_of<'a>(
    context: &'a Context,
    service: Option<&'a Service>,
    name: &str,
) -> Result<(&'a Service, bool), Problem> {
    match (context.view.topology.cube(name), service) {
        (Ok((_, cube)), Some(service)) if cube.service != service.model.service.name => {
            let service = &service.model.service.name;
            Err(nowhere(name, format!("cube `{name}` is not of service {service}")))
        }
        (Ok((_, cube)), _) => Ok((context.view.registry.service(&cube.service)?, true)),
        (Err(_), Some(service)) => Ok((service, false)),
        (Err(_), None) => Err(neither(context, name)),
    }
}

/// The node at `path`, with all that is below it; a service is the list of its cubes, and an action what it takes.
pub(super) fn node(context: &Context, path: &[String]) -> Option<Keyword> {
    let (first, rest) = path.split_first()?;
    let registry = &context.view.registry;
    let (service, below) = match (registry.service(first), rest.split_first()) {
        (Ok(service), Some((_, below))) => (service, below),
        (Ok(service), None) => {
            let list = Keyword::new(first, KeywordKind::List, service.model.service.description.as_str());
            return Some(Keyword { members: keyword::deep("", &service.whole, &service.whole).members, ..list });
        }
        (Err(_), _) => (registry.service(&context.view.topology.get(first)?.1.service).ok()?, rest),
    };
    if let Some(input) = service.model.inputs.get(&below.join("/")) {
        return Some(keyword::deep(path.last()?, input.config(), input.config()));
    }
    let found = locate(&service.whole, below).ok()?;
    Some(keyword::deep(path.last()?, found.schema(), &service.whole))
}

async fn on_node(
    context: &Context,
    service: &Service,
    name: &str,
    path: &[String],
    verb: Option<Verb>,
) -> Result<Help, Refusal> {
    let beside = Beside::at(service, path);
    let here = match locate(&service.whole, path) {
        Ok(here) => here,
        Err(_) if beside.description.is_some() || !beside.below.is_empty() => {
            let params = if verb.is_none() { beside.below } else { Vec::new() };
            let mut help = Help { params, ..Help::of(beside.description.unwrap_or_default()) };
            if let Some(input) = service.model.inputs.get(&path.join("/")).filter(|_| verb.is_none()) {
                node::add_entry(&mut help, input.config(), "");
            }
            return Ok(help);
        }
        Err((node, word)) => {
            let problem = nowhere(&format!("{name}/{}", path.join("/")), format!("there is no `{word}`"));
            return Err(problem.knowing(word, node.children()).into());
        }
    };
    let last = path.last().map_or(name, String::as_str);
    let found = find(context, &service.whole, name, path).await;
    let mut help = match (here, found) {
        (Node::Entry(item), Err(_)) if verb == Some(Verb::Add) => {
            let mut help = Help::of(item["description"].as_str().unwrap_or_default());
            node::add_entry(&mut help, item, key(&service.whole, path));
            return Ok(help);
        }
        (_, Err(problem)) => return Err(problem.into()),
        (Node::Entry(_), Ok(())) => {
            let key = key(&service.whole, path);
            let mut help = node::on(here, last, verb, &[]);
            // An entry keeps its key.
            help.params.retain(|param| reads(verb) || param.name != key);
            help
        }
        (Node::List { key, .. }, Ok(())) => node::on(here, last, verb, &entries(context, name, path, key).await),
        (Node::Container(_) | Node::Leaf(_), Ok(())) => node::on(here, last, verb, &[]),
    };
    if matches!(here, Node::Leaf(_)) && is_fixed_in(&service.whole, path) {
        help.commands.retain(|verb| *verb != Verb::Del);
    }
    if verb.is_none() {
        let is_new = |keyword: &Keyword| help.params.iter().all(|param| param.name != keyword.name);
        let more: Vec<Keyword> = beside.below.into_iter().filter(is_new).collect();
        help.params.extend(more);
    }
    Ok(help)
}

/// Whether the leaf at `path` must have a value, and has no default to go back to.
fn is_fixed_in(schema: &Value, path: &[String]) -> bool {
    let Some((word, above)) = path.split_last() else { return false };
    locate(schema, above).is_ok_and(|above| node::is_fixed(above.schema(), word))
}

/// The actions and streams at and below a path.
#[derive(Default)]
struct Beside {
    /// Description of the one that the path leads to.
    description: Option<String>,
    below: Vec<Keyword>,
}

impl Beside {
    fn at(service: &Service, path: &[String]) -> Self {
        let service = &service.model.service;
        let actions = service.actions.iter().map(|action| (&action.path, &action.description, KeywordKind::Action));
        let streams = service.streams.iter().map(|stream| (&stream.path, &stream.description, KeywordKind::Stream));
        let mut found = Self::default();
        for (whole, description, kind) in actions.chain(streams) {
            let words: Vec<&str> = whole.split('/').collect();
            // A word in braces matches any.
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
                [word, ..] => Keyword::new(*word, KeywordKind::Container, ""),
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
async fn find(context: &Context, schema: &Value, cube: &str, path: &[String]) -> Result<(), Problem> {
    let is_entry = |depth: usize| matches!(locate(schema, &path[..depth]), Ok(Node::Entry(_)));
    if !(1..=path.len()).any(is_entry) {
        return Ok(());
    }
    match resource::read(context.clone(), cube.to_owned(), path.to_vec()).await {
        Err(problem) if matches!(problem.tag, ErrorTag::DataMissing | ErrorTag::UnknownElement) => Err(problem),
        // A plugin that cannot report its state says nothing about the entry.
        Err(_) | Ok(_) => Ok(()),
    }
}

/// The keys of a list's entries as they are now; none if the plugin cannot report its state.
async fn entries(context: &Context, cube: &str, path: &[String], key: &str) -> Vec<String> {
    let Ok(list) = resource::read(context.clone(), cube.to_owned(), path.to_vec()).await else {
        return Vec::new();
    };
    let word = |entry: &Value| Some(keyword::text(entry.get(key)?));
    list.value.as_array().into_iter().flatten().filter_map(word).collect()
}
