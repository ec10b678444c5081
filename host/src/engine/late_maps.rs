//! Maps that plugins described as late, and ask for.

use std::sync::{Arc, mpsc};

use polycube_plugin_api::{MapSpec, Refusal};

use super::{Engine, Inbox, Message, send};
use crate::datapath::{CubeMap, new_map};
use crate::plugins::{MakeMap, MapCopy};
use crate::problem::Problem;
use crate::topology::CubeName;
use crate::wiring::{MapDescription, MapId};

/// A map that a plugin asks for.
pub(super) enum LateMap {
    There(MapCopy),
    ToMake(MapId, Arc<MapDescription>),
}

/// The way for the plugin of `cube` to its late maps. The plugin's thread makes them, so that the engine can do something
/// else meanwhile.
pub(super) fn way(inbox: &Inbox, cube: &CubeName) -> MakeMap {
    let (inbox, cube) = (inbox.clone(), cube.clone());
    Box::new(move |spec| {
        let ask = |made| {
            let (answer, taken) = mpsc::channel();
            send(&inbox, Message::LateMap { cube: cube.clone(), spec: spec.clone(), made, answer });
            taken.recv().unwrap_or_else(|_| Err(Refusal::failed("the daemon is shutting down")))
        };
        let mut made = None;
        loop {
            match ask(made)? {
                LateMap::There(map) => return Ok(map),
                LateMap::ToMake(id, description) => {
                    let map = new_map(&id, &description).map_err(|error| Refusal::failed(error.to_string()))?;
                    made = Some(map);
                }
            }
        }
    })
}

impl Engine {
    /// Takes `made` for the map that a plugin asks for, if it is given. Then there is one.
    pub(super) fn late_map(
        &mut self,
        cube: &CubeName,
        spec: &MapSpec,
        made: Option<CubeMap>,
    ) -> Result<LateMap, Refusal> {
        let refused = |problem: Problem| Refusal::failed(problem.message);
        if let Some(map) = made {
            self.reconciler.take_late_map(cube, spec, map).map_err(refused)?;
        }
        match self.reconciler.late_map(cube, spec).map_err(refused)? {
            (id, description, None) => Ok(LateMap::ToMake(id.clone(), Arc::clone(description))),
            (_, _, Some(map)) => {
                let copy = MapCopy::of(&spec.name, map, true);
                copy.map(LateMap::There).map_err(|error| Refusal::failed(format!("cannot pass on the map: {error}")))
            }
        }
    }
}
