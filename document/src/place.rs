//! Where values were written.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

/// Where a value was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of the documents that were merged; 0 where there is one.
    pub document: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// The places of a value and of what is in it, in the value's shape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub place: Place,
    pub inner: Inner,
}

#[derive(Clone, Debug, Default)]
pub(crate) enum Inner {
    #[default]
    Scalar,
    List(Vec<Node>),
    /// Each member with the place of its key.
    Members(BTreeMap<String, (Place, Node)>),
}

impl Node {
    /// Where the node at `path` in `value`, whose places these are, was written, or the last one on the way to it; `None`
    /// if not even the first word leads anywhere.
    pub(crate) fn find(&self, value: &Value, path: &str) -> Option<Place> {
        match (&self.inner, value) {
            (Inner::Members(members), Value::Object(object)) => {
                // A key may contain slashes: the longest that fits is meant.
                let fits = |key: &&String| below(path, key).is_some();
                let key = members.keys().filter(fits).max_by_key(|key| key.len())?;
                let (place, node) = &members[key];
                Some(node.find(object.get(key)?, below(path, key)?).unwrap_or(*place))
            }
            (Inner::List(nodes), Value::Array(entries)) => {
                let ranked = nodes.iter().zip(entries).enumerate().filter_map(|(at, (node, entry))| {
                    let (rank, rest) = called(entry, at, path)?;
                    Some((rank, at, rest, node, entry))
                });
                let (.., rest, node, entry) = ranked.min_by_key(|(rank, at, ..)| (*rank, *at))?;
                Some(node.find(entry, rest).unwrap_or(node.place))
            }
            _ => None,
        }
    }

    /// The same as a part of document number `document`.
    pub(crate) fn of_document(mut self, document: usize) -> Self {
        self.place.document = document;
        self.inner = match self.inner {
            Inner::Scalar => Inner::Scalar,
            Inner::List(nodes) => Inner::List(nodes.into_iter().map(|node| node.of_document(document)).collect()),
            Inner::Members(members) => {
                let member = |(key, (place, node)): (String, (Place, Self))| {
                    (key, (Place { document, ..place }, node.of_document(document)))
                };
                Inner::Members(members.into_iter().map(member).collect())
            }
        };
        self
    }
}

/// What follows `word` in a path that begins with it.
fn below<'p>(path: &'p str, word: &str) -> Option<&'p str> {
    match path.strip_prefix(word)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// What follows the name of an entry of a list in a path that begins with it, and how good a name it is: of how many members
/// it is made; then, the entry's `name`, whatever else distinguishes it, its number.
fn called<'p>(entry: &Value, at: usize, path: &'p str) -> Option<((Reverse<usize>, u8), &'p str)> {
    let members = entry.as_object().into_iter().flatten();
    let texts: Vec<(&str, String)> = members
        .filter_map(|(key, value)| match value {
            Value::String(text) if !text.is_empty() => Some((key.as_str(), text.clone())),
            Value::Number(number) => Some((key.as_str(), number.to_string())),
            _ => None,
        })
        .collect();
    let named = texts.iter().filter_map(|(key, text)| {
        let (used, rest) = more(entry, &texts, &[key], below(path, text)?);
        Some(((Reverse(used), u8::from(*key != "name")), rest))
    });
    let own = entry.as_str().filter(|text| !text.is_empty()).and_then(|text| below(path, text));
    let numbered = below(path, &at.to_string());
    let one = |rank: u8| move |rest| ((Reverse(1), rank), rest);
    named.chain(own.map(one(0))).chain(numbered.map(one(2))).min()
}

/// How many members a name is made of that `used` begin, and what follows it: a list's key can have several, and which, a
/// document does not say. What is the name of a member does not belong to it.
fn more<'p>(entry: &Value, texts: &[(&str, String)], used: &[&str], rest: &'p str) -> (usize, &'p str) {
    let is_member = entry.as_object().into_iter().flatten().any(|(key, _)| below(rest, key).is_some());
    let mut others = texts.iter().filter(|(key, _)| !is_member && !used.contains(key));
    match others.find_map(|(key, text)| Some((*key, below(rest, text)?))) {
        Some((key, rest)) => more(entry, texts, &[used, &[key]].concat(), rest),
        None => (used.len(), rest),
    }
}
