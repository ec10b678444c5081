//! Several cubes as one change: they may refer to each other, in whatever order they come.

use serde_json::{Map, Value, json};

use super::{Engine, View};
use crate::problem::{ErrorTag, Problem, Problems};
use crate::topology::Place;

/// What a cube's description says about others, and waits until they exist.
#[derive(Default)]
struct Late {
    /// Port, and its peer.
    peers: Vec<(String, Value)>,
    parents: Vec<String>,
}

impl Engine {
    /// Creates cubes with their ports, then sets the ports' peers, and attaches the transparent ones last.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub(super) fn create_cubes(&self, wanted: &mut View, cubes: Vec<Value>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        let mut made = Vec::new();
        for (at, cube) in cubes.into_iter().enumerate() {
            match self.create_early(wanted, at, cube) {
                Ok(cube) => made.push(cube),
                Err(more) => problems.extend(more.0),
            }
        }
        // Without the cubes, what is said about them would be wrong once more.
        if problems.is_empty() {
            for (cube, late) in &made {
                for (port, peer) in &late.peers {
                    let set = self.configure_port(wanted, cube, port, json!({ "peer": peer }));
                    problems.extend(set.err().into_iter().flat_map(|more| more.0));
                }
            }
            for (cube, late) in &made {
                for parent in &late.parents {
                    let attached = self.attach(wanted, cube, parent, &Place::Auto);
                    problems.extend(attached.err().into_iter().flat_map(|more| more.0));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Creates one, and keeps what has to wait.
    fn create_early(&self, wanted: &mut View, at: usize, cube: Value) -> Result<(String, Late), Problems> {
        let place = format!("cubes/{at}");
        let Value::Object(mut cube) = cube else {
            return Err(Problem::bad(place, "a cube is an object with name and service-name").into());
        };
        let (name, service) = match (take(&mut cube, "name", &place), take(&mut cube, "service-name", &place)) {
            (Ok(name), Ok(service)) => (name, service),
            (name, service) => return Err(Problems([name.err(), service.err()].into_iter().flatten().collect())),
        };
        let mut late = Late::default();
        if cube.contains_key("parent") {
            let parents = take(&mut cube, "parent", &name)?;
            late.parents = parents.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
        }
        for port in cube.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(port) = port.as_object_mut() else { continue };
            if let (Some(Value::String(name)), Some(peer)) = (port.get("name").cloned(), port.shift_remove("peer")) {
                late.peers.push((name, peer));
            }
        }
        self.create_cube(wanted, &service, &name, cube.into())?;
        Ok((name, late))
    }
}

/// Takes a text out of an object that stands at `place`.
fn take(object: &mut Map<String, Value>, key: &str, place: &str) -> Result<String, Problem> {
    match object.shift_remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(Problem::bad(format!("{place}/{key}"), format!("`{key}` is a string, not {other}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, format!("{place}/{key}"), format!("`{key}` is missing"))),
    }
}
