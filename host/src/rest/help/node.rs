//! Help on nodes of a data model, from its schema alone.

use polycube_api::{Help, Keyword, KeywordKind, Verb};
use polycube_plugin_api::keyword;
use serde_json::Value;

use super::{keyword as keywords, reads};
use crate::schema::{Key, Node};

/// Help on `node`, which is called `name`; `entries` are the words that lead to those that a list has now.
pub(super) fn on(node: Node<'_>, name: &str, verb: Option<Verb>, entries: &[String]) -> Help {
    let mut help = Help::of(node.schema()["description"].as_str().unwrap_or_default());
    if verb.is_none() {
        help.commands = commands(node);
    }
    match node {
        Node::Leaf(schema) => help.leaf = Some(keywords::of(name, schema)),
        Node::List { schema, key } if verb == Some(Verb::Add) => add_word(&mut help, schema, (key, 0), entries),
        Node::Part { schema, key, given } if verb == Some(Verb::Add) => {
            add_word(&mut help, schema, (key, given), entries);
        }
        Node::List { schema, .. } | Node::Part { schema, .. } if reads(verb) || is_settable(schema) => {
            let about = schema["items"]["description"].as_str().unwrap_or_default();
            help.params.extend(entries.iter().map(|entry| Keyword::new(entry, KeywordKind::Entry, about)));
        }
        Node::List { .. } | Node::Part { .. } => {}
        Node::Container(schema) | Node::Entry(schema) => help.params.extend(children(schema, verb)),
    }
    help
}

/// Help on a new entry of whose key `given` members are named. The last one has to be new, too; those before it can be
/// the same as other entries have.
fn add_word(help: &mut Help, list: &Value, (key, given): (Key<'_>, usize), entries: &[String]) {
    let names: Vec<&str> = key.names().collect();
    let Some(name) = names.get(given) else { return };
    let own = keywords::of(name, key.member(name));
    let is_last = given + 1 == names.len();
    let is_enum = key.is_composite() && !own.values.is_empty();
    let values = match is_last {
        _ if is_enum => own.values,
        true => Vec::new(),
        false => entries.to_vec(),
    };
    let word = Keyword::key(name, &own.description, values);
    let simpletype = if is_enum { own.simpletype } else { word.simpletype };
    help.params.push(Keyword { example: own.example, simpletype, ..word });
    if is_last {
        add_entry(help, &list["items"], &names);
    }
}

/// Help on an entry that does not exist yet, or on its list while the last member of its `key` is not given.
pub(super) fn add_entry(help: &mut Help, item: &Value, key: &[&str]) {
    let settings = creation(item, "").into_iter().filter(|setting| !key.contains(&setting.name.as_str()));
    let (mandatory, optional): (Vec<_>, Vec<_>) = settings.partition(|setting| setting.mandatory);
    help.params.extend(mandatory);
    help.optional.extend(optional);
}

/// All that can be given at creation, as `name=value`: leaves, those of containers with dotted names.
pub(super) fn creation(schema: &Value, prefix: &str) -> Vec<Keyword> {
    let is_required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    let mut found = Vec::new();
    for (name, member) in members(schema).filter(|(_, member)| member["readOnly"] != true) {
        let dotted = format!("{prefix}{name}");
        match Node::of(member) {
            Node::Leaf(_) => {
                let keyword = keywords::of(&dotted, member);
                found.push(Keyword { pair: true, mandatory: is_required(name), ..keyword });
            }
            Node::Container(inner) => found.extend(creation(inner, &format!("{dotted}."))),
            Node::List { .. } | Node::Part { .. } | Node::Entry(_) => {}
        }
    }
    found
}

fn children(schema: &Value, verb: Option<Verb>) -> impl Iterator<Item = Keyword> {
    let fits = move |member: &Value| match verb {
        None | Some(Verb::Show) => true,
        Some(Verb::Add) => is_addable(member),
        Some(Verb::Set | Verb::Del) => is_settable(member),
    };
    let stays = move |name: &str| verb == Some(Verb::Del) && is_fixed(schema, name);
    members(schema).filter(move |(name, member)| fits(member) && !stays(name)).map(move |(name, member)| {
        let keyword = keywords::of(name, member);
        Keyword { pair: verb == Some(Verb::Set) && keyword.kind == KeywordKind::Leaf, ..keyword }
    })
}

fn commands(node: Node<'_>) -> Vec<Verb> {
    let schema = node.schema();
    let is_container = matches!(node, Node::Container(_) | Node::Entry(_));
    // In the order that suits the node.
    let all = match node {
        Node::Leaf(_) => [(Verb::Show, true), (Verb::Del, is_settable(schema)), (Verb::Set, false), (Verb::Add, false)],
        // Nothing can be done before the entry is named.
        Node::Part { .. } => return Vec::new(),
        Node::List { .. } | Node::Container(_) | Node::Entry(_) => [
            (Verb::Add, is_addable(schema)),
            (Verb::Set, is_container && is_settable(schema)),
            (Verb::Show, true),
            (Verb::Del, is_settable(schema)),
        ],
    };
    all.into_iter().filter(|(_, fits)| *fits).map(|(verb, _)| verb).collect()
}

/// Whether the leaf `name` of a container must have a value, and has no default to go back to: it cannot be deleted.
pub(super) fn is_fixed(schema: &Value, name: &str) -> bool {
    let is_required = schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let member = &schema["properties"][name];
    is_required && matches!(Node::of(member), Node::Leaf(_)) && member["default"].is_null()
}

/// Whether something at or below the node can be changed once the cube exists.
fn is_settable(schema: &Value) -> bool {
    schema["readOnly"] != true
        && match Node::of(schema) {
            Node::Leaf(_) => schema[keyword::CREATE_ONLY] != true,
            Node::List { .. } | Node::Part { .. } | Node::Entry(_) => true,
            Node::Container(_) => members(schema).any(|(_, member)| is_settable(member)),
        }
}

/// Whether a list at or below the node takes new entries.
fn is_addable(schema: &Value) -> bool {
    schema["readOnly"] != true
        && match Node::of(schema) {
            Node::Leaf(_) | Node::Entry(_) => false,
            Node::List { .. } | Node::Part { .. } => true,
            Node::Container(_) => members(schema).any(|(_, member)| is_addable(member)),
        }
}

fn members(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}
