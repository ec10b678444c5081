//! The plugins' side of cubes, as far as the reconciler knows it.

use std::collections::BTreeSet;
use std::io;

use polycube_plugin_api::Level;

use crate::datapath::CubeMap;
use crate::plugins::{Failure, Instances, LineMaps, MapCopy};
use crate::problem::Problem;
use crate::registry::Registry;
use crate::topology::{Cube, CubeName, LogLevel};
use crate::wiring::CubeDatapath;

/// A map, as a plugin gets it.
pub(crate) struct Handed<'a, Map> {
    pub name: &'a str,
    pub map: &'a Map,
    /// Whether this change made it: it is empty, and no program that packets pass has it.
    pub is_new: bool,
}

/// Calls of plugins. `Map` is what the kernel side has of a map.
pub(crate) trait Cubes<Map> {
    /// Reserves these cubes for a change: until [`Cubes::release`], nothing else calls their plugins. Cubes that do not
    /// exist yet are skipped.
    ///
    /// # Errors
    /// The cubes whose plugins are busy; then none is reserved.
    fn claim(&mut self, cubes: &BTreeSet<CubeName>) -> Result<(), BTreeSet<CubeName>>;
    fn release(&mut self);

    /// Creates the plugin's side of a cube.
    ///
    /// # Errors
    /// The plugin's reason.
    fn create(&mut self, name: &CubeName, cube: &Cube, registry: &Registry) -> Result<(), Problem>;
    /// Creates an instance with the code that `registry` has now, beside the one that the cube has. The calls of the change
    /// are for this one, and [`Cubes::commit`] puts it in the other's place.
    ///
    /// # Errors
    /// The plugin's reason.
    fn renew(&mut self, name: &CubeName, cube: &Cube, registry: &Registry) -> Result<(), Problem>;
    /// Drops what [`Cubes::renew`] made.
    fn forget_renewed(&mut self, name: &CubeName);
    fn remove(&mut self, name: &CubeName);
    /// Has the plugins of removed cubes finish.
    fn drop_removed(&mut self);
    /// Why the plugin of a cube is not called any more.
    fn failure(&self, name: &CubeName) -> Option<String>;

    /// Asks what to load for `request`, which is the JSON text of a `Wanted`.
    ///
    /// # Errors
    /// The plugin's reason.
    fn datapath(&mut self, name: &CubeName, request: &str) -> Result<CubeDatapath, Problem>;
    /// Hands over the maps. No packet passes the new programs yet.
    ///
    /// # Errors
    /// The plugin's reason.
    fn prepare(&mut self, name: &CubeName, request: &str, maps: &[Handed<'_, Map>]) -> Result<(), Problem>;
    fn abort(&mut self, name: &CubeName);
    fn commit(&mut self, name: &CubeName);

    fn set_level(&mut self, name: &CubeName, level: LogLevel);
    /// Whether the cube's `loglevel` lets a line about it pass.
    fn admits(&self, name: &CubeName, level: Level) -> bool;
}

impl Cubes<CubeMap> for Instances {
    fn claim(&mut self, cubes: &BTreeSet<CubeName>) -> Result<(), BTreeSet<CubeName>> {
        self.claim(cubes)
    }

    fn release(&mut self) {
        self.release();
    }

    fn create(&mut self, name: &CubeName, cube: &Cube, registry: &Registry) -> Result<(), Problem> {
        let service = registry.service(&cube.service)?;
        self.create(name, cube, &service.plugin).map_err(|failure| Problem::from_plugin(name.as_str(), failure.into()))
    }

    fn renew(&mut self, name: &CubeName, cube: &Cube, registry: &Registry) -> Result<(), Problem> {
        let service = registry.service(&cube.service)?;
        self.renew(name, cube, &service.plugin).map_err(|failure| refused(name, failure, Code::New))
    }

    fn forget_renewed(&mut self, name: &CubeName) {
        self.forget_renewed(name);
    }

    fn remove(&mut self, name: &CubeName) {
        self.remove(name);
    }

    fn drop_removed(&mut self) {
        self.drop_removed();
    }

    fn failure(&self, name: &CubeName) -> Option<String> {
        self.called(name)?.failure().map(str::to_owned)
    }

    fn datapath(&mut self, name: &CubeName, request: &str) -> Result<CubeDatapath, Problem> {
        self.datapath(name, request).map_err(|failure| refused(name, failure, self.code(name)))
    }

    fn prepare(&mut self, name: &CubeName, request: &str, maps: &[Handed<'_, CubeMap>]) -> Result<(), Problem> {
        let copies: io::Result<Vec<MapCopy>> =
            maps.iter().map(|Handed { name, map, is_new }| MapCopy::of(name, map, *is_new)).collect();
        let copies = copies
            .map_err(|error| Problem::failed(name.as_str(), format!("cannot copy the descriptor of a map: {error}")))?;
        let listed: Vec<_> = maps.iter().map(|Handed { name, map, .. }| (*name, *map)).collect();
        let lines = LineMaps::among(&listed)
            .map_err(|error| Problem::failed(name.as_str(), format!("cannot copy the descriptor of a map: {error}")))?;
        if let Some(instance) = self.called(name) {
            instance.prepare_lines(lines);
        }
        self.prepare(name, request, copies).map_err(|failure| refused(name, failure, self.code(name)))
    }

    fn abort(&mut self, name: &CubeName) {
        if let Some(instance) = self.called(name) {
            instance.prepare_lines(None);
        }
        let aborted = self.abort(name);
        report(name, "undone", aborted);
    }

    fn commit(&mut self, name: &CubeName) {
        let committed = self.commit(name);
        report(name, "made", committed);
    }

    fn set_level(&mut self, name: &CubeName, level: LogLevel) {
        if let Some(instance) = self.called(name) {
            instance.set_level(level);
        }
    }

    fn admits(&self, name: &CubeName, level: Level) -> bool {
        self.get(name).is_some_and(|instance| instance.admits(level))
    }
}

/// Whose failure it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code {
    Running,
    /// What would replace the code that runs, and is dropped.
    New,
}

impl Instances {
    fn code(&self, name: &CubeName) -> Code {
        if self.is_renewed(name) { Code::New } else { Code::Running }
    }
}

fn refused(name: &CubeName, failure: Failure, code: Code) -> Problem {
    match failure {
        Failure::Panicked(why) | Failure::NotCreated(why) if code == Code::New => {
            Problem::failed(name.as_str(), format!("it {why}"))
        }
        other => Problem::from_plugin(name.as_str(), other.into()),
    }
}

fn report(cube: &CubeName, what: &str, result: Result<(), Failure>) {
    // A panic is already logged.
    if let Err(failure) = result
        && !matches!(failure, Failure::Panicked(_))
    {
        tracing::error!(%cube, %failure, "a change is {what} in the kernel and not in the plugin");
    }
}
