//! Words that can follow, with what is to be said of each.

use polycube_plugin_api::keyword;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::schema::Node;

/// What a keyword is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A word of the framework.
    Command,
    Service,
    Cube,
    Netdev,
    Port,
    /// A name that the user gives.
    Key,
    Leaf,
    Container,
    List,
    Entry,
    Action,
    Stream,
}

/// What a leaf's value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Nothing,
    Netdevs,
    /// Ports of the same cube.
    Ports,
    /// What a port can be connected with: ports and netdevs. A word of the host's own model.
    Peers,
}

impl Names {
    fn of(schema: &Value) -> Self {
        match schema[keyword::NAMES].as_str() {
            Some("netdevs") => Self::Netdevs,
            Some("ports") => Self::Ports,
            Some("peers") => Self::Peers,
            _ => Self::Nothing,
        }
    }
}

/// A word that can follow. Those of [`Kind::Key`] stand for any.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Keyword {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The type of its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub simpletype: String,
    pub description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub example: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub default: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub minimum: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub maximum: Value,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub pattern: Value,
    /// The values it can have, or those that are known now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What tells a list's entries apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What its value names, which is then looked up.
    #[serde(skip)]
    pub names: Names,
    /// Whether it is written `name=value`.
    pub pair: bool,
    pub read_only: bool,
    pub create_only: bool,
    pub mandatory: bool,
}

impl Keyword {
    pub fn new(name: impl Into<String>, kind: Kind, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind,
            simpletype: String::new(),
            description: description.into(),
            example: String::new(),
            default: Value::Null,
            minimum: Value::Null,
            maximum: Value::Null,
            pattern: Value::Null,
            values: Vec::new(),
            keys: Vec::new(),
            names: Names::Nothing,
            pair: false,
            read_only: false,
            create_only: false,
            mandatory: false,
        }
    }

    /// A name that the user gives, `<name>`; `values` are those that are known.
    pub fn key(name: &str, description: &str, values: Vec<String>) -> Self {
        let key = Self::new(format!("<{name}>"), Kind::Key, description);
        Self { simpletype: "string".to_owned(), values, mandatory: true, ..key }
    }

    /// The member `name` of a schema.
    pub fn of(name: &str, schema: &Value) -> Self {
        let (kind, keys) = match Node::of(schema) {
            Node::Container(_) | Node::Entry(_) => (Kind::Container, Vec::new()),
            Node::List { key, .. } => (Kind::List, vec![key.to_owned()]),
            Node::Leaf(_) => (Kind::Leaf, Vec::new()),
        };
        let is_leaf = kind == Kind::Leaf;
        let of_leaf = |member: &str| if is_leaf { schema[member].clone() } else { Value::Null };
        Self {
            simpletype: if is_leaf { simpletype(schema) } else { String::new() },
            example: schema["examples"].get(0).map(text).unwrap_or_default(),
            default: of_leaf("default"),
            minimum: of_leaf("minimum"),
            maximum: of_leaf("maximum"),
            pattern: of_leaf("pattern"),
            values: schema["enum"].as_array().into_iter().flatten().map(text).collect(),
            keys,
            names: Names::of(schema),
            read_only: schema["readOnly"] == true,
            create_only: schema[keyword::CREATE_ONLY] == true,
            ..Self::new(name, kind, schema["description"].as_str().unwrap_or_default())
        }
    }

    /// The words that complete it.
    fn words(&self) -> Vec<String> {
        match self.kind {
            Kind::Key if !self.values.is_empty() => self.values.clone(),
            _ if self.pair => vec![format!("{}=", self.name)],
            _ => vec![self.name.clone()],
        }
    }
}

/// As it is typed.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn simpletype(schema: &Value) -> String {
    if !schema["enum"].is_null() {
        return "enum".to_owned();
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    kinds.join(" or ")
}

/// What can follow a path.
#[derive(Debug, Default)]
pub struct Help {
    pub description: String,
    /// The leaf that the path leads to.
    pub leaf: Option<Keyword>,
    /// Commands of the command line.
    pub commands: Vec<&'static str>,
    /// What follows, or what has to.
    pub params: Vec<Keyword>,
    /// What may be added.
    pub optional: Vec<Keyword>,
}

impl Help {
    pub fn of(description: impl Into<String>) -> Self {
        Self { description: description.into(), ..Self::default() }
    }

    /// For completion: all words that can follow.
    pub fn words(&self) -> Value {
        let commands = self.commands.iter().map(|word| (*word).to_owned());
        let names = self.params.iter().chain(&self.optional).flat_map(Keyword::words);
        commands.chain(names).collect()
    }
}

impl From<Help> for Value {
    fn from(help: Help) -> Self {
        let by_name = |keywords: Vec<Keyword>| -> Map<String, Value> {
            keywords.into_iter().map(|keyword| (keyword.name.clone(), json!(keyword))).collect()
        };
        json!({
            "description": help.description,
            "leaf": help.leaf,
            "commands": help.commands,
            "params": by_name(help.params),
            "optional-params": by_name(help.optional),
        })
    }
}
