//! What a service may look like: checked once, when it is loaded. Pure.
//!
//! A schema can be valid and yet describe something that no request reaches, or that hides a node of the host's. Such a
//! service would load and fail its users later, one by one; here it is refused in one line.

mod leaf;

use std::cmp::Ordering;
use std::fmt;

use polycube_api::{COMMAND_LINE, Verb, Word};
use polycube_plugin_api::{Action, ServiceKind, ServiceSchema, Stream, keyword};
use serde_json::Value;

use super::key::Key;
use super::node::{Node, locate};
use super::port::{self, PORTS};
use super::template::{is_any, meet, name_in_braces};
use leaf::Contradiction;

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
    #[error("its description is not one line: remove line breaks and other control characters")]
    Description,
    #[error("its {part} is not an object: make it a struct with named fields")]
    Shape { part: Part },
    #[error("`{word}` of its {part} is a word of the host's own: choose another name for the field")]
    Taken { part: Part, word: String },
    #[error(
        "`{place}` of its {part} has `$ref`: a type that contains itself cannot be a data model: describe the member where it is"
    )]
    Reference { part: Part, place: String },
    #[error(
        "`{place}` of its {part} has a name that no command can carry: use ASCII letters, digits, `-` and `_`, and none of \
         the words {}",
        Verb::ALL.map(|verb| format!("`{}`", verb.as_str())).join(", ")
    )]
    Member { part: Part, place: String },
    #[error("`{place}` of its {part} contradicts itself: {what}")]
    Contradiction { part: Part, place: String, what: Box<Contradiction> },
    #[error(
        "`{place}` is {config} in its configuration and {state} in its state, which are shown as one: choose another name, \
         or the same type"
    )]
    Overlap { place: String, config: String, state: String },
    #[error(
        "the list `{PORTS}` of its {part} has no text `name` as its `{}`: add it, as ports are known by their names",
        keyword::LIST_KEY
    )]
    Ports { part: Part },
    #[error("the list `{place}` of its {part} has no `{}`: say which member identifies an entry", keyword::LIST_KEY)]
    NoKey { part: Part, place: String },
    #[error(
        "the list `{place}` of its {part} has the key `{key}`, which is not a text, number or boolean of its entries: name \
         a member that is"
    )]
    Key { part: Part, place: String, key: String },
    #[error(
        "the list `{place}` of its {part} has an `{}` that is neither the name of a member nor an array of such names: make \
         it one of them",
        keyword::LIST_KEY
    )]
    KeyForm { part: Part, place: String },
    #[error("the list `{place}` of its {part} has the key `{key}` twice: name it once")]
    KeyTwice { part: Part, place: String, key: String },
    #[error(
        "the list `{place}` of its {part} has the key `{key}`, which its entries need not have: make it a required member"
    )]
    KeyOptional { part: Part, place: String, key: String },
    #[error(
        "`{place}` of its configuration is an alias of `{target}`, which is not a value of the configuration: give the JSON pointer of one"
    )]
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
    Output,
    PortConfig,
    PortState,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Config => "configuration",
            Self::State => "state",
            Self::Input => "action's input",
            Self::Output => "action's output",
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
    #[error("what follows the list `{place}` names an entry: write {keys} after it")]
    Entry { place: String, keys: String },
    #[error("`{0}` stands for no key of a list: leave out the braces")]
    Braces(String),
    #[error("`{0}` is there twice: give the words in braces different names")]
    SameName(String),
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
    if service.description.contains(char::is_control) {
        return Err(Fault::Description);
    }
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
    check_overlap(&service.config, &service.state, "")?;
    check_aliases(&service.config, &service.config, "")?;
    let port = &service.config["properties"][PORTS]["items"];
    check_aliases(port, port, PORTS)?;
    for (index, action) in service.actions.iter().enumerate() {
        if let Some(input) = &action.input {
            check_tree(Part::Input, input)?;
        }
        if let Some(output) = &action.output {
            check_references(Part::Output, output, "")?;
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
    leaf::check(schema).map_err(|what| Fault::Contradiction { part, place: place.to_owned(), what: Box::new(what) })?;
    if let Some(items) = schema.get("items") {
        if items.get("properties").is_some() {
            check_key(part, schema, place)?;
        }
        check_node(part, items, place)?;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let place = below(place, name);
        if !is_member(part, name) {
            return Err(Fault::Member { part, place });
        }
        check_node(part, member, &place)?;
    }
    Ok(())
}

/// Whether a command can name a member: in a path, and before the `=` of a value. A dot there leads to a member of a member.
fn is_member(part: Part, name: &str) -> bool {
    let is_of_paths = part != Part::Input;
    is_word(name) && !name.contains('.') && !(is_of_paths && Verb::parse(name).is_some())
}

/// Checks that what both schemas have is of one type.
fn check_overlap(config: &Value, state: &Value, place: &str) -> Result<(), Fault> {
    if let (Some(entry), Some(same)) = (state.get("items"), config.get("items")) {
        check_overlap(same, entry, place)?;
    }
    for (name, shown) in state["properties"].as_object().into_iter().flatten() {
        let Some(set) = config["properties"].get(name).filter(|set| set.get(keyword::ALIAS).is_none()) else {
            continue;
        };
        let place = below(place, name);
        let (config, state) = (leaf::kinds(set), leaf::kinds(shown));
        // To JSON Schema, every integer is a number.
        let is_in = |kind: &&str, kinds: &[&str]| {
            *kind != "null" && (kinds.contains(kind) || *kind == "integer" && kinds.contains(&"number"))
        };
        let meets = config.iter().any(|kind| is_in(kind, &state)) || state.iter().any(|kind| is_in(kind, &config));
        let [config, state] = [config, state].map(|kinds| leaf::in_words(&kinds));
        if !meets && !config.is_empty() && !state.is_empty() {
            return Err(Fault::Overlap { place, config, state });
        }
        check_overlap(set, shown, &place)?;
    }
    Ok(())
}

/// Checks that a schema describes all that it contains where it is.
fn check_references(part: Part, schema: &Value, place: &str) -> Result<(), Fault> {
    if schema.get("$ref").is_some() {
        return Err(Fault::Reference { part, place: place.to_owned() });
    }
    if let Some(items) = schema.get("items") {
        check_references(part, items, place)?;
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        check_references(part, member, &below(place, name))?;
    }
    Ok(())
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}/{name}") }
}

