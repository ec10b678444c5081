//! Several cubes as one change: they may refer to each other, whatever their order.

use serde_json::Value;

use super::body::{Peer, parents, take};
use super::change::Draft;
use crate::problem::{Problem, Problems};
use crate::topology::CubeName;

/// What a cube's description says about other cubes, which have to exist first.
struct Relations {
    peers: Vec<Peer>,
    /// Points to attach to, each with the path of the member that names it.
    parents: Vec<(String, String)>,
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
            for (cube, relations) in &made {
                let attached = self.attach_all(cube, &relations.parents);
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
        let of_name = CubeName::parse(&name).err().map(|problem| problem.at(format!("{path}/name")));
        let of_service =
            self.model.registry.service(&service).err().map(|problem| problem.at(format!("{path}/service-name")));
        if of_name.is_some() || of_service.is_some() {
            return Err(Problems(of_name.into_iter().chain(of_service).collect()));
        }
        match (self.create_cube(&service, &name, cube.into()), parents) {
            (Ok(peers), Ok(parents)) => Ok((name, Relations { peers, parents })),
            (created, parents) => {
                let created = created.err().into_iter().flat_map(|problems| problems.0);
                Err(Problems(created.chain(parents.err()).collect()))
            }
        }
    }
}
