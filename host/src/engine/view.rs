//! What readers see.

use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{Deferred, Model, Unrestored};
use crate::netdev::Table;
use crate::plugins::{Instance, Instances};
use crate::reconcile::{Live, Reconciler};
use crate::registry::Registry;
use crate::topology::{CubeName, Topology};
use crate::wiring::Netdevs;

/// What is in force: what readers see. A copy costs nothing, and a request keeps the one that it took.
#[derive(Clone)]
pub(crate) struct View {
    pub topology: Topology,
    pub registry: Registry,
    pub deferred: Deferred,
    /// Those that are wired.
    pub netdevs: Netdevs,
    /// Those that exist, with their states.
    pub present: Table,
    pub instances: OrdMap<CubeName, Arc<Instance>>,
    pub unrestored: OrdMap<CubeName, Arc<Unrestored>>,
}

impl View {
    /// What is wanted, as it is in force.
    pub(crate) fn model(&self) -> Model {
        let Self { topology, registry, deferred, unrestored, .. } = self.clone();
        Model { topology, registry, deferred, unrestored }
    }
}

pub(super) fn view(reconciler: &Reconciler<Live, Instances>, present: &Table) -> View {
    let Model { topology, registry, deferred, unrestored } = reconciler.model().clone();
    let (netdevs, instances) = (reconciler.netdevs().clone(), reconciler.cubes().all().clone());
    View { topology, registry, deferred, netdevs, present: present.clone(), instances, unrestored }
}
