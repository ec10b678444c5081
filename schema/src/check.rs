//! What a service may look like: checked once, when it is loaded. Pure.
//!
//! A schema can be valid and yet describe something that no request reaches, or that hides a node of the host's. Such a
//! service would load and fail its users later, one by one; here it is refused in one line.

use std::fmt;

use polycube_api::{COMMAND_LINE, Verb, Word};
use polycube_plugin_api::{Action, ServiceKind, ServiceSchema, keyword};
use serde_json::Value;

use super::node::{Node, locate};
use super::port::{self, PORTS};

/// Bytes that a service's name has at most: the identity record ends it with a zero.
const LONGEST: usize = 63;

/// Why a service is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("its name is a word of the API or of the command line: choose another")]
    Reserved,
    #[error(
        "its name is not one that paths can carry: use at most 63 ASCII letters, digits, `-`, `_` and `.`, a letter first"
    )]
    Name,
    #[error("its {part} is not an object: make it a struct with named fields")]
    Shape { part: Part },
    #[error("`{word}` of its {part} is a word of the host's own: choose another name for the field")]
    Taken { part: Part, word: String },
    #[error("`{place}` of its {part} has `$ref`: a type that contains itself cannot be a data model")]
    Reference { part: Part, place: String },
    #[error(
        "the list `{PORTS}` of its {part} has no text `name` as its `{}`: ports are known by their names",
        keyword::LIST_KEY
    )]
    Ports { part: Part },
    #[error("the list `{place}` of its {part} has no `{}`: say which member identifies an entry", keyword::LIST_KEY)]
    NoKey { part: Part, place: String },
    #[error(
        "the list `{place}` of its {part} has the key `{key}`, which is not a text, number or boolean of its entries"
    )]
    Key { part: Part, place: String, key: String },
    #[error("`{place}` of its configuration is an alias of `{target}`, which is not a value of the configuration")]
    Alias { place: String, target: String },
    #[error("the action `{path}` cannot be called: {why}")]
    Action { path: String, why: Unreachable },
}

/// A part of a service's data model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Config,
    State,
    Input,
    PortConfig,
    PortState,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::State => "state",
            Self::Input => "action's input",
            Self::PortConfig => "ports' configuration",
            Self::PortState => "ports' state",
        })
    }
}

/// Why no call reaches an action.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("give it a path of words with `/` between them, each of letters, digits, `-`, `_` and `.`")]
    Path,
    #[error("`{0}` is a word of the command line: choose another")]
    Verb(String),
    #[error("`{0}` is a word of the host's own: choose another")]
    Taken(String),
    #[error("a node of the data model has this path: choose another")]
    Node,
    #[error("what follows the list `{0}` names an entry: move the action out of the list")]
    Entry(String),
    #[error("a stream has this path: choose another")]
    Stream,
    #[error("another action has this path: choose another")]
    Twice,
    #[error("nothing follows the action `{0}`: choose a path that does not begin with it")]
    After(String),
}

/// Checks a service; `words` are the members that the host itself gives cubes.
pub(super) fn check(service: &ServiceSchema, words: &[String]) -> Result<(), Fault> {
    check_name(&service.name)?;
    let has_ports = service.kind == ServiceKind::Standard;
    let parts = [(Part::Config, Part::PortConfig, &service.config), (Part::State, Part::PortState, &service.state)];
    for (part, of_ports, schema) in parts {
        check_tree(part, schema)?;
        let members = schema["properties"].as_object().into_iter().flatten();
        let is_taken = |name: &String| words.contains(name) && !(has_ports && name == PORTS);
        if let Some((word, _)) = members.into_iter().find(|(name, _)| is_taken(name)) {
            return Err(Fault::Taken { part, word: word.clone() });
        }
        if let Some(ports) = schema["properties"].get(PORTS) {
            check_ports((part, of_ports), ports)?;
        }
    }
    check_aliases(&service.config, &service.config, "")?;
    let port = &service.config["properties"][PORTS]["items"];
    check_aliases(port, port, PORTS)?;
    for (index, action) in service.actions.iter().enumerate() {
        if let Some(input) = &action.input {
            check_tree(Part::Input, input)?;
        }
        check_action(service, action, &service.actions[..index], words)
            .map_err(|why| Fault::Action { path: action.path.clone(), why })?;
    }
    Ok(())
}

