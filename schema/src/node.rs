//! Nodes of a data model: what a path leads to.

use serde_json::Value;

use super::key::Key;

/// A node of a data model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node<'a> {
    /// An object of named nodes.
    Container(&'a Value),
    /// An array of objects, identified by `key`.
    List { schema: &'a Value, key: Key<'a> },
    /// Entries of a list of whose key only the first `given` members are named.
    Part { schema: &'a Value, key: Key<'a>, given: usize },
    /// One of them.
    Entry(&'a Value),
    /// A value.
    Leaf(&'a Value),
}

impl<'a> Node<'a> {
    /// The node that `schema` describes.
    pub fn of(schema: &'a Value) -> Self {
        match (schema.get("properties"), Key::of(schema)) {
            (Some(_), _) => Self::Container(schema),
            (None, Some(key)) => Self::List { schema, key },
            (None, None) => Self::Leaf(schema),
        }
    }

    pub fn schema(&self) -> &'a Value {
        match self {
            Self::Container(schema) | Self::Entry(schema) | Self::Leaf(schema) => schema,
            Self::List { schema, .. } | Self::Part { schema, .. } => schema,
        }
    }

    /// The node one step further down.
    pub fn child(&self, word: &str) -> Option<Self> {
        match self {
            Self::Container(schema) | Self::Entry(schema) => schema.get("properties")?.get(word).map(Self::of),
            Self::List { schema, key } => Self::named(schema, *key, 1),
            Self::Part { schema, key, given } => Self::named(schema, *key, given + 1),
            Self::Leaf(_) => None,
        }
    }

    /// Entries of a list of whose key the first `given` members are named.
    fn named(schema: &'a Value, key: Key<'a>, given: usize) -> Option<Self> {
        let entry = schema.get("items")?;
        Some(if given < key.words() { Self::Part { schema, key, given } } else { Self::Entry(entry) })
    }

    /// The words that can follow in a path. Those of a list are data and left out.
    pub fn children(&self) -> impl Iterator<Item = &'a str> {
        let properties = match self {
            Self::Container(schema) | Self::Entry(schema) => schema.get("properties").and_then(Value::as_object),
            Self::List { .. } | Self::Part { .. } | Self::Leaf(_) => None,
        };
        properties.into_iter().flatten().map(|(name, _)| name.as_str())
    }
}

/// The node at `path`, or the first word that leads nowhere and the node before it.
pub fn locate<'a, 'p>(schema: &'a Value, path: &'p [String]) -> Result<Node<'a>, (Node<'a>, &'p str)> {
    path.iter().try_fold(Node::of(schema), |node, word| node.child(word).ok_or((node, word.as_str())))
}

/// The value at `path` in a document of `schema`; `None` when the document has none there.
pub fn read<'a>(schema: &Value, document: &'a Value, path: &[String]) -> Option<&'a Value> {
    let Some((word, rest)) = path.split_first() else { return Some(document) };
    match Node::of(schema) {
        Node::List { key, schema } => {
            let (words, rest) = path.split_at_checked(key.words())?;
            let entries = document.as_array()?;
            let entry = key.find(entries, &key.read(words))?;
            read(&schema["items"], &entries[entry], rest)
        }
        node => read(node.child(word)?.schema(), document.get(word)?, rest),
    }
}

