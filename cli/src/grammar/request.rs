//! Requests.

use hyper::Method;
use serde_json::Value;

use super::captures;

/// A request to the daemon; `path` is relative to the base path and ends with a slash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
}

impl Request {
    /// The path as it is typed.
    pub(crate) fn words(&self) -> String {
        let own = captures::words(&self.path).map(str::to_owned);
        own.unwrap_or_else(|| self.path.trim_end_matches('/').replace('/', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_by_the_words_that_ask_for_it() {
        let words = |path: &str| Request { method: Method::GET, path: path.to_owned(), body: None }.words();
        assert_eq!(words("br1/ports/"), "br1 ports");
        assert_eq!(words("services/packetcapture/files/"), "captures");
    }
}