/// Checks what a service says of its ports, beside what the host says.
fn check_ports((part, of_ports): (Part, Part), ports: &Value) -> Result<(), Fault> {
    if !port::is_by_name(ports) {
        return Err(Fault::Ports { part });
    }
    match port::taken(ports) {
        Some(word) => Err(Fault::Taken { part: of_ports, word: word.to_owned() }),
        None => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    if name.len() > LONGEST || !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !is_word(name) {
        return Err(Fault::Name);
    }
    if Word::parse(name).is_some() || COMMAND_LINE.contains(&name) || Verb::parse(name).is_some() {
        return Err(Fault::Reserved);
    }
    Ok(())
}

/// Whether a path can carry `word` as it is.
fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn check_tree(part: Part, schema: &Value) -> Result<(), Fault> {
    if schema["type"] != "object" {
        return Err(Fault::Shape { part });
    }
    check_node(part, schema, "")
}

fn check_node(part: Part, schema: &Value, place: &str) -> Result<(), Fault> {
    if schema.get("$ref").is_some() {
        return Err(Fault::Reference { part, place: place.to_owned() });
    }
    if let Some(items) = schema.get("items") {
        if items.get("properties").is_some() {
            check_key(part, schema, place)?;
        }
        check_node(part, items, place)?;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        check_node(part, member, &below(place, name))?;
    }
    Ok(())
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}

/// Checks what identifies an entry of a list of objects.
fn check_key(part: Part, list: &Value, place: &str) -> Result<(), Fault> {
    let place = place.to_owned();
    let Some(key) = list.get(keyword::LIST_KEY).and_then(Value::as_str) else {
        return Err(Fault::NoKey { part, place });
    };
    let member = list["items"]["properties"].get(key);
    let is_leaf = |member: &Value| {
        let is_composed = |kind: &Value| kind == "object" || kind == "array" || kind == "null";
        matches!(Node::of(member), Node::Leaf(_)) && member.get("items").is_none() && !is_composed(&member["type"])
    };
    if member.is_some_and(is_leaf) { Ok(()) } else { Err(Fault::Key { part, place, key: key.to_owned() }) }
}

fn check_aliases(config: &Value, schema: &Value, place: &str) -> Result<(), Fault> {
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let place = below(place, name);
        if let Some(target) = member.get(keyword::ALIAS) {
            let words: Vec<String> =
                target.as_str().unwrap_or_default().split('/').skip(1).map(str::to_owned).collect();
            let found = locate(config, &words).ok().filter(|node| matches!(node, Node::Leaf(_)));
            if words.is_empty() || found.is_none_or(|node| node.schema().get(keyword::ALIAS).is_some()) {
                let target = target.as_str().map_or_else(|| target.to_string(), str::to_owned);
                return Err(Fault::Alias { place, target });
            }
        }
        check_aliases(config, member, &place)?;
    }
    Ok(())
}

fn check_action(
    service: &ServiceSchema,
    action: &Action,
    earlier: &[Action],
    host: &[String],
) -> Result<(), Unreachable> {
    let words: Vec<String> = action.path.split('/').map(str::to_owned).collect();
    if !words.iter().all(|word| is_word(word)) {
        return Err(Unreachable::Path);
    }
    if let Some(verb) = words.iter().find(|word| Verb::parse(word).is_some()) {
        return Err(Unreachable::Verb(verb.clone()));
    }
    if host.contains(&words[0]) {
        return Err(Unreachable::Taken(words[0].clone()));
    }
    for schema in [&service.config, &service.state] {
        let list = (1..words.len())
            .find(|depth| matches!(locate(schema, &words[..*depth]), Ok(Node::List { .. } | Node::Entry(_))));
        if let Some(depth) = list {
            return Err(Unreachable::Entry(words[..depth].join("/")));
        }
        if locate(schema, &words).is_ok() {
            return Err(Unreachable::Node);
        }
    }
    if service.streams.iter().any(|stream| stream.path == action.path) {
        return Err(Unreachable::Stream);
    }
    for other in earlier {
        if other.path == action.path {
            return Err(Unreachable::Twice);
        }
        let [longer, shorter] = match other.path.len() < action.path.len() {
            true => [action, other],
            false => [other, action],
        };
        if longer.path.starts_with(&format!("{}/", shorter.path)) {
            return Err(Unreachable::After(shorter.path.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
