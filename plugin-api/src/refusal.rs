//! How a plugin refuses a request.

use serde::{Deserialize, Serialize};

/// Why a request is refused: the tags of RESTCONF (RFC 8040 section 7) that plugins need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tag {
    /// The value is not allowed.
    InvalidValue,
    /// The request refers to something that does not exist.
    DataMissing,
    /// The request creates something that already exists.
    DataExists,
    /// The plugin does not support the operation.
    OperationNotSupported,
    /// The operation failed.
    OperationFailed,
    /// The plugin panicked. Only the SDK uses this.
    Panic,
}

/// A refused request: one line for the user, and the node that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    pub tag: Tag,
    /// Path of the node in the cube's tree (`filters/snaplen`); empty for the cube itself.
    #[serde(default)]
    pub path: String,
    /// What is wrong and what to do: one line, lower case, no full stop.
    pub message: String,
}

impl Refusal {
    /// A refusal with `tag` about the whole cube.
    pub fn new(tag: Tag, message: impl Into<String>) -> Self {
        Self { tag, path: String::new(), message: message.into() }
    }

    /// The same about the node at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// A failed operation, with the reason.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Tag::OperationFailed, message)
    }

    pub(crate) fn no_stream(path: &str) -> Self {
        Self::new(Tag::OperationNotSupported, format!("this cube has no stream `{path}`"))
    }

    pub(crate) fn text(&self) -> abi_stable::std_types::RString {
        serde_json::to_string(self)
            .unwrap_or_else(|_| String::from(r#"{"tag":"operation-failed","message":""}"#))
            .into()
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::new(Tag::InvalidValue, error.to_string())
    }
}
