//! Cubes with what they say of others. Several are one change: they may refer to each other, whatever their order.

use serde_json::{Map, Value};

use super::body::Peer;
use super::change::Draft;
use crate::problem::{ErrorTag, Problem, Problems};
use crate::schema::word;
use crate::topology::{CubeName, Place};

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
                for (path, parent) in &relations.parents {
                    let attached = self.attach(cube, parent, &Place::Auto);
                    problems.extend(attached.err().map(|problem| problem.unless_about(cube, path)));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Creates a cube with its ports and their peers, and attaches it.
    pub(super) fn create_one(&mut self, service: &str, name: &str, mut body: Value) -> Result<(), Problems> {
        let parents = body.as_object_mut().map_or_else(|| Ok(Vec::new()), |body| parents(body, name));
        let (peers, parents) = match (self.create_cube(service, name, body), parents) {
            (Ok(peers), Ok(parents)) => (peers, parents),
            (created, parents) => {
                let created = created.err().into_iter().flat_map(|problems| problems.0);
                return Err(Problems(created.chain(parents.err()).collect()));
            }
        };
        self.set_peers(name, peers)?;
        for (path, parent) in &parents {
            self.attach(name, parent, &Place::Auto).map_err(|problem| problem.unless_about(name, path))?;
        }
        Ok(())
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

/// Removes from a cube what it is to be attached to: `parents`, or `parent` with commas, which no name contains.
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
    let path = format!("{name}/{key}");
    let Some(listed) = listed else {
        let form = if key == "parent" { "a string" } else { "a list of strings" };
        return Err(Problem::bad(path, format!("`{key}` is {form}: ports, as CUBE:PORT, and netdevs")));
    };
    Ok(listed.into_iter().map(|parent| (path.clone(), parent)).collect())
}

/// Removes a string from the object at `path`.
fn take(object: &mut Map<String, Value>, key: &str, path: &str) -> Result<String, Problem> {
    match object.shift_remove(key).map(|name| word(&name).ok_or(name)) {
        Some(Ok(text)) => Ok(text),
        Some(Err(other)) => Err(Problem::bad(format!("{path}/{key}"), format!("`{key}` is a string, not {other}"))),
        None => Err(Problem::new(ErrorTag::MissingAttribute, format!("{path}/{key}"), format!("`{key}` is missing"))),
    }
}
