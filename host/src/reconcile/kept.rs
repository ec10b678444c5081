//! What outlives a daemon: what is left when it ends, and what becomes of it when the next one has started.

use std::sync::Arc;

use super::{Cubes, Kernel, Reconciler};
use crate::topology::CubeName;

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Removes what an earlier daemon left and nothing asks for. What belongs to cubes that wait to be brought back stays as
    /// it is, and goes on.
    pub(crate) fn release_found(&mut self) {
        if !self.kernel.has_found() {
            return;
        }
        let (_, mut kept) = self.model.deferred.subjects();
        kept.extend(self.model.unrestored.keys().cloned());
        self.kernel.release_found(&kept);
    }

    /// Whether anything of an earlier daemon is left.
    pub(crate) fn has_found(&self) -> bool {
        self.kernel.has_found()
    }

    /// Says why a cube still cannot be brought back.
    pub(crate) fn set_reason(&mut self, name: &CubeName, reason: String) {
        if let Some(unrestored) = self.model.unrestored.get_mut(name).filter(|unrestored| unrestored.reason != reason) {
            tracing::error!(cube = %name, "still cannot be brought back: {reason}");
            Arc::make_mut(unrestored).reason = reason;
        }
    }

    /// Has the plugins finish, and leaves the kernel as it is.
    pub(crate) fn leave(&mut self) {
        for (name, _) in self.model.topology.cubes() {
            self.cubes.remove(name);
        }
        self.cubes.drop_removed();
    }
}