/// Checks what identifies an entry of a list of objects.
fn check_key(part: Part, list: &Value, place: &str) -> Result<(), Fault> {
    let place = place.to_owned();
    let Some(key) = Key::of(list) else {
        let is_declared = list.get(keyword::LIST_KEY).is_some();
        return Err(if is_declared { Fault::KeyForm { part, place } } else { Fault::NoKey { part, place } });
    };
    let is_leaf = |member: &Value| {
        let is_composed = |kind: &Value| kind == "object" || kind == "array" || kind == "null";
        let is_leaf = matches!(Node::of(member), Node::Leaf(_)) && member.get("items").is_none();
        !member.is_null() && is_leaf && !is_composed(&member["type"])
    };
    let lists = |names: &Value, name: &str| names.as_array().is_some_and(|names| names.iter().any(|one| one == name));
    for (index, name) in key.names().enumerate() {
        let member = key.member(name);
        let is_always_there = || lists(&list["items"]["required"], name) && !lists(&member["type"], "null");
        let key_name = name.to_owned();
        if !is_leaf(member) {
            return Err(Fault::Key { part, place, key: key_name });
        }
        if key.names().take(index).any(|other| other == name) {
            return Err(Fault::KeyTwice { part, place, key: key_name });
        }
        if key.is_composite() && !is_always_there() {
            return Err(Fault::KeyOptional { part, place, key: key_name });
        }
    }
    Ok(())
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
    if !words.iter().all(|word| is_word(name_in_braces(word).unwrap_or(word))) {
        return Err(Unreachable::Path);
    }
    if let Some(verb) = words.iter().find(|word| Verb::parse(word).is_some()) {
        return Err(Unreachable::Verb(verb.clone()));
    }
    if host.contains(&words[0]) {
        return Err(Unreachable::Taken(words[0].clone()));
    }
    check_braces(service, &words)?;
    if [&service.config, &service.state].iter().any(|schema| locate(schema, &words).is_ok()) {
        return Err(Unreachable::Node);
    }
    let has_braces = words.iter().any(|word| is_any(word));
    let is_same = |stream: &Stream| {
        let has_its_length = stream.path.split('/').count() == words.len();
        stream.path == action.path || has_braces && has_its_length && meet(&stream.path, &action.path)
    };
    if service.streams.iter().any(is_same) {
        return Err(Unreachable::Stream);
    }
    for other in earlier {
        if !meet(&other.path, &action.path) {
            continue;
        }
        return Err(match other.path.split('/').count().cmp(&words.len()) {
            Ordering::Equal => Unreachable::Twice,
            Ordering::Less => Unreachable::After(other.path.clone()),
            Ordering::Greater => Unreachable::After(action.path.clone()),
        });
    }
    Ok(())
}

/// Checks that words in braces stand where entries have their keys, and nothing else does.
fn check_braces(service: &ServiceSchema, words: &[String]) -> Result<(), Unreachable> {
    for (depth, word) in words.iter().enumerate() {
        let named = [&service.config, &service.state].into_iter().find_map(|schema| {
            match locate(schema, &words[..depth]).ok()? {
                Node::List { key, .. } | Node::Part { key, .. } => Some(key),
                _ => None,
            }
        });
        match named {
            Some(key) if !is_any(word) => {
                let keys: Vec<String> = key.names().map(|name| format!("{{{name}}}")).collect();
                let is_list = |depth: &usize| !words[*depth - 1].starts_with('{');
                let list = (1..=depth).rev().find(is_list).unwrap_or(depth);
                return Err(Unreachable::Entry { place: words[..list].join("/"), keys: keys.join("/") });
            }
            None if is_any(word) => return Err(Unreachable::Braces(word.clone())),
            _ => {}
        }
        if is_any(word) && words[..depth].contains(word) {
            return Err(Unreachable::SameName(word.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
