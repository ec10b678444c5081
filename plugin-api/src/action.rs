//! Calls of actions: what a plugin gets with one, and what it answers.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Refusal, Tag};

/// A call of one of a cube's [`Action`](crate::Action)s.
#[derive(Clone, Debug, Deserialize)]
pub struct ActionCall<C> {
    /// The action's path as [`Service::actions`](crate::Service::actions) declares it, such as `chain/{name}/append`.
    pub action: String,
    /// The words that stand in the place of those in braces.
    #[serde(default)]
    keys: Map<String, Value>,
    #[serde(default)]
    input: Value,
    /// The cube's configuration. If the call's answer has another one, that replaces exactly this one.
    pub config: C,
}

impl<C> ActionCall<C> {
    /// The word that stands in the place of `{name}`: a value of the type that the list's key has.
    ///
    /// # Errors
    /// The action has no such word, or it is not a `T`.
    pub fn key<T: DeserializeOwned>(&self, name: &str) -> Result<T, Refusal> {
        let value = self.keys.get(name).cloned().unwrap_or(Value::Null);
        let wrong = |error| Refusal::failed(format!("`{{{name}}}` of the action `{}`: {error}", self.action));
        serde_json::from_value(value).map_err(wrong)
    }

    /// The input, which is valid under the action's schema, with defaults filled in.
    ///
    /// # Errors
    /// It is not a `T`: the action declares another type.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let wrong = |error| Refusal::failed(format!("the input of the action `{}`: {error}", self.action));
        serde_json::from_value(self.input.clone()).map_err(wrong)
    }

    /// The input as JSON; null for an action without input.
    pub fn raw_input(&self) -> &Value {
        &self.input
    }

    /// The refusal of an action that is declared and not implemented.
    pub fn unknown(&self) -> Refusal {
        Refusal::new(Tag::OperationNotSupported, format!("the action `{}` is not implemented", self.action))
    }
}

/// What an action answers: its output, and the configuration that the cube is to have afterwards, if it is another one.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome<C> {
    #[serde(skip_serializing_if = "Value::is_null")]
    output: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<C>,
}

impl<C> Default for Outcome<C> {
    fn default() -> Self {
        Self::raw(Value::Null)
    }
}

impl<C> Outcome<C> {
    /// It is done, and there is nothing to say.
    pub fn done() -> Self {
        Self::default()
    }

    /// It is done, and this is its output.
    ///
    /// # Errors
    /// The output cannot be written as JSON.
    pub fn of<T: Serialize>(output: &T) -> Result<Self, Refusal> {
        Ok(Self::raw(serde_json::to_value(output)?))
    }

    /// The same with an output that is JSON already.
    pub fn raw(output: Value) -> Self {
        Self { output, config: None }
    }

    /// The same, if the host can give the cube the configuration `config`, as one change. The client gets the output when
    /// that is in force and stored, or the refusal; then nothing has changed.
    #[must_use]
    pub fn with_config(self, config: C) -> Self {
        Self { config: Some(config), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call() -> ActionCall<u32> {
        let text = r#"{ "action": "rule/{id}/move", "keys": { "id": 7 }, "input": { "to": 3 }, "config": 5 }"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_call_has_keys_and_input_of_their_types() {
        let call = call();
        assert_eq!((call.key::<u32>("id").unwrap(), call.config), (7, 5));
        assert_eq!(call.input::<Value>().unwrap(), json!({ "to": 3 }));
        let message = |refusal: Refusal| refusal.message;
        assert!(message(call.key::<String>("id").unwrap_err()).starts_with("`{id}` of the action `rule/{id}/move`: "));
        assert!(message(call.key::<u32>("name").unwrap_err()).starts_with("`{name}` of the action"));
        assert!(message(call.input::<u32>().unwrap_err()).starts_with("the input of the action `rule/{id}/move`: "));
        assert_eq!(call.unknown().message, "the action `rule/{id}/move` is not implemented");
    }

    #[test]
    fn a_call_without_keys_and_input_is_read() {
        let call: ActionCall<Value> = serde_json::from_str(r#"{ "action": "flush", "config": {} }"#).unwrap();
        assert_eq!((call.raw_input(), &call.config), (&Value::Null, &json!({})));
    }

    #[test]
    fn an_outcome_has_only_what_there_is() {
        let text = |outcome: Outcome<u32>| serde_json::to_string(&outcome).unwrap();
        assert_eq!(text(Outcome::done()), "{}");
        assert_eq!(text(Outcome::of(&[1, 2]).unwrap()), r#"{"output":[1,2]}"#);
        assert_eq!(text(Outcome::done().with_config(5)), r#"{"config":5}"#);
    }
}
