//! Several cubes as one change: they may refer to each other, in whatever order they come.

use serde_json::{Map, Value};

use super::change::about;
use super::split::Peer;
use super::{Engine, View};
use crate::problem::{ErrorTag, Problem, Problems};
use crate::schema::word;
use crate::topology::{CubeName, Place};

/// What a cube's description says about others, and waits until they exist.
struct Late {
    peers: Vec<Peer>,
    /// With their place in the request.
    parents: Vec<(String, String)>,
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
            for (cube, late) in &mut made {
                let set = self.set_peers(wanted, cube, std::mem::take(&mut late.peers));
                problems.extend(set.err().into_iter().flat_map(|more| more.0));
            }
            for (cube, late) in &made {
                for (place, parent) in &late.parents {
                    let attached = self.attach(wanted, cube, parent, &Place::Auto);
                    problems.extend(attached.err().map(|problem| about(cube, problem, place)));
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
        let parents = parents(&mut cube, &name);
        let of_name = CubeName::parse(&name).err().map(|problem| problem.at(format!("{place}/name")));
        let of_service =
            self.registry.service(&service).err().map(|problem| problem.at(format!("{place}/service-name")));
        if of_name.is_some() || of_service.is_some() {
            return Err(Problems(of_name.into_iter().chain(of_service).collect()));
        }
        let (peers, parents) = match (self.create_cube(wanted, &service, &name, cube.into()), parents) {
            (Ok(peers), Ok(parents)) => (peers, parents),
            (created, parents) => {
                let created = created.err().into_iter().flat_map(|problems| problems.0);
                return Err(Problems(created.chain(parents.err()).collect()));
            }
        };
        let late = Late { peers, parents };
        Ok((name, late))
    }
}

/// Takes out of a cube what it is to be attached to: `parents`, or `parent` with commas, which no name has in it.
fn parents(cube: &mut Map<String, Value>, name: &str) -> Result<Vec<(String, String)>, Problem> {
    let (parent, parents) = (cube.shift_remove("parent"), cube.shift_remove("parents"));
    let (key, listed) = match (parent, parents) {
        (None, None) => return Ok(Vec::new()),
        (Some(Value::String(text)), None) => {
            let listed = text.split(',').filter(|one| !one.is_empty()).map(str::to_owned);
            ("parent", Some(listed.collect::<Vec<_>>()))
        }
        (None, Some(Value::Array(listed))) => {
            ("parents", listed.iter().map(|one| one.as_str().map(str::to_owned)).collect())
        }
        (Some(_), Some(_)) => {
            return Err(Problem::bad(format!("{name}/parents"), "only one of parent and parents can be given"));
        }
        (Some(_), None) => ("parent", None),
        (None, Some(_)) => ("parents", None),
    };
    let place = format!("{name}/{key}");
    let Some(listed) = listed else {
        let form = if key == "parent" { "a string" } else { "a list of strings" };
        return Err(Problem::bad(place, format!("`{key}` is {form}: ports, as CUBE:PORT, and netdevs")));
    };
    Ok(listed.into_iter().map(|parent| (place.clone(), parent)).collect())
}

/// Takes a text out of an object that stands at `place`.
fn take(object: &mut Map<String, Value>, key: &str, place: &str) -> Result<String, Problem> {
    match object.shift_remove(key).map(|name| word(&name).ok_or(name)) {
        Some(Ok(text)) => Ok(text),
        Some(Err(other)) => Err(Problem::bad(format!("{place}/{key}"), format!("`{key}` is a string, not {other}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, format!("{place}/{key}"), format!("`{key}` is missing"))),
    }
}
