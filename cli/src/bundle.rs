//! `--bundle`: what surrounds a capture, as comments of its file's section header.
//!
//! An option of pcapng has 65,535 bytes at most (draft-ietf-opsawg-pcapng, section 3.5), and a header may have several
//! comments. So what is longer is cut between entries: each comment is JSON of its own, whose lists go on in the next one.

use serde_json::{Map, Value};

use crate::client::Client;
use crate::failure::Failure;
use crate::grammar::Request;
use crate::refusal::{Asked, Refusal};

/// Bytes of a comment, less what numbers it.
const ROOM: usize = u16::MAX as usize - 100;
/// Most comments: with more, readers take a header for a fault.
const PARTS: usize = 16;

/// Where the options of a section header begin (section 4.1), and the code of a comment (3.5).
const OPTIONS: usize = 24;
const COMMENT: u16 = 1;

/// The comments.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bundle(Vec<String>);

impl Bundle {
    /// Asks the daemon.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub(crate) async fn fetch(client: &Client) -> Result<Self, Failure> {
        let answer = client.send(&Request::bundle()).await?;
        if !answer.status.is_success() {
            return Err(Refusal::new(&answer, Asked::Verb).into());
        }
        let document = serde_json::from_slice::<Map<String, Value>>(&answer.body).map_err(|_| Failure::NotJson)?;
        Ok(Self::split(document))
    }

    /// Cuts a document into comments.
    fn split(document: Map<String, Value>) -> Self {
        let (mut parts, mut left_out) = (Parts::default(), 0_usize);
        for (key, value) in document {
            match value {
                Value::Array(entries) if !entries.is_empty() => {
                    for entry in entries {
                        left_out += usize::from(!parts.add_item(&key, entry));
                    }
                }
                Value::Object(entries) if !entries.is_empty() => {
                    for (name, entry) in entries {
                        left_out += usize::from(!parts.add_member(&key, name, entry));
                    }
                }
                value => left_out += usize::from(!parts.set(&key, value)),
            }
        }
        Self(parts.finish(left_out))
    }

    /// Whether it adds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the comments to the section header that `bytes` begin with, if they do.
    pub(crate) fn insert(&self, bytes: &mut Vec<u8>) {
        if self.0.is_empty() {
            return;
        }
        let Some(length) = bytes.get(4..8).and_then(|bytes| bytes.first_chunk()).map(|it| u32::from_ne_bytes(*it))
        else {
            return;
        };
        let Some(options) = (length as usize).checked_sub(4).and_then(|end| bytes.get(OPTIONS..end)) else { return };
        let at = OPTIONS + end_of_options(options);
        let mut comments = Vec::new();
        for comment in &self.0 {
            comments.extend(COMMENT.to_ne_bytes());
            comments.extend((comment.len() as u16).to_ne_bytes());
            comments.extend_from_slice(comment.as_bytes());
            comments.resize(comments.len().next_multiple_of(4), 0);
        }
        if at == length as usize - 4 {
            // There was no option, and so no end of them.
            comments.extend([0; 4]);
        }
        let longer = (length as usize + comments.len()) as u32;
        bytes[length as usize - 4..length as usize].copy_from_slice(&longer.to_ne_bytes());
        bytes[4..8].copy_from_slice(&longer.to_ne_bytes());
        bytes.splice(at..at, comments);
    }
}

/// Where options end, whether that is said or not.
fn end_of_options(options: &[u8]) -> usize {
    let mut at = 0;
    while let Some([a, b, c, d]) = options.get(at..).and_then(|rest| rest.first_chunk()).copied() {
        if u16::from_ne_bytes([a, b]) == 0 {
            break;
        }
        at += 4 + usize::from(u16::from_ne_bytes([c, d])).next_multiple_of(4);
    }
    at.min(options.len())
}

/// A document that is being cut.
#[derive(Default)]
struct Parts {
    done: Vec<Map<String, Value>>,
    current: Map<String, Value>,
    size: usize,
}

impl Parts {
    /// Finds room for a value; false if there is none.
    fn make_room(&mut self, names: &[&str], value: &Value) -> bool {
        // With quotes, colons, commas and brackets.
        let names: usize = names.iter().map(|name| Value::from(*name).to_string().len() + 4).sum();
        let size = names + value.to_string().len() + 4;
        if self.size + size > ROOM {
            if size > ROOM || self.done.len() + 1 >= PARTS {
                return false;
            }
            self.done.push(std::mem::take(&mut self.current));
            self.size = 0;
        }
        self.size += size;
        true
    }