/// The value at `path` in what is shown of a document, which may have members that are not in the schema; null for
/// what is unset.
pub fn shown(schema: &Value, document: &Value, path: &[String]) -> Option<Value> {
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
pub fn is_read_only(schema: &Value, path: &[String]) -> bool {
    (1..=path.len()).any(|depth| {
        locate(schema, &path[..depth]).is_ok_and(|node| node.schema().get("readOnly") == Some(&true.into()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "properties": {
                "size": { "type": "integer" },
                "box": { "properties": { "inner": { "type": "string" }, "seen": { "type": "integer" } }, "readOnly": true },
                "route": {
                    "type": "array",
                    "x-list-key": "id",
                    "items": {
                        "properties": {
                            "id": { "type": "integer" },
                            "via": { "type": ["string", "null"] },
                            "hop": { "type": "array", "x-list-key": "at", "items": { "properties": { "at": { "type": "string" } } } },
                        },
                    },
                },
            },
        })
    }

    fn words(path: &str) -> Vec<String> {
        path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn kind(node: &Node<'_>) -> &'static str {
        match node {
            Node::Container(_) => "container",
            Node::List { .. } => "list",
            Node::Part { .. } => "part",
            Node::Entry(_) => "entry",
            Node::Leaf(_) => "leaf",
        }
    }

    #[test]
    fn a_path_leads_to_a_node_or_says_which_word_does_not() {
        let schema = schema();
        for (path, expected) in [
            ("", Ok("container")),
            ("size", Ok("leaf")),
            ("box", Ok("container")),
            ("box/inner", Ok("leaf")),
            ("route", Ok("list")),
            ("route/any", Ok("entry")),
            ("route/any/hop", Ok("list")),
            ("route/any/hop/x/at", Ok("leaf")),
            ("sice", Err(("container", "sice"))),
            ("size/x/y", Err(("leaf", "x"))),
            ("route/any/x", Err(("entry", "x"))),
            ("box/x/size", Err(("container", "x"))),
        ] {
            let path = words(path);
            let found = locate(&schema, &path);
            let found = found.as_ref().map(kind).map_err(|(node, word)| (kind(node), *word));
            assert_eq!(found, expected, "{path:?}");
        }
    }

    #[test]
    fn words_that_can_follow_are_those_of_the_schema() {
        let schema = schema();
        for (path, expected) in [("", "size box route"), ("route", ""), ("route/1", "id via hop"), ("size", "")] {
            let children: Vec<_> = locate(&schema, &words(path)).unwrap().children().collect();
            assert_eq!(children.join(" "), expected, "{path}");
        }
    }

    /// Asserts what is read at a path, and what is shown.
    #[track_caller]
    fn check(path: &str, is: Option<&Value>, is_shown: Option<&Value>) {
        let document = json!({
            "size": 5,
            "route": [{ "id": 1, "hop": [{ "at": "a" }] }, { "id": 2, "via": "x" }],
            "more": { "below": 1 },
        });
        let (schema, path) = (schema(), words(path));
        assert_eq!(read(&schema, &document, &path), is, "{path:?} read");
        assert_eq!(shown(&schema, &document, &path).as_ref(), is_shown, "{path:?} shown");
    }

    #[test]
    fn what_is_unset_is_null_and_what_does_not_exist_is_nothing() {
        let null = Some(&Value::Null);
        check("size", Some(&json!(5)), Some(&json!(5)));
        check("route/2/via", Some(&json!("x")), Some(&json!("x")));
        check("route/1/hop/a/at", Some(&json!("a")), Some(&json!("a")));
        check("route/1/via", None, null);
        check("box", None, null);
        check("box/inner", None, null);
        check("route/3", None, None);
        check("route/3/via", None, None);
        check("route/1/hop/b", None, None);
        check("route/1/hop/b/at", None, None);
        check("route/2/hop", None, None);
        check("nothing", None, None);
        check("box/nothing", None, None);
        check("size/nothing", None, None);
        check("more", None, Some(&json!({ "below": 1 })));
        check("more/below", None, None);
    }

    #[test]
    fn an_entry_is_found_by_the_value_that_its_word_means() {
        check(
            "route/01",
            Some(&json!({ "id": 1, "hop": [{ "at": "a" }] })),
            Some(&json!({ "id": 1, "hop": [{ "at": "a" }] })),
        );
        check("route/one", None, None);
    }

    #[test]
    fn what_is_part_of_a_read_only_node_is_read_only() {
        let schema = schema();
        for (path, expected) in [
            ("", false),
            ("size", false),
            ("box", true),
            ("box/inner", true),
            ("box/nothing", true),
            ("nothing", false),
        ] {
            assert_eq!(is_read_only(&schema, &words(path)), expected, "{path}");
        }
    }
}
