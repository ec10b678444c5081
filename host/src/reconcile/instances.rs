//! Instances of new cubes, and of cubes whose service is loaded again: these get theirs beside the one that they have. And
//! the maps that instances ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use polycube_plugin_api::MapSpec;

use super::{Attempt, Cubes, Kernel, Reconciler, Refused};
use crate::model::{Model, Origin};
use crate::problem::{Problem, Problems};
use crate::topology::CubeName;
use crate::wiring::{Datapaths, MapDescription, MapId};

/// A map that is described as late, and the map itself if it is there.
type LateMap<'a, M> = (&'a MapId, &'a Arc<MapDescription>, Option<&'a M>);

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Creates the instances of cubes that are new.
    pub(super) fn create(
        &mut self,
        attempt: &mut Attempt,
        changed: &BTreeSet<CubeName>,
        origin: Origin,
    ) -> Result<(), Refused> {
        let mut problems = Vec::new();
        for name in changed.iter().filter(|name| self.model.topology.get(name.as_str()).is_none()) {
            let Some((name, cube)) = attempt.model.topology.get(name.as_str()) else { continue };
            match self.cubes.create(name, cube, &attempt.model.registry) {
                Ok(()) => {
                    attempt.created.push(name.clone());
                    #[cfg(debug_assertions)]
                    crate::fault::step();
                }
                Err(problem) if origin == Origin::Restore => attempt.model.set_aside(&name.clone(), &problem.message),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refused::Problems(Problems(problems))) }
    }

    /// The cubes whose service has other code in `model`.
    pub(super) fn renewed(&self, model: &Model) -> BTreeSet<CubeName> {
        let services: BTreeSet<&str> = self.model.registry.replaced(&model.registry).collect();
        if services.is_empty() {
            return BTreeSet::new();
        }
        let cubes = model.topology.cubes().filter(|(_, cube)| services.contains(cube.service.as_str()));
        cubes.map(|(name, _)| name.clone()).filter(|name| self.model.topology.get(name.as_str()).is_some()).collect()
    }

    /// Creates instances with the new code, beside those that the renewed cubes have.
    pub(super) fn renew(&mut self, attempt: &Attempt) -> Result<(), Problem> {
        for name in &attempt.renewed {
            let Some((_, cube)) = attempt.model.topology.get(name.as_str()) else { continue };
            let renewed = self.cubes.renew(name, cube, &attempt.model.registry);
            renewed.map_err(|problem| cannot_go_on(name, problem))?;
            #[cfg(debug_assertions)]
            crate::fault::step();
        }
        Ok(())
    }

    /// A map that the datapath of `cube` in force describes as late.
    ///
    /// # Errors
    /// There is no such description.
    pub(crate) fn late_map(&self, cube: &CubeName, spec: &MapSpec) -> Result<LateMap<'_, K::Map>, Problem> {
        let missing = || Problem::failed(cube.as_str(), format!("nothing describes a late map `{}`", spec.name));
        let is_it = |id: &&MapId| spec.late && self.wiring.maps[*id].spec == *spec;
        let id = self.wiring.maps_of(cube).find(is_it).ok_or_else(missing)?;
        Ok((id, &self.wiring.maps[id], self.kernel.map(id)))
    }

    /// Takes such a map, unless there is one by now, or it was made from another description.
    ///
    /// # Errors
    /// There is no such description any more, or what the kernel says.
    pub(crate) fn take_late_map(
        &mut self,
        cube: &CubeName,
        spec: &MapSpec,
        (described, map): (&MapDescription, K::Map),
    ) -> Result<(), Problem> {
        let (id, description, there) = self.late_map(cube, spec)?;
        if there.is_some() || **description != *described {
            return Ok(());
        }
        let id = id.clone();
        self.kernel.take_late_map(&id, described, map)
    }

    /// Maps of renewed cubes that are described as before, and that the objects of the new code declare otherwise.
    pub(super) fn unfit_maps(&self, attempt: &Attempt, datapaths: &Datapaths) -> BTreeSet<MapId> {
        let maps = attempt.renewed.iter().flat_map(|cube| self.wiring.maps_of(cube));
        let is_unfit = |id: &&MapId| {
            let Some(datapath) = datapaths.get(&id.cube) else { return false };
            let Some(spec) = datapath.maps.iter().find(|spec| spec.name == id.name) else { return false };
            !self.kernel.fits(id, spec, &datapath.objects)
        };
        maps.filter(is_unfit).cloned().collect()
    }
}

/// Why a service is not loaded again.
pub(super) fn cannot_go_on(cube: &CubeName, mut problem: Problem) -> Problem {
    problem.message = format!("cube `{cube}` cannot go on with the new code: {}", problem.message);
    problem
}
