//! Maps that plugins described as late, and ask for.

use std::sync::{Arc, mpsc};

use polycube_plugin_api::{MapSpec, Refusal};

use super::{Engine, Inbox, Message, send};
use crate::datapath::{CubeMap, new_map};
use crate::plugins::{MakeMap, MapCopy};
use crate::topology::CubeName;
use crate::wiring::{MapDescription, MapId};

/// A map that a plugin asks for.
pub(super) struct Wish {
    cube: CubeName,
    spec: MapSpec,
    /// The map, once the plugin's thread has made it, and what it was made from.
    made: Option<(Arc<MapDescription>, CubeMap)>,
    answer: mpsc::Sender<Result<LateMap, Refusal>>,
}

enum LateMap {
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
            send(&inbox, Message::LateMap(Wish { cube: cube.clone(), spec: spec.clone(), made, answer }));
            taken.recv().unwrap_or_else(|_| Err(Refusal::failed("the daemon is shutting down")))
        };
        let mut made = None;
        loop {
            match ask(made)? {
                LateMap::There(map) => return Ok(map),
                // Once more if the description has changed by then.
                LateMap::ToMake(id, description) => {
                    let map = new_map(&id, &description).map_err(|error| Refusal::failed(error.to_string()))?;
                    made = Some((description, map));
                }
            }
        }
    })
}

impl Engine {
    /// Takes what was made if the datapath in force describes it and there is no such map, and answers what there is then.
    pub(super) fn late_map(&mut self, Wish { cube, spec, made, answer }: Wish) {
        let taken =
            made.map_or(Ok(()), |(described, map)| self.reconciler.take_late_map(&cube, &spec, (&described, map)));
        let there = taken.and_then(|()| self.reconciler.late_map(&cube, &spec));
        let there = there.map_err(|problem| Refusal::failed(problem.message)).and_then(|there| match there {
            (id, description, None) => Ok(LateMap::ToMake(id.clone(), Arc::clone(description))),
            (_, _, Some(map)) => MapCopy::of(&spec.name, map, true)
                .map(LateMap::There)
                .map_err(|error| Refusal::failed(format!("cannot pass on the map: {error}"))),
        });
        // The plugin may have given up.
        drop(answer.send(there));
    }
}
