//! What readers see.

use std::sync::Arc;

use imbl::OrdMap;

use crate::model::{Deferred, Model, Unrestored};
use crate::netdev::Table;
use crate::plugins::{Instance, Instances};
use crate::reconcile::{Live, Reconciler};
use crate::registry::Registry;
use crate::topology::{CubeName, Topology};
use crate::wiring::{Datapaths, Netdevs};

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
    /// What the cubes have loaded.
    pub datapaths: Datapaths,
}

impl View {
    /// Why a cube does nothing at one of its points, where its plugin leaves that out.
    pub(crate) fn left_out(&self, cube: &CubeName, point: u32) -> Option<&str> {
        let left_out = self.datapaths.get(cube)?.left_out.iter().find(|left_out| left_out.point == point)?;
        Some(&left_out.reason)
    }

    /// What is wanted, as it is in force.
    pub(crate) fn model(&self) -> Model {
        let Self { topology, registry, deferred, unrestored, .. } = self.clone();
        Model { topology, registry, deferred, unrestored }
    }
}

pub(super) fn view(reconciler: &Reconciler<Live, Instances>, present: &Table) -> View {
    let Model { topology, registry, deferred, unrestored } = reconciler.model().clone();
    let (netdevs, instances) = (reconciler.netdevs().clone(), reconciler.cubes().all().clone());
    let (present, datapaths) = (present.clone(), reconciler.datapaths().clone());
    View { topology, registry, deferred, netdevs, present, instances, unrestored, datapaths }
}
