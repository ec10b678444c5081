//! Documents as HTTP carries them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

/// Their media type.
const TYPE: HeaderValue = HeaderValue::from_static("application/yang.data+json; charset=utf-8");

/// An answer that holds a document.
pub(super) fn document(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, TYPE)], text).into_response(),
        // Neither a value nor a refusal has keys that are not text, which is all that could go wrong.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use polycube_api::media;

    use super::*;

    #[test]
    fn documents_are_of_polycubes_media_type() {
        assert!(TYPE.to_str().is_ok_and(|text| text.starts_with(media::DATA)));
    }
}
