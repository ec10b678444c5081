//! Why a request is refused, as the client reads it.

use std::collections::HashSet;

use polycube_plugin_api::{Refusal, Tag};
use serde::Serialize;

/// RESTCONF's error tags (RFC 8040 section 7), as far as Polycube's clients know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorTag {
    /// A key that is unknown, read-only or not to be changed any more.
    InvalidValue,
    /// A value of the wrong type, range or form.
    BadAttribute,
    /// A key without which the request makes no sense.
    MissingAttribute,
    /// What is to be created exists.
    DataExists,
    /// What is named does not exist.
    DataMissing,
    /// No such path at all.
    UnknownElement,
    /// The path is there and takes no such method.
    OperationNotSupported,
    /// What is to be changed is not as the client says.
    #[serde(rename = "operation-failed")]
    PreconditionFailed,
    /// The kernel, a plugin or a file said no.
    OperationFailed,
}

/// One reason and the place that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "error-tag")]
    pub tag: ErrorTag,
    /// Path below `/polycube/v1/`, without slashes at its ends.
    #[serde(rename = "error-path")]
    pub path: String,
    #[serde(rename = "error-message")]
    pub message: String,
}

impl Problem {
    pub fn new(tag: ErrorTag, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { tag, path: path.into(), message: message.into() }
    }

    pub fn missing(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::DataMissing, path, message)
    }

    pub fn exists(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::DataExists, path, message)
    }

    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::InvalidValue, path, message)
    }

    pub fn bad(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::BadAttribute, path, message)
    }

    pub fn failed(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::OperationFailed, path, message)
    }

    /// A plugin's refusal, about a node below `cube`.
    pub fn from_plugin(cube: &str, refusal: Refusal) -> Self {
        let tag = match refusal.tag {
            Tag::InvalidValue => ErrorTag::BadAttribute,
            Tag::DataMissing => ErrorTag::DataMissing,
            Tag::DataExists => ErrorTag::DataExists,
            Tag::OperationNotSupported => ErrorTag::OperationNotSupported,
            Tag::OperationFailed | Tag::Panic => ErrorTag::OperationFailed,
        };
        Self::new(tag, join(cube, &refusal.path), refusal.message)
    }

    /// The same problem, about `path`: whoever asks knows better where the mistake is than whoever finds it.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same problem, about `path` unless it is about `cube`.
    #[must_use]
    pub fn unless_about(self, cube: &str, path: &str) -> Self {
        if self.path == cube { self } else { self.at(path) }
    }

    /// The same problem, its path seen from one step further up.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.path = join(parent, &self.path);
        self
    }
}

fn join(parent: &str, child: &str) -> String {
    match (parent, child) {
        ("", path) | (path, "") => path.to_owned(),
        (parent, child) => format!("{parent}/{child}"),
    }
}

/// Everything that is wrong with one request; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Problems {
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        Self(self.0.into_iter().map(|problem| problem.under(parent)).collect())
    }
}

/// Names that a message lists at most: a list can have thousands of entries.
const MOST_TOLD: usize = 32;

/// "; did you mean `x`?" for the nearest of `known`, or their list.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut seen = HashSet::new();
    known.retain(|name| seen.insert(*name));
    // A word can be as long as a request's body, and the distance takes the product of both lengths in time and memory.
    let length = word.chars().count();
    let nearest = known
        .iter()
        .filter(|name| name.chars().count().abs_diff(length) <= 2)
        .map(|name| (strsim::damerau_levenshtein(word, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2.min(name.len() / 2));
    match nearest {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => String::new(),
        None if known.len() > MOST_TOLD => {
            format!("; known: {} and {} more", known[..MOST_TOLD].join(", "), known.len() - MOST_TOLD)
        }
        None => format!("; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn the_nearest_name_is_suggested_or_all_are_told() {
        for (word, told) in
            [("br2", "; did you mean `br1`?"), ("bridge", "; known: br1, sniffer"), ("", "; known: br1, sniffer")]
        {
            assert_eq!(suggestion(word, ["br1", "sniffer"]), told, "{word}");
        }
        assert_eq!(suggestion("setx", ["fdb", "peer", "fdb"]), "; known: fdb, peer", "none is told twice");
        let many: Vec<String> = (0..1000).map(|number| format!("entry{number}")).collect();
        let told = suggestion("y", many.iter().map(String::as_str));
        assert!(told.ends_with(", entry31 and 968 more"), "{told}");
        let long = "x".repeat(1 << 20);
        assert_eq!(suggestion(&long, ["x".repeat(64).as_str()]), format!("; known: {}", "x".repeat(64)));
    }
}
