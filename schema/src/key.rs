//! What identifies the entries of a list: one member of them or several, in the order in which paths have their values.
//!
//! Whatever looks for an entry does it here: a path's words, a body's entry that belongs to one that exists, an entry of
//! the state that belongs to one of the configuration.

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::scalar::{scalar, word};
use crate::problem::{ErrorTag, Problem};

/// The key of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key<'a> {
    /// Schema of the list.
    list: &'a Value,
}

impl<'a> Key<'a> {
    /// The key that the schema of a list declares: the name of a member, or an array of such names.
    pub fn of(list: &'a Value) -> Option<Self> {
        let is_key = match list.get(keyword::LIST_KEY)? {
            Value::String(_) => true,
            Value::Array(names) => !names.is_empty() && names.iter().all(Value::is_string),
            _ => false,
        };
        is_key.then_some(Self { list })
    }

    /// The members that it is made of, in the order in which paths have them.
    pub fn names(self) -> impl Iterator<Item = &'a str> + Clone {
        let declared = &self.list[keyword::LIST_KEY];
        let single = declared.as_str().into_iter();
        single.chain(declared.as_array().into_iter().flatten().filter_map(Value::as_str))
    }

    /// How many members it is made of, and words it has in a path.
    pub fn words(self) -> usize {
        self.names().count()
    }

    /// Whether it is declared as an array of members.
    pub fn is_composite(self) -> bool {
        self.list[keyword::LIST_KEY].is_array()
    }

    pub fn has(self, member: &str) -> bool {
        self.names().any(|name| name == member)
    }

    /// Schema of an entry.
    pub fn items(self) -> &'a Value {
        &self.list["items"]
    }

    /// Schema of one of its members.
    pub fn member(self, name: &str) -> &'a Value {
        &self.items()["properties"][name]
    }

    /// The values that words of a path mean, as entries have them. Fewer words are the first of them.
    pub fn read(self, words: &[String]) -> Vec<Value> {
        self.names().zip(words).map(|(name, word)| scalar(self.member(name), word.as_str().into())).collect()
    }

    /// Whether an entry's key has these values, or begins with them.
    pub fn fits(self, entry: &Value, values: &[Value]) -> bool {
        self.names().zip(values).all(|(name, value)| entry.get(name) == Some(value))
    }

    /// Where the entry with these values is.
    pub fn find(self, entries: &[Value], values: &[Value]) -> Option<usize> {
        entries.iter().position(|entry| self.fits(entry, values))
    }

    /// Where the entry is that has the same key as `like`; `None` if that has no whole key.
    pub fn find_like(self, entries: &[Value], like: &Value) -> Option<usize> {
        let values: Option<Vec<Value>> = self.names().map(|name| like.get(name).cloned()).collect();
        self.find(entries, &values?)
    }

    /// An entry's key as the words of a path; `None` if a member is missing, or cannot be a word.
    pub fn of_entry(self, entry: &Value) -> Option<Vec<String>> {
        self.names().map(|name| word(entry.get(name)?)).collect()
    }

    /// The same of an entry in a body, whose values may be written in another way.
    pub fn of_given(self, entry: &Value) -> Option<Vec<String>> {
        self.names().map(|name| word(&scalar(self.member(name), entry.get(name)?.clone()))).collect()
    }

    /// The problem with a path that has only the first `given` words of the key.
    pub fn incomplete(self, given: usize) -> Problem {
        let missing: Vec<String> = self.names().skip(given).map(|name| format!("`{name}`")).collect();
        let verb = if missing.len() == 1 { "is" } else { "are" };
        let all: Vec<&str> = self.names().collect();
        let message = format!("{} {verb} missing: an entry is named by {}", missing.join(" and "), all.join(", "));
        Problem::new(ErrorTag::MissingAttribute, "", message)
    }

    /// The problem with values that cannot be those of a key of several members: a word is missing before them, say.
    pub fn misfit(self, values: &[Value]) -> Option<Problem> {
        let misfit = |name: &str, value: &Value| {
            let member = self.member(name);
            let options = member["enum"].as_array();
            if let Some(options) = options.filter(|options| !options.contains(value)) {
                let options: Vec<String> = options.iter().filter_map(word).collect();
                return Some(format!("is not one of {}", options.join(", ")));
            }
            let kind = member["type"].as_str().filter(|kind| *kind != "string" && value.is_string())?;
            Some(format!("is not of type \"{kind}\""))
        };
        let mut members = self.names().zip(values).filter(|_| self.is_composite());
        let (name, value, why) = members.find_map(|(name, value)| Some((name, value, misfit(name, value)?)))?;
        Some(Problem::bad(name, format!("{name}: {value} {why}")))
    }

    /// The problem with an empty text in a key of several members: no path can have it.
    pub fn empty(self, words: &[String]) -> Option<Problem> {
        let (name, _) = self.names().zip(words).find(|(_, word)| self.is_composite() && word.is_empty())?;
        Some(Problem::bad(name, format!("`{name}` is empty, and it is part of the entry's name")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn list(key: &Value) -> Value {
        let members = json!({
            "vip": { "type": "string" },
            "vport": { "type": "integer" },
            "proto": { "type": "string", "enum": ["TCP", "UDP"] },
        });
        json!({ "type": "array", "x-list-key": key, "items": { "type": "object", "properties": members } })
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn a_key_is_one_name_or_several() {
        for (declared, names, is_composite) in [
            (json!("vip"), Some("vip"), false),
            (json!(["vip"]), Some("vip"), true),
            (json!(["vip", "vport", "proto"]), Some("vip vport proto"), true),
            (json!([]), None, false),
            (json!(["vip", 5]), None, false),
            (json!(5), None, false),
            (Value::Null, None, false),
        ] {
            let list = list(&declared);
            let key = Key::of(&list);
            let found = key.map(|key| key.names().collect::<Vec<_>>().join(" "));
            assert_eq!(found.as_deref(), names, "{declared}");
            assert_eq!(key.is_some_and(Key::is_composite), is_composite, "{declared}");
            assert_eq!(key.map_or(0, Key::words), names.map_or(0, |names| names.split(' ').count()), "{declared}");
        }
    }

    #[test]
    fn words_mean_values_of_the_members_types() {
        let list = list(&json!(["vip", "vport", "proto"]));
        let key = Key::of(&list).unwrap();
        assert_eq!(key.read(&words(&["10.0.0.1", "080", "tcp"])), [json!("10.0.0.1"), json!(80), json!("TCP")]);
        assert_eq!(key.read(&words(&["80", "x"])), [json!("80"), json!("x")], "what does not fit stays as it is");
        let entry = json!({ "proto": "tcp", "vip": "10.0.0.1", "vport": "80" });
        assert_eq!(key.of_given(&entry), Some(words(&["10.0.0.1", "80", "TCP"])));
        assert_eq!(key.of_entry(&json!({ "vip": "a", "vport": 80 })), None);
        assert_eq!(key.of_entry(&json!({ "vip": "a", "vport": null, "proto": "TCP" })), None);
    }

    #[test]
    fn an_entry_is_found_by_all_members_together() {
        let list = list(&json!(["vip", "vport", "proto"]));
        let key = Key::of(&list).unwrap();
        let entry = |vip: &str, vport: u16, proto: &str| json!({ "vip": vip, "vport": vport, "proto": proto });
        let entries = [entry("a", 80, "TCP"), entry("a", 80, "UDP"), entry("b", 80, "TCP"), entry("a", 81, "TCP")];
        for (at, one) in entries.iter().enumerate() {
            assert_eq!(key.find(&entries, &key.read(&key.of_entry(one).unwrap())), Some(at));
            assert_eq!(key.find_like(&entries, one), Some(at));
        }
        assert_eq!(key.find(&entries, &key.read(&words(&["b", "81", "TCP"]))), None);
        assert_eq!(key.find_like(&entries, &json!({ "vip": "a", "vport": 80 })), None, "the key is not whole");
        let begins = entries.iter().filter(|one| key.fits(one, &[json!("a"), json!(80)]));
        assert_eq!(begins.count(), 2);
    }

    #[test]
    fn a_word_that_its_member_cannot_have_is_named() {
        let list = list(&json!(["vip", "vport", "proto"]));
        let key = Key::of(&list).unwrap();
        let misfit = |given: &[&str]| key.misfit(&key.read(&words(given))).map(|problem| problem.message);
        assert_eq!(misfit(&["a", "80", "tcp"]), None);
        assert_eq!(misfit(&["a", "80", "name"]).as_deref(), Some("proto: \"name\" is not one of TCP, UDP"));
        assert_eq!(misfit(&["80", "a", "TCP"]).as_deref(), Some("vport: \"a\" is not of type \"integer\""));
    }

    #[test]
    fn what_is_missing_is_named() {
        let list = list(&json!(["vip", "vport", "proto"]));
        let key = Key::of(&list).unwrap();
        assert_eq!(key.incomplete(2).message, "`proto` is missing: an entry is named by vip, vport, proto");
        let message = "`vport` and `proto` are missing: an entry is named by vip, vport, proto";
        assert_eq!(key.incomplete(1).message, message);
        assert_eq!(key.empty(&words(&["a", "", "TCP"])).map(|problem| problem.path).as_deref(), Some("vport"));
        assert_eq!(key.empty(&words(&["a", "1", "TCP"])), None);
    }
}
