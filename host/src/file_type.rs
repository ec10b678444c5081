//! What a service is made from.

use serde::{Deserialize, Serialize};

/// The types of `services add`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileType {
    /// A library that is a plugin.
    #[default]
    Lib,
    /// An eBPF object with a manifest.
    Object,
}

impl FileType {
    /// The names of all of them.
    pub(crate) const NAMES: [&str; 2] = ["lib", "object"];

    /// The one with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "lib" => Some(Self::Lib),
            "object" => Some(Self::Object),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_stored_as_it_is_given() {
        for name in FileType::NAMES {
            let file_type = FileType::parse(name).unwrap();
            assert_eq!(serde_json::to_value(file_type).unwrap(), name);
        }
        assert_eq!((FileType::parse("grpc"), FileType::default()), (None, FileType::Lib));
    }
}