    fn set(&mut self, key: &str, value: Value) -> bool {
        let has_room = self.make_room(&[key], &value);
        if has_room {
            self.current.insert(key.to_owned(), value);
        }
        has_room
    }

    fn add_item(&mut self, key: &str, item: Value) -> bool {
        let has_room = self.make_room(&[key], &item);
        if has_room && let Value::Array(items) = self.current.entry(key).or_insert_with(|| Vec::<Value>::new().into()) {
            items.push(item);
        }
        has_room
    }

    fn add_member(&mut self, key: &str, name: String, value: Value) -> bool {
        let has_room = self.make_room(&[key, &name], &value);
        if has_room && let Value::Object(members) = self.current.entry(key).or_insert_with(|| Map::new().into()) {
            members.insert(name, value);
        }
        has_room
    }

    fn finish(mut self, left_out: usize) -> Vec<String> {
        self.done.push(self.current);
        let count = self.done.len();
        let text = |(index, mut part): (usize, Map<String, Value>)| {
            part.insert("part".to_owned(), (index + 1).into());
            part.insert("of".to_owned(), count.into());
            if left_out > 0 && index + 1 == count {
                part.insert("left-out".to_owned(), left_out.into());
            }
            Value::from(part).to_string()
        };
        self.done.into_iter().enumerate().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn split(document: Value) -> Vec<String> {
        let Value::Object(document) = document else { panic!("an object") };
        Bundle::split(document).0
    }

    #[test]
    fn what_fits_is_one_comment() {
        let found = split(json!({ "links": [{ "name": "lo" }], "counters": { "s": { "seen": 1 } }, "routes": [] }));
        let expected = json!({
            "links": [{ "name": "lo" }], "counters": { "s": { "seen": 1 } }, "routes": [], "part": 1, "of": 1
        });
        assert_eq!(found, [expected.to_string()]);
    }

    #[test]
    fn what_is_longer_is_cut_between_entries() {
        let routes: Vec<Value> = (0..3000).map(|number| json!({ "network": format!("10.0.0.0/{number}") })).collect();
        let counters: Map<String, Value> =
            (0..3000).map(|number| (format!("s{number}"), json!({ "seen": 1 }))).collect();
        let found = split(json!({ "routes": routes, "counters": counters }));
        assert!(found.len() > 2 && found.iter().all(|comment| comment.len() <= usize::from(u16::MAX)));
        let (mut list, mut object) = (Vec::new(), Map::new());
        for (index, comment) in found.iter().enumerate() {
            let part: Value = serde_json::from_str(comment).unwrap();
            assert_eq!((&part["part"], &part["of"]), (&json!(index + 1), &json!(found.len())));
            list.extend(part["routes"].as_array().into_iter().flatten().cloned());
            object.extend(
                part["counters"].as_object().into_iter().flatten().map(|(name, it)| (name.clone(), it.clone())),
            );
        }
        assert_eq!((list, object), (routes, counters));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let long = "x".repeat(40_000);
        let entries: Vec<Value> = (0..20).map(|_| json!(long)).chain([json!("x".repeat(70_000))]).collect();
        let found = split(json!({ "links": entries }));
        assert_eq!(found.len(), PARTS);
        let last: Value = serde_json::from_str(found.last().unwrap()).unwrap();
        assert_eq!(last["left-out"], json!(20 - PARTS + 1));
    }

    #[test]
    fn comments_stand_before_the_end_of_options() {
        let header = |options: &[u8]| {
            let length = (OPTIONS + options.len() + 4) as u32;
            [&[0x0a, 0x0d, 0x0d, 0x0a], &length.to_ne_bytes()[..], &[0; 16], options, &length.to_ne_bytes(), b"next"]
                .concat()
        };
        let hardware = [&2_u16.to_ne_bytes()[..], &3_u16.to_ne_bytes(), b"arm\0"].concat();
        let comment = [&1_u16.to_ne_bytes()[..], &5_u16.to_ne_bytes(), b"{a:1}\0\0\0"].concat();
        let bundle = Bundle(vec!["{a:1}".to_owned()]);
        for (before, after) in [
            ([&hardware[..], &[0; 4]].concat(), [&hardware[..], &comment, &[0; 4]].concat()),
            (Vec::new(), [&comment[..], &[0; 4]].concat()),
        ] {
            let mut bytes = header(&before);
            bundle.insert(&mut bytes);
            assert_eq!(bytes, header(&after));
        }
        let mut short = vec![1, 2, 3];
        bundle.insert(&mut short);
        assert_eq!(short, [1, 2, 3]);
    }
}
