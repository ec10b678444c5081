//! Help: what can follow a path, `OPTIONS PATH?help=VERB`.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Verb, one_line};

/// What can follow a path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Help {
    /// What the path leads to.
    pub description: String,
    /// The leaf that the path leads to.
    pub leaf: Option<Keyword>,
    /// Verbs of the command line.
    pub commands: Vec<Verb>,
    /// What follows, or must follow.
    #[serde(serialize_with = "write", deserialize_with = "read")]
    pub params: Vec<Keyword>,
    /// What may be added.
    #[serde(rename = "optional-params", serialize_with = "write", deserialize_with = "read")]
    pub optional: Vec<Keyword>,
    /// What the action that the path leads to answers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answer: Vec<Keyword>,
    /// With `deep`: the node of the data model that the path leads to, with all that is below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Keyword>,
}

impl Help {
    /// Help that only says what is there.
    pub fn of(description: impl AsRef<str>) -> Self {
        Self { description: one_line(description.as_ref()), ..Self::default() }
    }

    /// For completion: all words that can follow.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let commands = self.commands.iter().map(|verb| verb.as_str().to_owned());
        commands.chain(self.params.iter().chain(&self.optional).flat_map(Keyword::words)).collect()
    }
}

/// What a keyword is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeywordKind {
    /// A word of the framework.
    #[default]
    Command,
    /// A service.
    Service,
    /// A cube.
    Cube,
    /// A network device.
    Netdev,
    /// A port, as `CUBE:PORT`.
    Port,
    /// A name that the user gives.
    Key,
    /// A value of a data model.
    Leaf,
    /// A node of a data model that has others.
    Container,
    /// A list of a data model.
    List,
    /// An entry of a list.
    Entry,
    /// An action of a cube.
    Action,
    /// A stream of a cube.
    Stream,
}

impl KeywordKind {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Service => "service",
            Self::Cube => "cube",
            Self::Netdev => "netdev",
            Self::Port => "port",
            Self::Key => "key",
            Self::Leaf => "leaf",
            Self::Container => "container",
            Self::List => "list",
            Self::Entry => "entry",
            Self::Action => "action",
            Self::Stream => "stream",
        }
    }
}

/// How many values a leaf has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One.
    #[default]
    One,
    /// A list of values.
    List,
    /// Values by keys that the user chooses.
    Map,
}

impl Form {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_one(&self) -> bool {
        *self == Self::One
    }
}

/// A word that can follow. One of [`KeywordKind::Key`] stands for any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Keyword {
    /// The word.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: KeywordKind,
    /// The type of its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub simpletype: String,
    /// Whether its value is one, or several of the type.
    #[serde(skip_serializing_if = "Form::is_one")]
    pub form: Form,
    /// One line about it.
    pub description: String,
    /// A value that it can have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub example: String,
    /// The value that it has when none is given.
    #[serde(rename = "default", skip_serializing_if = "Value::is_null")]
    pub initial: Value,
    /// The least number.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub minimum: Value,
    /// The greatest number.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub maximum: Value,
    /// The form of a text.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub pattern: Value,
    /// The values that it can have, or the names that exist now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// What tells a list's entries apart.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What a number counts, as [`Unit`](crate::Unit) writes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What its value names: `netdevs`, `ports` or `peers`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub names: String,
    /// Whether it is written `name=value`.
    pub pair: bool,
    /// Whether only the daemon sets it.
    pub read_only: bool,
    /// Whether it is fixed once the cube exists.
    pub create_only: bool,
    /// Whether it must be given.
    pub mandatory: bool,
    /// Whether people see it only if they ask for everything, or if they have set it.
    #[serde(skip_serializing_if = "is_false")]
    pub minor: bool,
    /// With `deep`: the members of a container, or of a list's entries.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Keyword>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Keyword {
    /// A word with one line about it.
    pub fn new(name: impl Into<String>, kind: KeywordKind, description: impl AsRef<str>) -> Self {
        Self { name: name.into(), kind, description: one_line(description.as_ref()), ..Self::default() }
    }

    /// A name that the user gives, `<name>`; `values` are those that exist.
    #[must_use]
    pub fn key(name: &str, description: &str, values: Vec<String>) -> Self {
        let key = Self::new(format!("<{name}>"), KeywordKind::Key, description);
        Self { simpletype: "string".to_owned(), values, mandatory: true, ..key }
    }

    /// The words that complete it.
    fn words(&self) -> Vec<String> {
        match self.kind {
            KeywordKind::Key if !self.values.is_empty() => self.values.clone(),
            _ if self.pair => vec![format!("{}=", self.name)],
            _ => vec![self.name.clone()],
        }
    }
}

/// Keywords go over the wire as members of an object, in their order.
fn write<S: Serializer>(keywords: &[Keyword], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(keywords.iter().map(|keyword| (&keyword.name, keyword)))
}

fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Keyword>, D::Error> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<Keyword>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of keywords")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Vec<Keyword>, A::Error> {
            let mut found = Vec::new();
            while members.next_key::<IgnoredAny>()?.is_some() {
                found.push(members.next_value()?);
            }
            Ok(found)
        }
    }

    deserializer.deserialize_map(Members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keywords_keep_their_order_on_the_wire() {
        let names = ["b", "c", "a"];
        let params = names.map(|name| Keyword::new(name, KeywordKind::Leaf, "About it")).to_vec();
        let help = Help { params, commands: vec![Verb::Show], ..Help::of("A cube") };
        let text = serde_json::to_string(&help).unwrap();
        let read: Help = serde_json::from_str(&text).unwrap();
        assert_eq!(read, help);
        let keyword = json!({
            "name": "a", "type": "leaf", "description": "About it", "pair": false, "read-only": false,
            "create-only": false, "mandatory": false,
        });
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["params"]["a"], &value["commands"]), (&keyword, &json!(["show"])));
    }

    #[test]
    fn completion_has_names_for_keys_and_an_equals_sign_for_pairs() {
        let pair = Keyword { pair: true, ..Keyword::new("depth", KeywordKind::Leaf, "") };
        let key = |values: &[&str]| Keyword::key("port", "", values.iter().map(|&name| name.to_owned()).collect());
        let help = Help { params: vec![key(&["p1", "p2"])], optional: vec![pair, key(&[])], ..Help::default() };
        assert_eq!(help.words(), ["p1", "p2", "depth=", "<port>"]);
    }

    #[test]
    fn kinds_are_named_as_they_are_written() {
        use KeywordKind::{Action, Command, Container, Cube, Entry, Key, Leaf, List, Netdev, Port, Service, Stream};
        for kind in [Command, Service, Cube, Netdev, Port, Key, Leaf, Container, List, Entry, Action, Stream] {
            assert_eq!(json!(kind), kind.as_str());
        }
    }
}
