//! Actions: where they are called, and what they take and answer.

use polycube_plugin_api::{Action, keyword};
use serde_json::{Map, Value, json};

use super::document::defaults;
use super::key::Key;
use super::model::Model;
use super::node::{Node, locate};
use super::port::PORTS;
use super::template::{agrees, is_at, name_in_braces};
use crate::problem::{Problem, Problems};

/// An action that a path leads to.
pub struct Called<'a> {
    pub action: &'a Action,
    /// The words in the place of those in braces, by their names, as values of the keys' types.
    pub keys: Map<String, Value>,
    /// How many words of the path lead to the innermost entry that it is an action of; 0 if it is the cube's.
    pub entry: usize,
}

impl Model {
    /// The action that `path` leads to.
    pub fn called(&self, path: &[String]) -> Option<Called<'_>> {
        let action = self.service.actions.iter().find(|action| is_at(&action.path, path))?;
        let (mut keys, mut entry) = (Map::new(), 0);
        for (index, word) in action.path.split('/').enumerate() {
            let Some(name) = name_in_braces(word) else { continue };
            let above = locate(&self.tree, &path[..index]).ok()?;
            let (Node::List { key, .. } | Node::Part { key, .. }) = above else { return None };
            let given = if let Node::Part { given, .. } = above { given } else { 0 };
            let words = &path[index - given..=index];
            keys.insert(name.to_owned(), key.read(words).pop()?);
            entry = index + 1;
        }
        Some(Called { action, keys, entry })
    }

    /// Members of the inputs of actions that nobody may see.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let inputs = self.service.actions.iter().filter_map(|action| action.input.as_ref()?["properties"].as_object());
        inputs.flatten().filter_map(|(name, member)| (member["writeOnly"] == true).then_some(name.as_str()))
    }

    /// The action that `path` leads past: nothing follows one.
    pub fn action_above(&self, path: &[String]) -> Option<&Action> {
        let is_above = |action: &&Action| action.path.split('/').count() < path.len() && agrees(&action.path, path);
        self.service.actions.iter().find(is_above)
    }

    /// The input of the action that is declared at `action`, checked and with its defaults filled in.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn action_input(&self, action: &str, input: Value) -> Result<Value, Problems> {
        match (self.inputs.get(action), input) {
            (Some(model), Value::Null) => model.create(json!({})),
            (Some(model), input) => model.create(input),
            (None, Value::Null) => Ok(Value::Null),
            (None, Value::Object(members)) if members.is_empty() => Ok(Value::Null),
            (None, Value::Object(members)) => {
                let unknown =
                    |key: &String| Problem::invalid(key, format!("unknown key `{key}`: the action takes none"));
                Err(Problems(members.keys().map(unknown).collect()))
            }
            (None, _) => Err(Problem::bad("", "the action takes no body").into()),
        }
    }

    /// Checks what the action that is declared at `action` answers.
    ///
    /// # Errors
    /// It is not what the plugin declares.
    pub fn check_output(&self, action: &str, output: &Value) -> Result<(), Problem> {
        let Some(validator) = self.outputs.get(action) else { return Ok(()) };
        let errors: Vec<String> = validator.iter_errors(output).map(|error| error.to_string()).collect();
        if errors.is_empty() {
            return Ok(());
        }
        let message = format!("the plugin answers something else than it declares: {}", errors.join("; "));
        Err(Problem::failed("", message))
    }

    /// The configuration of a cube that has `config`, and whose plugin wants it to have `wanted`.
    ///
    /// # Errors
    /// Everything that is wrong with `wanted`.
    pub fn become_as(&self, config: &Value, mut wanted: Value) -> Result<Value, Problems> {
        if let Some(members) = wanted.as_object_mut().filter(|_| self.has_port_settings) {
            // Ports have their own settings, which are in the call so that the plugin can read them.
            members.shift_remove(PORTS);
        }
        keep_own(self.config(), &mut wanted);
        self.describe(config, super::Source::Written, wanted)
    }
}

