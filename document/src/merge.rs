//! Several documents as one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Document;
use crate::place::{Inner, Node, Place};

/// Documents that contradict each other, or that cannot be merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Only mappings have members to merge.
    #[error("the document is not a mapping: give keys and values")]
    NotMapping {
        /// Where it begins.
        place: Option<Place>,
    },
    /// What one of the documents says would be lost.
    #[error("`{key}` is given in another file too")]
    Twice {
        /// The key.
        key: String,
        /// Where it is given again.
        place: Option<Place>,
        /// Where it was given first.
        first: Option<Place>,
    },
}

/// Makes one document of several: of their members, lists follow one another and mappings have the members of all. [`Place::document`]
/// says which of them a value is from. Documents in which nothing is written add nothing.
///
/// # Errors
/// One is not a mapping, or two give one key a value that cannot be merged.
pub fn merge(documents: Vec<Document>) -> Result<Document, MergeError> {
    let mut value = Value::Object(Map::new());
    let mut places = Node { inner: Inner::Members(BTreeMap::new()), ..Node::default() };
    for (number, document) in documents.into_iter().enumerate() {
        let node = document.places.unwrap_or_default().of_document(number);
        match document.value {
            Value::Null => {}
            more @ Value::Object(_) => add(&mut value, &mut places, more, node, 0)?,
            _ => return Err(MergeError::NotMapping { place: known(node.place) }),
        }
    }
    Ok(Document { value, places: Some(places) })
}

/// Levels of mappings whose members are merged: those of the document, and those of its members.
const LEVELS: usize = 2;

fn add(value: &mut Value, places: &mut Node, more: Value, node: Node, level: usize) -> Result<(), MergeError> {
    let (Value::Object(into), Value::Object(more)) = (value, more) else { return Ok(()) };
    let mut nodes = match node.inner {
        Inner::Members(members) => members,
        Inner::Scalar | Inner::List(_) => BTreeMap::new(),
    };
    for (key, more) in more {
        let (key_place, node) =
            nodes.remove(&key).unwrap_or_else(|| (node.place, Node { place: node.place, ..Node::default() }));
        let Inner::Members(members) = &mut places.inner else { return Ok(()) };
        match (into.get_mut(&key), members.get_mut(&key), more) {
            (None, _, more) => {
                into.insert(key.clone(), more);
                members.insert(key, (key_place, node));
            }
            (Some(Value::Array(list)), Some((_, Node { inner: Inner::List(listed), .. })), Value::Array(more))
                if level == 0 =>
            {
                let count = more.len();
                list.extend(more);
                let empty = || std::iter::repeat_n(Node { place: key_place, ..Node::default() }, count).collect();
                listed.extend(if let Inner::List(nodes) = node.inner { nodes } else { empty() });
            }
            (Some(same @ Value::Object(_)), Some((_, places)), more @ Value::Object(_)) if level + 1 < LEVELS => {
                add(same, places, more, node, level + 1)?;
            }
            (Some(_), first, _) => {
                let first = first.and_then(|(place, _)| known(*place));
                return Err(MergeError::Twice { key, place: known(key_place), first });
            }
        }
    }
    Ok(())
}

fn known(place: Place) -> Option<Place> {
    (place.line > 0).then_some(place)
}
