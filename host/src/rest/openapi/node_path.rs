//! Nodes of a service's tree: how they are written in the document.

use serde_json::Value;

use super::operation::path_parameter;
use crate::schema::Key;

/// Where a node is in the tree.
#[derive(Clone, Default)]
pub(super) struct NodePath {
    /// The path in the document, `/simplebridge/{cube}/fdb`.
    pub path: String,
    /// Words below the cube; those for entries of lists are empty.
    pub words: Vec<String>,
    /// JSON pointer below a schema of a cube.
    pub pointer: String,
    /// The members of the last words, where those name an entry.
    pub key: Vec<String>,
    pub parameters: Vec<Value>,
    /// Whether nothing here or below can be set.
    pub is_read_only: bool,
}

impl NodePath {
    pub(super) fn member(&self, name: &str) -> Self {
        let mut below = self.clone();
        below.path = format!("{}/{name}", self.path);
        below.words.push(name.to_owned());
        below.key.clear();
        below.pointer = format!("{}/properties/{}", self.pointer, name.replace('~', "~0").replace('/', "~1"));
        below
    }

    /// An entry of a list.
    pub(super) fn entry(&self, key: Key<'_>) -> Self {
        let names = key.names().map(|name| (name, key.member(name)));
        let mut below = self.clone();
        below.key = key.names().map(str::to_owned).collect();
        below.pointer = format!("{}/items", self.pointer);
        names.for_each(|(name, schema)| below.name(name, schema));
        below
    }

    /// The port of a cube.
    pub(super) fn port(&self, schema: &Value) -> Self {
        let mut below = self.clone();
        below.pointer = format!("{}/items", self.pointer);
        below.name("port", schema);
        below
    }

    /// Adds a word of a key.
    fn name(&mut self, name: &str, schema: &Value) {
        let mut parameter = name.to_owned();
        while self.parameters.iter().any(|other| other["name"] == *parameter) {
            parameter.push('_');
        }
        self.path = format!("{}/{{{parameter}}}", self.path);
        self.words.push(String::new());
        self.parameters.push(path_parameter(&parameter, schema));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn members_and_entries_extend_every_part() {
        let list = json!({ "x-list-key": "id", "items": { "properties": { "id": { "type": "integer" } } } });
        let place = NodePath { path: "/s/{cube}".to_owned(), ..NodePath::default() };
        let place = place.member("route").entry(Key::of(&list).unwrap()).member("via");
        assert_eq!(place.path, "/s/{cube}/route/{id}/via");
        assert_eq!(place.words, ["route", "", "via"]);
        assert_eq!(place.pointer, "/properties/route/items/properties/via");
        assert!(place.key.is_empty(), "a member of an entry is not an entry");
        assert_eq!(place.parameters.len(), 1);
        assert_eq!(place.parameters[0]["schema"], json!({ "type": "integer" }));
    }

    #[test]
    fn each_member_of_a_key_is_a_parameter_of_its_own() {
        let members = json!({ "vip": { "type": "string" }, "vport": { "type": "integer" } });
        let list = json!({ "x-list-key": ["vip", "vport"], "items": { "properties": members } });
        let place = NodePath::default().member("service").entry(Key::of(&list).unwrap());
        assert_eq!((place.path.as_str(), place.words.len()), ("/service/{vip}/{vport}", 3));
        assert_eq!(place.key, ["vip", "vport"]);
        let types: Vec<&Value> = place.parameters.iter().map(|parameter| &parameter["schema"]["type"]).collect();
        assert_eq!(types, ["string", "integer"]);
    }

    #[test]
    fn two_keys_of_one_name_are_two_parameters() {
        let list = json!({ "x-list-key": "id", "items": { "properties": { "id": {} } } });
        let key = Key::of(&list).unwrap();
        let place = NodePath::default().member("a").entry(key).member("b").entry(key).member("c").entry(key);
        assert_eq!(place.path, "/a/{id}/b/{id_}/c/{id__}");
        assert_eq!(place.key, ["id"]);
    }

    #[test]
    fn a_pointer_escapes_what_means_something_in_it() {
        let schema = json!({ "properties": { "a/b~c": { "type": "string" } } });
        let place = NodePath::default().member("a/b~c");
        assert_eq!(schema.pointer(&place.pointer), Some(&json!({ "type": "string" })));
    }
}
