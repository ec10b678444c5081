//! Mistakes in what was written.

use std::fmt;

/// The first mistake of a document. As text, the reason and then the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at line {line} column {column}")]
pub struct ParseError {
    /// What the text was read as.
    pub language: Language,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: Reason,
}

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// YAML 1.2.
    Yaml,
    /// RFC 8259.
    Json,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        })
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text does not follow the language's grammar.
    #[error("{0}")]
    Syntax(String),
    /// One of the two values would be lost.
    #[error("`{key}` is given twice{}", first(.first_line))]
    Twice {
        /// The key.
        key: String,
        /// Line of the first one, where it is known.
        first_line: Option<usize>,
    },
    /// Deeper than anything that is meant.
    #[error("values are nested deeper than {0} levels")]
    Depth(usize),
    /// Only texts can be keys.
    #[error("a key is a list or a mapping: write a word")]
    Key,
    /// What the other documents say would be lost.
    #[error("a second document begins: give one")]
    SecondDocument,
    /// YAML 1.1 merges here, and YAML 1.2 does not.
    #[error("`<<` merges nothing here: write the keys out")]
    MergeKey,
    /// A type that a document cannot choose.
    #[error("the tag {0} is not supported: remove it")]
    Tag(String),
    /// An alias within the value that it stands for, or of none.
    #[error("this alias stands for nothing that is complete above it")]
    Alias,
    /// Aliases of aliases that would fill the memory.
    #[error("the aliases of the document stand for more than {} MiB", .0 >> 20)]
    Expansion(usize),
}

fn first(line: &Option<usize>) -> String {
    line.map(|line| format!(", first in line {line}")).unwrap_or_default()
}

impl ParseError {
    /// Whether the text is of the language, and cannot be used all the same.
    pub(crate) fn is_about_meaning(&self) -> bool {
        !matches!(self.reason, Reason::Syntax(_))
    }
}
