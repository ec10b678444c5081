//! MAC addresses, written `02:00:5e:10:00:01`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Six octets in frame order. Parsed in either case, written in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Cow<'_, str>", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address; write six octets, like 02:00:5e:10:00:01")]
pub struct MacError(String);

impl Mac {
    /// Whether it can be the address of a single station: not a multicast or broadcast address (the group bit, IEEE
    /// 802-2014 section 8.2.2), and not all zeros.
    pub fn is_station(self) -> bool {
        self.0[0] & 1 == 0 && self.0 != [0; 6]
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let wrong = || MacError(text.to_owned());
        let mut octets = [0; 6];
        let mut words = text.split(':');
        for octet in &mut octets {
            let word = words.next().filter(|word| word.len() == 2 && word.bytes().all(|b| b.is_ascii_hexdigit()));
            *octet = u8::from_str_radix(word.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        words.next().is_none().then_some(Self(octets)).ok_or_else(wrong)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<Cow<'_, str>> for Mac {
    type Error = MacError;

    fn try_from(text: Cow<'_, str>) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl JsonSchema for Mac {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Mac".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$",
            "examples": ["02:00:5e:10:00:01"],
            "x-lower-case": true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(text.parse::<Mac>().ok().map(String::from).as_deref(), expected, "{text}");
    }

    #[test]
    fn six_octets_in_either_case_are_read_and_written_in_lower_case() {
        check("02:00:5e:10:00:01", Some("02:00:5e:10:00:01"));
        check("AA:bb:Cc:dD:EE:0F", Some("aa:bb:cc:dd:ee:0f"));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "02", "02:00:5e:10:00", "02:00:5e:10:00:01:02", "02-00-5e-10-00-01", "2:0:5e:10:0:1"] {
            check(text, None);
        }
        check("02:00:5e:10:00:0g", None);
        check("02:00:5e:10:00:+1", None);
        check("02:00:5e:10:00:01 ", None);
    }

    #[test]
    fn groups_and_zeros_are_not_stations() {
        let is_station = |text: &str| text.parse::<Mac>().unwrap().is_station();
        assert!(is_station("02:00:00:00:00:01"));
        assert!(!is_station("ff:ff:ff:ff:ff:ff"));
        assert!(!is_station("01:00:5e:00:00:01"));
        assert!(!is_station("00:00:00:00:00:00"));
    }
}
