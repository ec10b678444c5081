//! Cubes with what they say of others. Several are one change: they may refer to each other, whatever their order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::body::{Peer, parents, take};
use super::change::Draft;
use crate::problem::{Problem, Problems};
use crate::topology::CubeName;

/// What a cube's description says about other cubes, which have to exist first.
struct Relations {
    peers: Vec<Peer>,
    /// Points to attach to, each with the path of the member that names it.
    parents: Vec<(String, String)>,
    /// Where in the chains at these points the cube was, counted from the wire, if it was shown.
    positions: BTreeMap<String, u64>,
}

impl Draft<'_> {
    /// Creates cubes with their ports, then sets the ports' peers, and attaches the transparent cubes last.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub(super) fn create_cubes(&mut self, cubes: Vec<Value>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut made = Vec::new();
        for (at, cube) in cubes.into_iter().enumerate() {
            match self.create_unrelated(at, cube) {
                Ok(cube) => made.push(cube),
                Err(more) => problems.extend(more.0),
            }
        }
        // Where a cube is missing, every reference to it would be one more problem.
        if problems.is_empty() {
            for (cube, relations) in &mut made {
                let set = self.set_peers(cube, std::mem::take(&mut relations.peers));
                problems.extend(set.err().into_iter().flat_map(|more| more.0));
            }
            let attachments = made.iter().flat_map(|(cube, Relations { parents, positions, .. })| {
                parents.iter().map(move |parent| (positions.get(&parent.1).copied(), cube, parent))
            });
            let mut attachments: Vec<_> = attachments.collect();
            // Each is attached outermost, so those that were farther from the wire come first.
            attachments.sort_by_key(|(position, ..)| Reverse(position.unwrap_or_default()));
            for (_, cube, parent) in attachments {
                let attached = self.attach_all(cube, std::slice::from_ref(parent));
                problems.extend(attached.err().into_iter().flat_map(|more| more.0));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Creates one, and returns what has to wait for the others.
    fn create_unrelated(&mut self, at: usize, cube: Value) -> Result<(String, Relations), Problems> {
        let path = format!("cubes/{at}");
        let Value::Object(mut cube) = cube else {
            return Err(Problem::bad(path, "a cube is an object with name and service-name").into());
        };
        let (name, service) = match (take(&mut cube, "name", &path), take(&mut cube, "service-name", &path)) {
            (Ok(name), Ok(service)) => (name, service),
            (name, service) => return Err(Problems([name.err(), service.err()].into_iter().flatten().collect())),
        };
        let parents = parents(&mut cube, &name);
        let positions = positions(&cube);
        let of_name = CubeName::parse(&name).err().map(|problem| problem.at(format!("{path}/name")));
        let of_service =
            self.model.registry.service(&service).err().map(|problem| problem.at(format!("{path}/service-name")));
        if of_name.is_some() || of_service.is_some() {
            return Err(Problems(of_name.into_iter().chain(of_service).collect()));
        }
        match (self.create_cube(&service, &name, cube.into()), parents) {
            (Ok(peers), Ok(parents)) => Ok((name, Relations { peers, parents, positions })),
            (created, parents) => {
                let created = created.err().into_iter().flat_map(|problems| problems.0);
                Err(Problems(created.chain(parents.err()).collect()))
            }
        }
    }
}

/// Where a cube was in the chains of its points, as it was shown.
fn positions(cube: &Map<String, Value>) -> BTreeMap<String, u64> {
    let points = cube.get("points").and_then(Value::as_array).into_iter().flatten();
    points.filter_map(|point| Some((point["name"].as_str()?.to_owned(), point["position"].as_u64()?))).collect()
}
