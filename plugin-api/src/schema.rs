//! How a plugin describes its data model to the host.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Service, Topic};

/// Our own keywords in a JSON Schema; `#[schemars(extend("x-list-key" = "address"))]` sets one.
pub mod keyword {
    /// On a leaf: the leaf (a JSON pointer from the cube, `/snaplen`) that it is an alias of.
    pub const ALIAS: &str = "x-alias";
    /// On a leaf: it can only be set when the cube is created.
    pub const CREATE_ONLY: &str = "x-create-only";
    /// On an array of objects: the member that identifies an entry, and appears in paths; or an array of members, which do so
    /// together, in this order.
    pub const LIST_KEY: &str = "x-list-key";
    /// On a text: case does not matter, and it is stored in lower case. Two spellings of a list's key are one entry.
    pub const LOWER_CASE: &str = "x-lower-case";
    /// On a text leaf: the kind of thing it names, `netdevs`, the cube's own `ports`, or [`PLACES`]; completion offers those that
    /// exist.
    pub const NAMES: &str = "x-names";
    /// A value of [`NAMES`]: a netdev or a port of any cube, `br1:p1`, which need not exist. The host refuses what can be
    /// neither, and its own netdevs.
    pub const PLACES: &str = "peers";
    /// On a number of the state: its metric, `{"name", "type": "counter" | "gauge"}`. The leaf's description is its
    /// help.
    pub const METRIC: &str = "x-metric";
    /// On a number: what it counts, `bytes`, `KiB`, `MiB`, `GiB`, `milliseconds` or `seconds`. Users may give and see it in
    /// other units, such as `10 MB` or `1h`; documents have the number.
    pub const UNIT: &str = "x-unit";
    /// On a leaf of the state: the name that it has in the list of all cubes.
    pub const SUMMARY: &str = "x-summary";
    /// On a text leaf: if a cube is created for a stream over TCP, it gets the two ends of that connection, as
    /// `ADDRESS:PORT ADDRESS:PORT`, unless the request sets it.
    pub const CONNECTION: &str = "x-connection";
    /// On a member: people see it only if they ask for everything, and a setting also if it is not as by default.
    pub const MINOR: &str = "x-minor";
}

/// Whether cubes of a service forward packets or observe them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// Has ports and forwards between them.
    Standard,
    /// Has none; is attached to a port or a netdev.
    Transparent,
}

/// An action of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Path below the cube: `fdb/flush`. A word in braces stands for the key of an entry: `chain/{name}/append` is an action
    /// of each entry of the list `chain`. A key of several members takes as many words in braces.
    pub path: String,
    /// One line for the user.
    pub description: String,
    /// JSON Schema of its input, an object; without one it takes no input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// JSON Schema of its output; without one, the output is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

impl Action {
    /// An action without input, whose output is not described.
    #[must_use]
    pub fn new(path: &str, description: &str) -> Self {
        Self { path: path.to_owned(), description: description.to_owned(), input: None, output: None }
    }

    /// The same, with an input. The doc comments of the input's fields are the user's help.
    #[must_use]
    pub fn taking<T: JsonSchema>(self) -> Self {
        Self { input: Some(schema_of::<T>()), ..self }
    }

    /// The same, with an output. The host checks each answer, and describes it in the API's documentation and in help.
    #[must_use]
    pub fn returning<T: JsonSchema>(self) -> Self {
        Self { output: Some(schema_of::<T>()), ..self }
    }
}

/// A resource of a service that is not a document: the plugin opens a descriptor, and the host copies from it to the
/// client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Path below the cube; a word in braces matches any word: `files/{name}`.
    pub path: String,
    /// One line for the user.
    pub description: String,
    /// Media types that it may have.
    pub media: Vec<String>,
    /// Query parameters that a request may have.
    #[serde(default)]
    pub query: Vec<Parameter>,
    /// Whether requests may delete it. Only streams of the service as a whole can be deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub can_be_deleted: bool,
    /// Whether it can be written into a file that the client hands over. Only streams of cubes can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub into_files: bool,
}

/// A parameter of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// Name.
    pub name: String,
    /// One line for the user.
    pub description: String,
    /// Allowed values; any if this is empty.
    #[serde(default)]
    pub values: Vec<String>,
}

impl Stream {
    /// A stream without parameters.
    pub fn new(path: &str, description: &str, media: &[&str]) -> Self {
        let media = media.iter().map(|media| (*media).to_owned()).collect();
        Self {
            path: path.to_owned(),
            description: description.to_owned(),
            media,
            query: Vec::new(),
            can_be_deleted: false,
            into_files: false,
        }
    }

    /// The same, and requests may delete it.
    #[must_use]
    pub fn deletable(self) -> Self {
        Self { can_be_deleted: true, ..self }
    }

    /// The same, and [`open_into`](crate::Service::open_into) writes it into files of clients.
    #[must_use]
    pub fn into_files(self) -> Self {
        Self { into_files: true, ..self }
    }

    /// The same with one more parameter, whose value is one of `values`, or any if `values` is empty.
    #[must_use]
    pub fn parameter(mut self, name: &str, description: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        self.query.push(Parameter { name: name.to_owned(), description: description.to_owned(), values });
        self
    }
}

/// Everything that the host knows about a service before it creates a cube.
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
    /// Streams of the service as a whole: they need no cube.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_streams: Vec<Stream>,
    /// What it wants to hear of the host's network namespace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observes: Vec<Topic>,
    /// Whether cubes can be attached where packets begin with the IP header.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_raw_ip: bool,
}

impl ServiceSchema {
    /// A service with these schemas and nothing else: the other members are empty.
    #[must_use]
    pub fn new(name: &str, kind: ServiceKind, config: Value, state: Value) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            version: String::new(),
            kind,
            config,
            state,
            actions: Vec::new(),
            streams: Vec::new(),
            shared_streams: Vec::new(),
            observes: Vec::new(),
            takes_raw_ip: false,
        }
    }

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
            shared_streams: S::shared_streams(),
            observes: S::observes(),
            takes_raw_ip: S::TAKES_RAW_IP,
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
