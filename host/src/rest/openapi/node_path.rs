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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_and_entries_extend_every_part() {
        let list = json!({ "properties": { "id": { "type": "integer" } } });
        let place = NodePath { path: "/s/{cube}".to_owned(), ..NodePath::default() };
        let place = place.member("route").entry("id", &list).member("via");
        assert_eq!(place.path, "/s/{cube}/route/{id}/via");
        assert_eq!(place.words, ["route", "", "via"]);
        assert_eq!(place.pointer, "/properties/route/items/properties/via");
        assert_eq!(place.key, None, "a member of an entry is not an entry");
        assert_eq!(place.parameters.len(), 1);
        assert_eq!(place.parameters[0]["schema"], json!({ "type": "integer" }));
    }

    #[test]
    fn two_keys_of_one_name_are_two_parameters() {
        let list = json!({ "properties": { "id": {} } });
        let place = NodePath::default().member("a").entry("id", &list).member("b").entry("id", &list);
        let place = place.member("c").entry("id", &list);
        assert_eq!(place.path, "/a/{id}/b/{id_}/c/{id__}");
        assert_eq!(place.key.as_deref(), Some("id"));
    }

    #[test]
    fn a_pointer_escapes_what_means_something_in_it() {
        let schema = json!({ "properties": { "a/b~c": { "type": "string" } } });
        let place = NodePath::default().member("a/b~c");
        assert_eq!(schema.pointer(&place.pointer), Some(&json!({ "type": "string" })));
    }
}
