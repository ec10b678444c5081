//! Documents that people write, in YAML or JSON.
//!
//! A document has one meaning or none: a key that is given twice, a second document, a merge key, a tag and an alias
//! that stands for more than a few megabytes are refused, with line and column. It keeps where each value was written,
//! so a mistake that is only found later still has a line: [`Document::place`].
//!
//! Plain words of YAML are what YAML 1.2 takes them for, and never a truth value by surprise: `no` and `off` are texts.
//! A number is one that JSON would write in the same way, so `007` and `0x1f` are texts too, as on the command line.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod error;
mod json;
mod merge;
mod place;
#[cfg(test)]
mod tests;
mod yaml;

use serde_json::Value;

pub use self::error::{Language, ParseError, Reason};
pub use self::merge::{MergeError, merge};
use self::place::Node;
pub use self::place::Place;

/// What was written, and where.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// What it says; null where nothing is written.
    pub value: Value,
    /// `None` where the places are not known.
    places: Option<Node>,
}

impl Document {
    /// Reads JSON, or else YAML.
    ///
    /// # Errors
    /// The first mistake.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let is_json = text.trim_start().starts_with(['{', '[']);
        let yaml = yaml::parse(text);
        if !is_json {
            let (value, places) = yaml?;
            return Ok(Self { value, places: Some(places) });
        }
        // YAML has most of JSON, but neither its surrogates nor all of its indentation, so JSON is read as JSON.
        match (json::parse(text), yaml) {
            (Ok(value), Ok((same, places))) if same == value => Ok(Self { value, places: Some(places) }),
            (Err(error), _) | (_, Err(error)) if error.is_about_meaning() => Err(error),
            (Ok(value), _) => Ok(Self { value, places: None }),
            (Err(_), Ok((value, places))) => Ok(Self { value, places: Some(places) }),
            (Err(error), Err(_)) => Err(error),
        }
    }

    /// Where the node at `path` was written, or the last one on the way that there is. Words are separated by slashes; an
    /// entry of a list is called by its `name`, another text of its own, or its number.
    #[must_use]
    pub fn place(&self, path: &str) -> Option<Place> {
        let places = self.places.as_ref()?;
        Some(places.find(&self.value, path).unwrap_or(places.place))
    }
}
