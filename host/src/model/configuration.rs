//! A whole configuration as something to ask for.

use serde_json::Value;

/// A configuration to bring about.
#[derive(Clone, Debug)]
pub(crate) struct Apply {
    pub document: Value,
    pub others: Others,
    pub absent: Absent,
    pub mode: Mode,
}

/// What becomes of what the document does not mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Others {
    Stay,
    Go,
}

/// What becomes of a netdev that is named and does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It was probably misspelt.
    Refused,
    /// It will come: the host starts.
    Awaited,
}

/// Whether a configuration is brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    CarryOut,
    /// Only what would change is wanted.
    Compare,
}
