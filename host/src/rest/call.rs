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
use crate::problem::{ErrorTag, Problem};

/// A request, read.
pub(super) struct Call {
    /// GET for HEAD too, which is answered in the same way.
    pub method: Method,
    /// Whether the client wants only the head of the answer.
    pub is_head: bool,
    /// Words of the path below [`BASE`].
    pub path: Vec<String>,
    /// What follows the `?`.
    pub query: String,
    pub headers: HeaderMap,
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
        let words: Result<Vec<String>, _> = below.split('/').filter(|word| !word.is_empty()).map(decode).collect();
        let words = words.map_err(|_| Problem::invalid(below, "the path is not valid UTF-8"))?;
        let body = body::read(&parts.headers, body, &words.join("/")).await?;
        let query = parts.uri.query().unwrap_or_default().to_owned();
        // hyper sends only the head of an answer to HEAD.
        let is_head = parts.method == Method::HEAD;
        let method = if is_head { Method::GET } else { parts.method };
        Ok(Self { method, is_head, path: words, query, headers: parts.headers, body })
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
