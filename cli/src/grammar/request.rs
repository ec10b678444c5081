//! Requests.

use hyper::Method;
use polycube_api::Word;
use serde_json::Value;

/// A request to the daemon; `path` is relative to the base path and ends with a slash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl Request {
    /// Asks for what surrounds captures.
    pub(crate) fn bundle() -> Self {
        Self { method: Method::GET, path: format!("{}/bundle/", Word::Config), body: None }
    }

    /// The path as it is typed.
    pub(crate) fn words(&self) -> String {
        self.path.trim_end_matches('/').replace('/', " ")
    }
}
