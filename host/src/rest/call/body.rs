//! Bodies of requests: whole, in time, and JSON that has one meaning.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;
use polycube_api::{Limits, Word, media};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::problem::Problem;
use crate::rest::error::Refusal;

/// Most bytes of a body; Polycube's limit.
const SIZE: usize = 1 << 20;

/// Most bytes of a configuration, which describes every cube.
const CONFIG_SIZE: usize = 16 << 20;

/// Most levels of nested objects and arrays. Data models have a few; recursion over a body is as deep as this.
const DEPTH: usize = 32;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Media types of JSON.
const MEDIA: [&str; 3] = [media::JSON, media::YANG_DATA, media::DATA];

/// The content coding that changes nothing (RFC 9110 section 8.4.1).
const IDENTITY: &str = "identity";

/// Reads a body; null when there is none. `path` is what it is for.
///
/// # Errors
/// What is wrong with it.
pub(super) async fn read(headers: &HeaderMap, body: Body, path: &str) -> Result<Value, Refusal> {
    let refused = |status, message: String| Refusal::new(status, Problem::invalid(path, message));
    let limit =
        |maximum: u64, unit: &str| Limits { maximum: Some(maximum.into()), unit: unit.to_owned(), ..Limits::default() };
    let is_config = path.split('/').next() == Some(Word::Config.as_str());
    let size = if is_config { CONFIG_SIZE } else { SIZE };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let problem = Problem::invalid(path, format!("the body is larger than {size} bytes"));
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, problem.within(limit(size as u64, "bytes")))
    };
    if announced.is_some_and(|length| length > size as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, size)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if is_limit(&error) => return Err(too_large()),
        Ok(Err(error)) => {
            let message = format!("the body is incomplete: {}", innermost(&error));
            return Err(refused(StatusCode::BAD_REQUEST, message));
        }
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            let problem = Problem::invalid(path, format!("the body did not arrive within {seconds} s"));
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, problem.within(limit(seconds, "s"))));
        }
    };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if let Some(encoding) = headers.get_all(header::CONTENT_ENCODING).iter().find(|encoding| !is_identity(encoding)) {
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let message =
            format!("the body must not be compressed or otherwise encoded ({encoding}): omit Content-Encoding");
        let limits = Limits { values: vec![IDENTITY.to_owned()], ..Limits::default() };
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Problem::invalid(path, message).within(limits)));
    }
    if let Some(media) = headers.get(header::CONTENT_TYPE).filter(|media| !is_json(media)) {
        let media = String::from_utf8_lossy(media.as_bytes());
        let message = format!("the body must be JSON, not {media}: send `Content-Type: {}`", media::JSON);
        let limits = Limits { values: MEDIA.map(str::to_owned).to_vec(), ..Limits::default() };
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Problem::invalid(path, message).within(limits)));
    }
    parse(&bytes).map_err(|error| Problem::invalid(path, format!("the body is not usable JSON: {error}")).into())
}

/// The innermost cause of an error: the layers around it say less.
fn innermost(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

fn is_limit(error: &axum::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<LengthLimitError>)
}

fn is_json(media: &HeaderValue) -> bool {
    let media = media.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    MEDIA.iter().any(|json| media.eq_ignore_ascii_case(json))
}

/// Whether each content coding of a list is [`IDENTITY`].
fn is_identity(encoding: &HeaderValue) -> bool {
    let is_known = |coding: &str| coding.is_empty() || coding.eq_ignore_ascii_case(IDENTITY);
    encoding.to_str().is_ok_and(|list| list.split(',').map(str::trim).all(is_known))
}

fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a value as serde_json does, and refuses members that are given twice and too much depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > DEPTH {
            return Err(E::custom(format_args!("it is nested deeper than {DEPTH} levels")));
        }
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_element_seed(deeper)? {
            found.push(entry);
        }
        Ok(found.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut found = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(deeper)?;
            if found.contains_key(&name) {
                return Err(de::Error::custom(format_args!("`{name}` is given twice")));
            }
            found.insert(name, value);
        }
        Ok(found.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_not_altered() {
        for text in ["null", "true", "-5", "18446744073709551615", "1.5", r#""a\nb""#, r#"{"b":[1,{"a":[]}],"a":{}}"#] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), expected.to_string(), "the order is kept");
        }
    }

    #[test]
    fn what_is_ambiguous_or_too_deep_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH).as_bytes()).is_ok());
        let (deep, deeper) = (nested(DEPTH + 1), nested(500_000));
        for (text, reason) in [
            (deep.as_str(), "nested deeper than 32"),
            (&deeper, "nested deeper than 32"),
            (r#"{"a":1,"b":{"a":1,"a":2}}"#, "`a` is given twice"),
            ("{} {}", "trailing characters"),
            ("{\"a\":1", "EOF"),
            ("\u{feff}1", "expected value"),
            ("nope", "expected"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn only_bodies_that_are_not_encoded_are_taken() {
        for (encoding, taken) in [
            ("", true),
            ("identity", true),
            ("Identity, identity", true),
            ("gzip", false),
            ("identity, gzip", false),
            ("zstd", false),
            ("identity;q=1", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_identity(&HeaderValue::from_static(encoding)), taken, "{encoding}");
        }
    }

    #[test]
    fn media_types_are_compared_without_parameters() {
        for (media, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/yang.data+json;charset=utf-8", true),
            ("application/json5", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(media)), json, "{media}");
        }
    }

    /// Reads a body that comes in pieces, and says the status and the limits of a refusal.
    async fn read_pieces(
        headers: &[(&'static str, &'static str)],
        pieces: Vec<std::io::Result<Vec<u8>>>,
    ) -> Result<Value, (u16, Value)> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        match read(&headers, body, "a/size").await {
            Ok(value) => Ok(value),
            Err(refused) => {
                use axum::response::IntoResponse as _;
                let response = refused.into_response();
                let status = response.status().as_u16();
                let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
                let body: Value = serde_json::from_slice(&bytes).unwrap();
                let error = &body["ietf-restconf:errors"]["error"][0];
                assert_eq!(error["error-path"], "a/size");
                Err((status, error["error-info"]["limits"].clone()))
            }
        }
    }

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_its_limit() {
        use serde_json::json;
        let text = |length: usize| Ok(format!("\"{}\"", "x".repeat(length - 2)).into_bytes());
        assert_eq!(read_pieces(&[], vec![]).await, Ok(Value::Null));
        assert_eq!(read_pieces(&[], vec![Ok(b"[1,".to_vec()), Ok(b"2]".to_vec())]).await, Ok(json!([1, 2])));
        assert!(read_pieces(&[], vec![text(SIZE)]).await.is_ok());
        let too_large = Err((413, json!({ "maximum": SIZE, "unit": "bytes" })));
        assert_eq!(read_pieces(&[], vec![text(SIZE + 1)]).await, too_large);
        assert_eq!(read_pieces(&[("content-length", "1048577")], vec![]).await, too_large);
        let broken = || Err(std::io::Error::other("gone"));
        assert_eq!(read_pieces(&[], vec![Ok(b"[1".to_vec()), broken()]).await, Err((400, Value::Null)));
        assert_eq!(read_pieces(&[], vec![Ok(b"[1".to_vec())]).await, Err((400, Value::Null)));
    }

    #[tokio::test]
    async fn a_body_in_another_form_is_refused_with_those_that_are_taken() {
        use serde_json::json;
        let one = || vec![Ok(b"1".to_vec())];
        let (coded, typed) = (Err((415, json!({ "values": ["identity"] }))), Err((415, json!({ "values": MEDIA }))));
        assert_eq!(read_pieces(&[("content-encoding", "br")], one()).await, coded);
        assert_eq!(read_pieces(&[("content-encoding", "identity"), ("content-encoding", "gzip")], one()).await, coded);
        assert_eq!(read_pieces(&[("content-type", "text/yaml")], one()).await, typed);
        assert_eq!(
            read_pieces(&[("content-type", "text/yaml"), ("content-encoding", "br")], vec![]).await,
            Ok(Value::Null)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_not_waited_for_for_ever() {
        let begin = tokio::time::Instant::now();
        let body = Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>());
        assert!(read(&HeaderMap::new(), body, "a").await.is_err());
        assert_eq!(begin.elapsed(), PATIENCE);
    }
}
