//! A request as it was read, and the answer to one that was carried out.

mod body;

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use polycube_api::BASE;
use serde_json::Value;

use super::document::document;
use super::error::Refusal;
use super::handed::Handed;
use crate::problem::{ErrorTag, Problem};

/// A request, read.
pub(super) struct Call {
    /// GET for HEAD too, which is answered in the same way.
    pub method: Method,
    /// Whether the client wants only the head of the answer.
    pub is_head: bool,
    /// Words of the path below [`BASE`].
    pub path: Vec<String>,
    /// The same as they came, percent-encoded.
    pub segments: Vec<String>,
    /// What follows the `?`.
    pub query: String,
    pub headers: HeaderMap,
    /// What the client has handed over with its requests.
    pub handed: Handed,
    /// The body; null when there was none.
    pub body: Value,
}

impl Call {
    /// Reads a request. `is_short` says which paths are also found without [`BASE`].
    ///
    /// # Errors
    /// The path is not one of ours, or the body cannot be used.
    pub(super) async fn read(request: Request, is_short: impl Fn(&str) -> bool) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        let path = if is_short(path) { &format!("{BASE}{path}") } else { path };
        let below = path.strip_prefix(BASE).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(below) = below else {
            let message = format!("there is nothing at `{path}`: every path begins with {BASE}/");
            return Err(Problem::new(ErrorTag::UnknownElement, path, message).into());
        };
        let decode = |word: &str| percent_decode_str(word).decode_utf8().map(Cow::into_owned);
        let segments: Vec<String> = below.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let words: Result<Vec<String>, _> = segments.iter().map(|segment| decode(segment)).collect();
        let words = words.map_err(|_| Problem::invalid(below, "the path is not valid UTF-8"))?;
        let body = body::read(&parts.headers, body, &words.join("/")).await?;
        let handed = parts.extensions.get::<Handed>().cloned().unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default().to_owned();
        // hyper sends only the head of an answer to HEAD.
        let is_head = parts.method == Method::HEAD;
        let method = if is_head { Method::GET } else { parts.method };
        Ok(Self { method, is_head, path: words, segments, query, headers: parts.headers, handed, body })
    }

    /// The path in one piece.
    pub(super) fn place(&self) -> String {
        self.path.join("/")
    }

    /// The problem that nothing is at the path, for the reason in `message`.
    pub(super) fn nowhere(&self, message: impl Into<String>) -> Problem {
        Problem::new(ErrorTag::UnknownElement, self.place(), message)
    }

    /// The problem that the path takes the methods of `allow`, and not this one.
    pub(super) fn wrong_method(&self, allow: &[polycube_api::Method]) -> Problem {
        Problem::method(self.place(), self.method.as_str(), allow)
    }
}

/// What an answer holds.
pub(super) enum Content {
    Nothing,
    Document(Value),
    Text { media_type: &'static str, text: String },
}

/// A request that was carried out.
pub(super) struct Done {
    status: StatusCode,
    content: Content,
    tag: Option<String>,
}

impl Done {
    pub(super) fn new(status: StatusCode, content: Content) -> Self {
        Self { status, content, tag: None }
    }

    /// The same with an `ETag`.
    #[must_use]
    pub(super) fn tagged(self, tag: String) -> Self {
        Self { tag: Some(tag), ..self }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = match self.content {
            Content::Nothing => self.status.into_response(),
            Content::Document(value) => document(self.status, &value),
            Content::Text { media_type, text } => {
                (self.status, [(header::CONTENT_TYPE, media_type)], text).into_response()
            }
        };
        let tag = self.tag.and_then(|tag| HeaderValue::try_from(tag).ok());
        response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
        response
    }
}

/// Marks, as an extension, an answer whose reader may pause for as long as it likes.
#[derive(Clone, Copy)]
pub(super) struct MayPause;

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use serde_json::json;

    use super::*;

    async fn read(method: &str, uri: &str, body: &'static str) -> Result<Call, Box<Response>> {
        let request = Request::builder().method(method).uri(uri).body(Body::from(body)).unwrap();
        Call::read(request, |path| path == "/metrics").await.map_err(|refused| Box::new(refused.into_response()))
    }

    #[tokio::test]
    async fn a_request_is_taken_apart() {
        for (uri, path, query) in [
            ("/polycube/v1/a/b?x=1&y", "a/b", "x=1&y"),
            ("/polycube/v1//a//b/", "a/b", ""),
            ("/polycube/v1", "", ""),
            ("/polycube/v1?x", "", "x"),
            ("/metrics", "metrics", ""),
            ("/polycube/v1/metrics", "metrics", ""),
            ("/polycube/v1/%C3%A9%20", "é ", ""),
            ("http://localhost:9000/polycube/v1/a", "a", ""),
        ] {
            let call = read("GET", uri, "").await.unwrap();
            assert_eq!((call.place().as_str(), call.query.as_str(), &call.body), (path, query, &Value::Null), "{uri}");
        }
        let call = read("PUT", "/polycube/v1/a%2Fb/c", "[1]").await.unwrap();
        assert_eq!(call.path, ["a/b", "c"], "an escaped slash does not separate words");
        assert_eq!((call.method, call.body), (Method::PUT, json!([1])));
    }

    #[tokio::test]
    async fn head_is_answered_as_get() {
        let (head, get) =
            (read("HEAD", "/polycube/v1/a", "").await.unwrap(), read("GET", "/polycube/v1/a", "").await.unwrap());
        assert_eq!((head.method, head.is_head, get.method, get.is_head), (Method::GET, true, Method::GET, false));
    }

    #[tokio::test]
    async fn paths_that_are_not_ours_are_refused() {
        for (uri, status) in [
            ("/", 404),
            ("/polycube", 404),
            ("/polycube/v1x", 404),
            ("/polycube/v2/cubes", 404),
            ("/metrics/", 404),
            ("/POLYCUBE/V1/", 404),
            ("/polycube/v1/%c3", 400),
        ] {
            let refused = read("GET", uri, "").await.map(|call| call.path).unwrap_err();
            assert_eq!(refused.status().as_u16(), status, "{uri}");
        }
        let refused = read("PUT", "/polycube/v1/a/b", "{").await.map(|call| call.path).unwrap_err();
        let bytes = axum::body::to_bytes(refused.into_body(), usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        let error = &body["ietf-restconf:errors"]["error"][0];
        assert_eq!((&error["error-path"], &error["error-tag"]), (&json!("a/b"), &json!("invalid-value")));
    }

    #[tokio::test]
    async fn an_answer_has_the_form_of_its_content() {
        for (done, media, tag, text) in [
            (Done::new(StatusCode::CREATED, Content::Nothing), None, None, ""),
            (
                Done::new(StatusCode::OK, Content::Document(json!({ "b": 1, "a": null }))).tagged("\"x\"".to_owned()),
                Some("application/yang.data+json; charset=utf-8"),
                Some("\"x\""),
                r#"{"b":1,"a":null}"#,
            ),
            (
                Done::new(StatusCode::OK, Content::Text { media_type: "text/plain", text: "x 1\n".to_owned() }),
                Some("text/plain"),
                None,
                "x 1\n",
            ),
        ] {
            let status = done.status;
            let response = done.into_response();
            assert_eq!(response.status(), status);
            let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!((header(header::CONTENT_TYPE), header(header::ETAG)), (media, tag), "{text}");
            let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            assert_eq!(bytes, Bytes::from(text));
        }
    }
}
