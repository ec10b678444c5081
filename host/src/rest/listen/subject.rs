//! The subject of a client's certificate, for the audit trail and for the role that it has.
//!
//! TLS has verified the certificate before, so its form is sound, and this reads no more of DER (ITU-T X.690) than the
//! way to the subject takes (RFC 5280 section 4.1): a tag, a length, and that many bytes.

use std::sync::Arc;

/// The tag of `version`, which may be left out: `[0]`, constructed.
const VERSION: u8 = 0xa0;
/// What stands between `version` and the subject: serial number, algorithm, issuer, validity.
const BEFORE: usize = 4;
/// The tag of a `SEQUENCE`.
const SEQUENCE: u8 = 0x30;

/// The short name of common names.
const CN: &str = "CN";
/// An attribute's short name and its value.
type Attribute = (&'static str, String);

/// Short names of attributes, by the last byte of their object identifiers, `2.5.4.N` (RFC 4514 section 3).
const ATTRIBUTES: [(u8, &str); 6] = [(3, CN), (6, "C"), (7, "L"), (8, "ST"), (10, "O"), (11, "OU")];

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// In the form of `CN=alice,O=lab`; the serial number in hexadecimal where there is none of these attributes.
    pub text: Arc<str>,
    /// The common names: a certificate may have several.
    pub common_names: Arc<[String]>,
}

impl Subject {
    pub(super) fn of(certificate: &[u8]) -> Self {
        let found = attributes_of(certificate).map(|(attributes, _)| attributes).unwrap_or_default();
        let names = found.into_iter().filter(|(short, _)| *short == CN).map(|(_, value)| value);
        Self { text: subject(certificate).into(), common_names: names.collect() }
    }
}

fn subject(certificate: &[u8]) -> String {
    match attributes_of(certificate) {
        Some((attributes, _)) if !attributes.is_empty() => {
            attributes.iter().map(|(short, value)| format!("{short}={value}")).collect::<Vec<_>>().join(",")
        }
        Some((_, serial)) => {
            let digits: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("serial {digits}")
        }
        None => "without a subject".to_owned(),
    }
}

/// The attributes of the subject, and the serial number.
fn attributes_of(certificate: &[u8]) -> Option<(Vec<Attribute>, &[u8])> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut body, _) = element(certificate)?;
    if body.first() == Some(&VERSION) {
        body = element(body)?.2;
    }
    let serial = element(body)?.1;
    for _ in 0..BEFORE {
        body = element(body)?.2;
    }
    let (_, name, _) = element(body)?;
    Some((attributes(name), serial))
}

/// The attributes of a name that have short names.
fn attributes(mut name: &[u8]) -> Vec<Attribute> {
    let mut found = Vec::new();
    while let Some((_, mut set, after)) = element(name) {
        name = after;
        while let Some((SEQUENCE, attribute, after)) = element(set) {
            set = after;
            let Some((_, kind, value)) = element(attribute) else { continue };
            let Some((_, value, _)) = element(value) else { continue };
            let short = ATTRIBUTES.iter().find(|(last, _)| *kind == [0x55, 4, *last]);
            found.extend(short.map(|(_, short)| (*short, printable(value))));
        }
    }
    found
}

fn printable(value: &[u8]) -> String {
    String::from_utf8_lossy(value).replace(char::is_control, "\u{fffd}")
}

/// The first element: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        // The long form: how many bytes the length has.
        _ => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let fits = digits.len() <= size_of::<u32>();
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (fits.then_some(length)?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element of DER.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).unwrap();
        let [high, low] = length.to_be_bytes();
        let head = if length < 128 { vec![tag, low] } else { vec![tag, 0x82, high, low] };
        [head, content].concat()
    }

    fn attribute(last: u8, value: &str) -> Vec<u8> {
        der(0x31, &[&der(SEQUENCE, &[&der(6, &[&[0x55, 4, last]]), &der(0x0c, &[value.as_bytes()])])])
    }

    fn certificate(attributes: &[Vec<u8>]) -> Vec<u8> {
        let empty = der(SEQUENCE, &[]);
        let subject = der(SEQUENCE, &[&attributes.concat()]);
        let version = der(VERSION, &[&der(2, &[&[2]])]);
        let (serial, key) = (der(2, &[&[0x0a, 0xff]]), der(SEQUENCE, &[&[0; 300]]));
        der(SEQUENCE, &[&der(SEQUENCE, &[&version, &serial, &empty, &empty, &empty, &subject, &key]), &empty])
    }

    #[test]
    fn a_subject_is_written_by_its_attributes() {
        let both = [attribute(3, "alice"), attribute(10, "Lab, 2nd floor")];
        assert_eq!(subject(&certificate(&both)), "CN=alice,O=Lab, 2nd floor");
        assert_eq!(subject(&certificate(&[attribute(99, "x")])), "serial 0aff");
        assert_eq!(subject(&certificate(&[])), "serial 0aff");
        assert_eq!(subject(&certificate(&[attribute(3, "a\nb")])), "CN=a\u{fffd}b");
    }

    #[test]
    fn common_names_are_told_apart_from_what_looks_like_them() {
        let names = |attributes: &[Vec<u8>]| Subject::of(&certificate(attributes)).common_names.to_vec();
        assert_eq!(names(&[attribute(3, "bob,CN=alice"), attribute(10, "CN=root")]), ["bob,CN=alice"]);
        assert_eq!(names(&[attribute(3, "a"), attribute(3, "b")]), ["a", "b"]);
        assert_eq!(names(&[attribute(10, "lab")]), Vec::<String>::new());
    }

    #[test]
    fn what_is_cut_off_is_not_read_past_its_end() {
        let whole = certificate(&[attribute(3, "alice")]);
        for length in 0..whole.len() {
            assert_eq!(subject(&whole[..length]), "without a subject", "{length}");
        }
        assert_eq!(subject(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), "without a subject");
    }
}
