//! Nodes of a data model: what a path leads to.

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::scalar::scalar;

/// A node of a data model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Node<'a> {
    /// An object of named nodes.
    Container(&'a Value),
    /// An array of objects, identified by `key`.
    List { schema: &'a Value, key: &'a str },
    /// One of them.
    Entry(&'a Value),
    /// A value.
    Leaf(&'a Value),
}

impl<'a> Node<'a> {
    /// The node that `schema` describes.
    pub(crate) fn of(schema: &'a Value) -> Self {
        match (schema.get("properties"), schema.get(keyword::LIST_KEY).and_then(Value::as_str)) {
            (Some(_), _) => Self::Container(schema),
            (None, Some(key)) => Self::List { schema, key },
            (None, None) => Self::Leaf(schema),
        }
    }

    pub(crate) fn schema(&self) -> &'a Value {
        match self {
            Self::Container(schema) | Self::List { schema, .. } | Self::Entry(schema) | Self::Leaf(schema) => schema,
        }
    }

    /// The node one step further down.
    fn child(&self, word: &str) -> Option<Self> {
        match self {
            Self::Container(schema) | Self::Entry(schema) => schema.get("properties")?.get(word).map(Self::of),
            Self::List { schema, .. } => schema.get("items").map(Self::Entry),
            Self::Leaf(_) => None,
        }
    }

    /// The words that can follow in a path. Those of a list are data and left out.
    pub(crate) fn children(&self) -> impl Iterator<Item = &'a str> {
        let properties = match self {
            Self::Container(schema) | Self::Entry(schema) => schema.get("properties").and_then(Value::as_object),
            Self::List { .. } | Self::Leaf(_) => None,
        };
        properties.into_iter().flatten().map(|(name, _)| name.as_str())
    }
}

/// The node at `path`, or the first word that leads nowhere and the node before it.
pub(crate) fn locate<'a, 'p>(schema: &'a Value, path: &'p [String]) -> Result<Node<'a>, (Node<'a>, &'p str)> {
    path.iter().try_fold(Node::of(schema), |node, word| node.child(word).ok_or((node, word.as_str())))
}

/// The value at `path` in a document of `schema`; `None` when the document has none there.
pub(crate) fn read<'a>(schema: &Value, document: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut node = Node::of(schema);
    let mut value = document;
    for word in path {
        value = match node {
            Node::List { key, schema } => {
                let name = name(schema, key, word);
                value.as_array()?.iter().find(|entry| entry.get(key) == Some(&name))?
            }
            _ => value.get(word)?,
        };
        node = node.child(word)?;
    }
    Some(value)
}

/// The value at `path` in what is shown of a document, which may have members that are not in the schema; null for
/// what is unset.
pub(crate) fn shown(schema: &Value, document: &Value, path: &[String]) -> Option<Value> {
    match path {
        [] => return Some(document.clone()),
        [word] if schema["properties"][word].is_null() => return document.get(word).cloned(),
        _ => {}
    }
    let is_missing = |depth: &usize| {
        let above = &path[..*depth];
        matches!(locate(schema, above), Ok(Node::Entry(_))) && read(schema, document, above).is_none()
    };
    // What the schema has and the document has not is unset, and that can be read.
    let is_unset = || {
        matches!(locate(schema, path), Ok(Node::Leaf(_) | Node::Container(_)))
            && !(1..path.len()).any(|depth| is_missing(&depth))
    };
    read(schema, document, path).cloned().or_else(|| is_unset().then_some(Value::Null))
}

/// Whether the node at `path`, or one that it is part of, is read-only.
pub(crate) fn is_read_only(schema: &Value, path: &[String]) -> bool {
    (1..=path.len()).any(|depth| {
        locate(schema, &path[..depth]).is_ok_and(|node| node.schema().get("readOnly") == Some(&true.into()))
    })
}

/// The value of a list's key that is written `word` in a path, as entries have it.
pub(super) fn name(list: &Value, key: &str, word: &str) -> Value {
    scalar(&list["items"]["properties"][key], word.into())
}

/// How a name is written in a path; `None` if the value cannot be a name.
pub(crate) fn word(name: &Value) -> Option<String> {
    match name {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(name.to_string()),
        _ => None,
    }
}
