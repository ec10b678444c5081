//! Operations and answers, as OpenAPI 3.1 writes them.

use polycube_api::media;
use serde_json::{Map, Value, json};

/// What one method does at one path.
pub(super) struct Operation<'a> {
    pub tag: &'a str,
    pub summary: String,
    /// Schema of the request's body, and whether there must be one.
    pub body: Option<(Value, bool)>,
    /// The answer that says it is done.
    pub done: Done,
    /// Statuses of the answers that say it is not.
    pub refused: &'a [u16],
    /// Whether the resource has an ETag.
    pub tagged: bool,
}

/// An answer that says that something is done.
pub(super) struct Done {
    pub status: u16,
    /// Media type and schema of its body.
    pub content: Option<(&'static str, Value)>,
}

impl Done {
    pub(super) fn nothing(status: u16) -> Self {
        Self { status, content: None }
    }

    pub(super) fn document(status: u16, schema: Value) -> Self {
        Self { status, content: Some((media::DATA, schema)) }
    }
}

/// Statuses that any change can be refused with.
pub(super) const CHANGE: [u16; 5] = [400, 404, 409, 413, 500];

impl Operation<'_> {
    pub(super) fn write(self, id: &str) -> Value {
        let mut responses = Map::new();
        let mut done = json!({ "description": "Done" });
        if let Some((media_type, schema)) = &self.done.content {
            done["content"] = json!({ *media_type: { "schema": schema } });
        }
        responses.insert(self.done.status.to_string(), done);
        for status in self.refused {
            responses.insert(status.to_string(), reference("responses", "Refused"));
        }
        let reads = self.body.is_none() && self.done.content.is_some();
        if self.tagged && reads {
            responses.insert("304".to_owned(), json!({ "description": "It is as If-None-Match says" }));
        } else if self.tagged {
            responses.insert("412".to_owned(), reference("responses", "Refused"));
        }
        let mut operation = json!({ "tags": [self.tag], "summary": self.summary, "operationId": id });
        if self.tagged {
            let condition = if reads { "If-None-Match" } else { "If-Match" };
            operation["parameters"] = json!([reference("parameters", condition)]);
        }
        if let Some((schema, required)) = self.body {
            operation["requestBody"] =
                json!({ "required": required, "content": { media::JSON: { "schema": schema } } });
        }
        operation["responses"] = responses.into();
        operation
    }
}

/// A reference to a component.
pub(super) fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// A name for an operation that no other has: its method, and the words of its path.
pub(super) fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

/// A parameter in a path.
pub(super) fn path_parameter(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}
