//! Cubes that go with the stream that they were created for. They are never stored.

use std::time::Duration;

use super::{CubeName, Topology};

/// Whose an ephemeral cube is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ephemeral {
    /// Distinguishes it from a later cube of the same name.
    pub id: u64,
    /// The client, in words.
    pub owner: String,
    /// Since 1970.
    pub since: Duration,
}

impl Topology {
    /// Whether there is an ephemeral cube called `name`.
    pub(crate) fn is_ephemeral(&self, name: &str) -> bool {
        self.get(name).is_some_and(|(_, cube)| cube.ephemeral.is_some())
    }

    /// The names of all ephemeral cubes.
    pub(crate) fn ephemeral(&self) -> Vec<CubeName> {
        let ephemeral = self.cubes().filter(|(_, cube)| cube.ephemeral.is_some());
        ephemeral.map(|(name, _)| name.clone()).collect()
    }
}
