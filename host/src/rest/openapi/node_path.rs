//! Nodes of a service's tree: how they are written in the document.

use serde_json::Value;

use super::operation::path_parameter;

/// Where a node is in the tree.
#[derive(Clone, Default)]
pub(super) struct NodePath {
    /// The path in the document, `/simplebridge/{cube}/fdb`.
    pub path: String,
    /// Words below the cube; those for entries of lists are empty.
    pub words: Vec<String>,
    /// JSON pointer below a schema of a cube.
    pub pointer: String,
    /// Of the last word, where that names an entry.
    pub key: Option<String>,
    pub parameters: Vec<Value>,
    /// Whether nothing here or below can be set.
    pub is_read_only: bool,
}

impl NodePath {
    pub(super) fn member(&self, name: &str) -> Self {
        let mut below = self.clone();
        below.path = format!("{}/{name}", self.path);
        below.words.push(name.to_owned());
        below.key = None;
        below.pointer = format!("{}/properties/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        below
    }

    pub(super) fn entry(&self, key: &str, schema: &Value) -> Self {
        let mut below = self.clone();
        let mut parameter = key.to_owned();
        while self.parameters.iter().any(|other| other["name"] == *parameter) {
            parameter.push('_');
        }
        below.path = format!("{}/{{{parameter}}}", self.path);
        below.words.push(String::new());
        below.key = Some(key.to_owned());
        below.pointer = format!("{}/items", self.pointer);
        below.parameters.push(path_parameter(&parameter, &schema["properties"][key]));
        below
    }
}
