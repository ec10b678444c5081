//! How a plugin tells the host its data model.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Service;

/// Words of our own in a JSON Schema; `#[schemars(extend("x-list-key" = "address"))]` sets one.
pub mod keyword {
    /// On a leaf: the leaf (a JSON pointer from the cube, `/snaplen`) that it is another name of.
    pub const ALIAS: &str = "x-alias";
    /// On a leaf: it can be set when the cube is created and not later.
    pub const CREATE_ONLY: &str = "x-create-only";
    /// On an array of objects: the member that tells its entries apart, and that paths name.
    pub const LIST_KEY: &str = "x-list-key";
    /// On a text: it is taken in either case, and kept in lower case. Two spellings of a list's key are one entry.
    pub const LOWER_CASE: &str = "x-lower-case";
    /// On a text leaf: what it names, `netdevs` or the cube's own `ports`; completion offers those that exist.
    pub const NAMES: &str = "x-names";
    /// On a number of the state: the metric that it is, `{"name", "type": "counter" | "gauge"}`. Its help is the leaf's
    /// description.
    pub const METRIC: &str = "x-metric";
}

/// Whether cubes of a service forward packets or look at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Has ports and forwards between them.
    Standard,
    /// Has none and is attached to a port or a netdev.
    Transparent,
}

/// An action of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Path below the cube: `fdb/flush`.
    pub path: String,
    /// One line for the user.
    pub description: String,
    /// JSON Schema of what it takes, an object; without one it takes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl Action {
    /// An action that takes nothing.
    #[must_use]
    pub fn new(path: &str, description: &str) -> Self {
        Self { path: path.to_owned(), description: description.to_owned(), input: None }
    }

    /// The same, with an input. The doc comments of its fields are the user's help.
    #[must_use]
    pub fn taking<T: JsonSchema>(self) -> Self {
        Self { input: Some(schema_of::<T>()), ..self }
    }
}

/// A resource of a service that is no document: the host copies it from a descriptor of the plugin's to whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Path below the cube; a word in braces stands for any: `files/{name}`.
    pub path: String,
    /// One line for the user.
    pub description: String,
    /// Media types that it may have.
    pub media: Vec<String>,
    /// Parameters that a request may have behind a `?`.
    #[serde(default)]
    pub query: Vec<Parameter>,
}

/// A parameter of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// One line for the user.
    pub description: String,
    /// What it can be; anything if this is empty.
    #[serde(default)]
    pub values: Vec<String>,
}

impl Stream {
    /// A stream without parameters.
    pub fn new(path: &str, description: &str, media: &[&str]) -> Self {
        let media = media.iter().map(|media| (*media).to_owned()).collect();
        Self { path: path.to_owned(), description: description.to_owned(), media, query: Vec::new() }
    }

    /// The same with one more parameter, which can be one of `values`, or anything if there are none.
    #[must_use]
    pub fn parameter(mut self, name: &str, description: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.query.push(Parameter { name: name.to_owned(), description: description.to_owned(), values });
        self
    }
}

/// Everything that the host learns about a service before it makes a cube.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSchema {
    /// Name of the service.
    pub name: String,
    /// One line.
    pub description: String,
    /// Version of the plugin.
    pub version: String,
    /// Standard or transparent.
    pub kind: ServiceKind,
    /// JSON Schema (2020-12, without `$ref`) of the configuration, an object.
    pub config: Value,
    /// JSON Schema of the state, an object.
    pub state: Value,
    /// Actions.
    #[serde(default)]
    pub actions: Vec<Action>,
    /// Streams.
    #[serde(default)]
    pub streams: Vec<Stream>,
}

impl ServiceSchema {
    pub(crate) fn of<S: Service>(version: &str) -> Self {
        Self {
            name: S::NAME.to_owned(),
            description: S::DESCRIPTION.to_owned(),
            version: version.to_owned(),
            kind: S::KIND,
            config: schema_of::<S::Config>(),
            state: schema_of::<S::State>(),
            actions: S::actions(),
            streams: S::streams(),
        }
    }
}

fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}