/// Leaves out of a plugin's own structure of its configuration what says nothing: aliases, whose values the configuration
/// has under other names, and null for what has no value anyway.
fn keep_own(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(members) => members.retain(|name, value| {
            let member = &schema["properties"][name];
            let is_alias = member.get(keyword::ALIAS).is_some();
            let says_nothing = value.is_null() && defaults(member).is_null();
            keep_own(member, value);
            !is_alias && !says_nothing
        }),
        Value::Array(entries) if Key::of(schema).is_some() => {
            entries.iter_mut().for_each(|entry| keep_own(&schema["items"], entry));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::{ServiceKind, ServiceSchema};

    use super::*;

    fn words(path: &str) -> Vec<String> {
        path.split('/').map(str::to_owned).collect()
    }

    fn model() -> Model {
        let rule = json!({ "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"] });
        let chain = json!({ "type": "object", "required": ["name"], "properties": {
            "name": { "type": "string", "enum": ["INGRESS", "EGRESS"] },
            "rule": { "type": "array", "x-list-key": "id", "items": rule },
            "note": { "type": ["string", "null"] },
        } });
        let service = json!({ "type": "object", "required": ["vip", "vport"], "properties": {
            "vip": { "type": "string" }, "vport": { "type": "integer" },
        } });
        let output = json!({ "type": "object", "properties": { "id": { "type": "integer" } }, "required": ["id"] });
        let action = |path: &str| Action::new(path, "");
        let config = json!({ "type": "object", "properties": {
            "chain": { "type": "array", "x-list-key": "name", "items": chain },
            "service": { "type": "array", "x-list-key": ["vip", "vport"], "items": service },
            "size": { "type": "integer", "default": 3 },
            "other": { "type": ["integer", "null"], "x-alias": "/size" },
        } });
        let actions = vec![
            action("flush"),
            Action { output: Some(output), ..action("chain/{name}/append") },
            action("chain/{chain}/rule/{id}/reset"),
            action("service/{vip}/{vport}/drain"),
        ];
        let wall = ServiceSchema::new("wall", ServiceKind::Transparent, config, json!({ "type": "object" }));
        Model::of_service(ServiceSchema { actions, ..wall }, &[]).unwrap()
    }

    /// Asserts which action a path leads to, with which keys, and of which entry.
    #[track_caller]
    fn check(path: &str, expected: Option<&(&str, Value, usize)>) {
        let model = model();
        let found = model.called(&words(path));
        let found = found.map(|called| (called.action.path.as_str(), called.keys.into(), called.entry));
        assert_eq!(found.as_ref(), expected, "{path}");
    }

    #[test]
    fn a_path_leads_to_an_action_with_the_words_in_braces_as_values() {
        check("flush", Some(&("flush", json!({}), 0)));
        check("chain/ingress/append", Some(&("chain/{name}/append", json!({ "name": "INGRESS" }), 2)));
        let keys = json!({ "chain": "EGRESS", "id": 7 });
        check("chain/EGRESS/rule/7/reset", Some(&("chain/{chain}/rule/{id}/reset", keys, 4)));
        let keys = json!({ "vip": "10.0.0.1", "vport": 80 });
        check("service/10.0.0.1/80/drain", Some(&("service/{vip}/{vport}/drain", keys, 3)));
        for path in ["flush/now", "chain/INGRESS", "chain/append", "chain/INGRESS/x", "service/10.0.0.1/drain", ""] {
            check(path, None);
        }
    }

    #[test]
    fn nothing_follows_an_action() {
        let model = model();
        for (path, above) in [
            ("flush/now", Some("flush")),
            ("chain/INGRESS/append/x/y", Some("chain/{name}/append")),
            ("chain/INGRESS/append", None),
            ("chain/INGRESS/rule", None),
        ] {
            assert_eq!(model.action_above(&words(path)).map(|action| action.path.as_str()), above, "{path}");
        }
    }

    #[test]
    fn an_output_is_what_is_declared() {
        let model = model();
        assert!(model.check_output("chain/{name}/append", &json!({ "id": 5, "more": true })).is_ok());
        assert!(model.check_output("flush", &json!("anything")).is_ok());
        let problem = model.check_output("chain/{name}/append", &json!({ "id": "x" })).unwrap_err();
        assert!(problem.message.starts_with("the plugin answers something else than it declares: "), "{problem}");
        assert!(model.check_output("chain/{name}/append", &Value::Null).is_err());
    }

    #[test]
    fn a_plugins_own_structure_becomes_a_configuration() {
        let model = model();
        let before = model.create(json!({ "size": 9 })).unwrap();
        let wanted = json!({
            "size": 5, "other": null, "service": [],
            "chain": [{ "name": "INGRESS", "note": null, "rule": [{ "id": 1 }] }],
        });
        let after = model.become_as(&before, wanted).unwrap();
        let chain = json!([{ "name": "INGRESS", "rule": [{ "id": 1 }] }]);
        assert_eq!(after, json!({ "chain": chain, "service": [], "size": 5 }));
        let wrong = json!({ "chain": [{ "name": "INGRESS", "rule": [{ "id": "x" }] }] });
        let problems = model.become_as(&before, wrong).unwrap_err();
        assert_eq!(problems.0[0].path, "chain/INGRESS/rule/x/id");
    }
}
