//! Maps that plugins described as late, and ask for.

use std::sync::mpsc;

use polycube_plugin_api::{MapSpec, Refusal};

use super::{Engine, Inbox, Message, send};
use crate::plugins::{MakeMap, MapCopy};
use crate::topology::CubeName;

/// The way for the plugin of `cube` to ask the engine, and to wait for its answer.
pub(super) fn way(inbox: &Inbox, cube: &CubeName) -> MakeMap {
    let (inbox, cube) = (inbox.clone(), cube.clone());
    Box::new(move |spec| {
        let (answer, made) = mpsc::channel();
        send(&inbox, Message::MakeMap { cube: cube.clone(), spec, answer });
        made.recv().unwrap_or_else(|_| Err(Refusal::failed("the daemon is shutting down")))
    })
}

impl Engine {
    /// Makes the map that a plugin asks for.
    pub(super) fn make_map(&mut self, cube: &CubeName, spec: &MapSpec) -> Result<MapCopy, Refusal> {
        let map = self.reconciler.make_late_map(cube, spec).map_err(|problem| Refusal::failed(problem.message))?;
        MapCopy::of(&spec.name, map, true).map_err(|error| Refusal::failed(format!("cannot pass on the map: {error}")))
    }
}
