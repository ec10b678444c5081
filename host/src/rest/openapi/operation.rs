//! Operations and answers, as OpenAPI 3.1 writes them.

use serde_json::{Map, Value, json};

use crate::rest::dispatch::DATA_TYPE;

/// What one method does at one path.
pub struct Operation<'a> {
    pub tag: &'a str,
    pub summary: String,
    /// Schema of the request's body, and whether there has to be one.
    pub body: Option<(Value, bool)>,
    /// Status of the answer that says it is done, and the schema of its body.
    pub done: (u16, Option<Value>),
    /// Statuses of the answers that say it is not.
    pub refused: &'a [u16],
    /// Whether the resource has an ETag.
    pub tagged: bool,
}

/// Statuses that any change can be refused with.
pub const CHANGE: [u16; 5] = [400, 404, 409, 413, 500];

impl Operation<'_> {
    pub fn write(self, id: &str) -> Value {
        let mut responses = Map::new();
        let (status, schema) = &self.done;
        let mut done = json!({ "description": "Done" });
        if let Some(schema) = schema {
            done["content"] = content(schema);
        }
        responses.insert(status.to_string(), done);
        for status in self.refused {
            responses.insert(status.to_string(), reference("responses", "Refused"));
        }
        let reads = self.body.is_none() && self.done.1.is_some();
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
                json!({ "required": required, "content": { "application/json": { "schema": schema } } });
        }
        operation["responses"] = responses.into();
        operation
    }
}

fn content(schema: &Value) -> Value {
    json!({ DATA_TYPE: { "schema": schema } })
}

/// A reference to a component.
pub fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// A name for an operation that no other has: its method, and the words of its path.
pub fn id(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    [method].into_iter().chain(words).collect::<Vec<_>>().join("_")
}
