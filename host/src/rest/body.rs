//! Bodies of requests: whole, in time, and JSON that can be meant in one way only.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::LengthLimitError;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::Refused;
use crate::problem::Problem;

/// Bytes of a body at most; Polycube's limit.
const SIZE: usize = 1 << 20;

/// Objects and arrays in one another at most. Data models have a few; recursion over a body is as deep as this.
const DEPTH: usize = 32;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Media types of what is JSON: that of RFC 8259, that of RFC 8040, and Polycube's.
const MEDIA: [&str; 3] = ["application/json", "application/yang-data+json", "application/yang.data+json"];

/// Reads a body; null when there is none. `path` is what it is for.
///
/// # Errors
/// What is wrong with it.
pub async fn read(headers: &HeaderMap, body: Body, path: &str) -> Result<Value, Refused> {
    let refused = |status, message: String| Refused::new(status, Problem::invalid(path, message));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let too_large = || refused(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {SIZE} bytes"));
    if announced.is_some_and(|length| length > SIZE as u64) {
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(PATIENCE, axum::body::to_bytes(body, SIZE)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if is_limit(&error) => return Err(too_large()),
        Ok(Err(error)) => {
            let message = format!("the body did not arrive whole: {}", innermost(&error));
            return Err(refused(StatusCode::BAD_REQUEST, message));
        }
        Err(_) => {
            let message = format!("the body did not arrive within {} s", PATIENCE.as_secs());
            return Err(refused(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if let Some(media) = headers.get(header::CONTENT_TYPE).filter(|media| !is_json(media)) {
        let media = String::from_utf8_lossy(media.as_bytes());
        let message = format!("a body is {}, not {media}: say so with `Content-Type: {}`", MEDIA[0], MEDIA[0]);
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    parse(&bytes)
        .map_err(|error| Problem::invalid(path, format!("the body is no JSON that can be used: {error}")).into())
}

/// What is at the bottom of an error: the layers above it say less.
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

fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Reads a value as serde_json does, but for members that stand there twice and for too much depth.
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
                return Err(de::Error::custom(format_args!("`{name}` stands there twice")));
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
    fn what_is_taken_is_taken_as_it_is() {
        for text in ["null", "true", "-5", "18446744073709551615", "1.5", r#""a\nb""#, r#"{"b":[1,{"a":[]}],"a":{}}"#] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), expected.to_string(), "the order stays");
        }
    }

    #[test]
    fn what_is_ambiguous_or_too_deep_is_not() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(DEPTH).as_bytes()).is_ok());
        let (deep, deeper) = (nested(DEPTH + 1), nested(500_000));
        for (text, reason) in [
            (deep.as_str(), "nested deeper than 32"),
            (&deeper, "nested deeper than 32"),
            (r#"{"a":1,"b":{"a":1,"a":2}}"#, "`a` stands there twice"),
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
}
