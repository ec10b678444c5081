//! What a change of the topology touches.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;

use super::{CubeName, Point, Topology};

/// What two topologies do not have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Cubes that only one of them has, or that are configured differently, their ports and peers included.
    pub cubes: BTreeSet<CubeName>,
    /// Points whose chains differ.
    pub points: BTreeSet<Point>,
}

impl Topology {
    /// Takes as long as there are differences: parts that both share are not looked at.
    pub(crate) fn difference(&self, other: &Self) -> Difference {
        Difference {
            cubes: keys(self.cubes.diff(&other.cubes)).cloned().collect(),
            points: keys(self.chains.diff(&other.chains)).cloned().collect(),
        }
    }
}

/// The keys of what differs between two maps.
pub(crate) fn keys<'a, K: 'a, V: 'a>(
    items: impl Iterator<Item = DiffItem<'a, 'a, K, V>>,
) -> impl Iterator<Item = &'a K> {
    items.map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key,
    })
}
