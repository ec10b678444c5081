//! How a plugin says no.

use serde::{Deserialize, Serialize};

/// Why a request is refused, in RESTCONF's words (RFC 8040 section 7), as far as plugins need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tag {
    /// The value cannot be.
    InvalidValue,
    /// What the request names is not there.
    DataMissing,
    /// What the request creates is there already.
    DataExists,
    /// The plugin has no such operation.
    OperationNotSupported,
    /// The operation did not work out.
    OperationFailed,
    /// The plugin panicked. Only the SDK says this.
    Panic,
}

/// A request that is refused: one line for the user, and the place that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind.
    pub tag: Tag,
    /// The place in the cube's tree (`filters/snaplen`); empty for the cube itself.
    #[serde(default)]
    pub path: String,
    /// What was wrong and what to do: one line, lower case, no full stop.
    pub message: String,
}

impl Refusal {
    /// A refusal of `tag` about the whole cube.
    pub fn new(tag: Tag, message: impl Into<String>) -> Self {
        Self { tag, path: String::new(), message: message.into() }
    }

    /// The same about the node at `path`.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// An operation that did not work out, with the reason.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Tag::OperationFailed, message)
    }

    pub(crate) fn no_stream(path: &str) -> Self {
        Self::new(Tag::OperationNotSupported, format!("`{path}` is no stream of this cube"))
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
