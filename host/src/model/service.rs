//! Services that come and go while the daemon runs.

use std::sync::Arc;

use super::change::Draft;
use super::port::{PortConfig, create};
use crate::problem::{Problem, Problems};
use crate::registry::{Missing, Service};
use crate::schema::Source;
use crate::topology::CubeName;

impl Draft<'_> {
    /// Adds a service, which has to be called `name`.
    pub(super) fn add_service(&mut self, name: &str, service: Arc<Service>) -> Result<(), Problems> {
        let refused = |member: &str, why: String| Problem::bad(format!("services/{member}"), why);
        if self.model.registry.service(name).is_ok() {
            return Err(Problem::exists("services/name", format!("service `{name}` is already loaded")).into());
        }
        if self.model.topology.get(name).is_some() {
            return Err(refused("name", format!("`{name}` is the name of a cube")).into());
        }
        CubeName::parse(name).map_err(|problem| problem.under("services/name"))?;
        if let Some(problem) = self.model.still_waits(name) {
            return Err(problem.into());
        }
        let plugin = &service.plugin;
        if plugin.service.name != name {
            let found = &plugin.service.name;
            return Err(refused("name", format!("{} is service `{found}`, not `{name}`", plugin.path.display())).into());
        }
        self.model.registry.add(service).map_err(|error| refused("uri", error.to_string()))?;
        Ok(())
    }

    /// Puts other code in the place of service `name`, if all of its cubes fit it.
    pub(super) fn reload_service(&mut self, name: &str, service: Arc<Service>) -> Result<(), Problems> {
        let before = self.model.registry.service(name)?.model.service.kind;
        let refused = |why: String| Problem::bad("services/uri", why);
        let (file, found) = (service.plugin.path.display(), &service.model.service);
        if found.name != name {
            return Err(refused(format!("{file} is service `{}`, not `{name}`", found.name)).into());
        }
        if found.kind != before {
            let [now, was] = [found.kind, before].map(|kind| format!("{kind:?}").to_lowercase());
            return Err(refused(format!("{file} makes service `{name}` {now}, and its cubes are {was}")).into());
        }
        let mut problems = Vec::new();
        let cubes = self.model.topology.cubes().filter(|(_, cube)| cube.service == name);
        let cubes: Vec<_> = cubes.map(|(cube, found)| (cube.clone(), Arc::clone(found))).collect();
        for (cube, found) in cubes {
            let refused = |what: String, wrong: Problems| {
                let why: Vec<String> = wrong.0.iter().map(|one| format!("{}: {}", one.path, one.message)).collect();
                Problem::bad(cube.as_str(), format!("{file} does not take {what}: {}", why.join("; ")))
            };
            match service.model.create(found.config.clone()) {
                Ok(same) if same == found.config => {}
                // Settings that are new have their defaults.
                Ok(completed) => self.model.topology.cube_mut(cube.as_str())?.config = completed,
                Err(wrong) => problems.push(refused(format!("the configuration of cube `{cube}`"), wrong)),
            }
            for (port, there) in found.ports() {
                match create(service.port()?, Source::Written, there.settings.clone()) {
                    Ok(PortConfig { settings, .. }) if settings == there.settings => {}
                    Ok(PortConfig { settings, .. }) => {
                        self.model.topology.set_settings(cube.as_str(), port.as_str(), settings)?;
                    }
                    Err(wrong) => problems.push(refused(format!("the settings of port {cube}:{port}"), wrong)),
                }
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        self.model.registry.replace(service).map_err(|error| refused(error.to_string()))?;
        Ok(())
    }

    /// Removes a service. Its code stays in memory: Rust libraries are not made to be unloaded.
    pub(super) fn remove_service(&mut self, name: &str) -> Result<(), Problems> {
        let is_missing = self.model.registry.missing().any(|(missing, _)| missing == name);
        if !is_missing {
            self.model.registry.service(name)?;
        }
        let cubes = self.model.topology.cubes().filter(|(_, cube)| cube.service == name).map(|(cube, _)| cube.as_str());
        let waiting = self.model.unrestored.iter().filter(|(_, waiting)| is_missing && waiting.cube.service == name);
        let cubes: Vec<&str> = cubes.chain(waiting.map(|(cube, _)| cube.as_str())).collect();
        if !cubes.is_empty() {
            let message = format!("service `{name}` has cubes: delete {} first", cubes.join(", "));
            return Err(Problem::invalid(format!("services/{name}"), message).into());
        }
        self.model.registry.forget(name);
        self.model.registry.remove(name);
        Ok(())
    }

    /// Says why a service that is stored still cannot be loaded.
    pub(super) fn miss_service(&mut self, name: &str, why: String) {
        let missing = self.model.registry.missing().find(|(missing, _)| *missing == name);
        let missing = missing.map(|(_, missing)| (missing.uri.clone(), missing.file_type));
        if let Some((uri, file_type)) = missing {
            tracing::error!(service = name, "still cannot be loaded: {why}");
            self.model.registry.miss(name, Missing { uri, file_type, why });
        }
    }
}
