//! Everything that a refused request must leave unchanged.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::Daemon;
use crate::hook::{Attached, programs_attached};

/// Members of a cube that traffic changes.
const TRAFFIC: [&str; 2] = ["counters", "port-counters"];
/// The same in the list of cubes.
const COUNTED: [&str; 2] = ["packets", "drops"];
/// The lists in a cube whose elements change as time passes, each with the member that does.
const AGEING: [(&str, &str); 1] = [("/fdb/entry", "age")];

/// The model as the daemon shows it, and what is in the kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// `GET cubes/`, without its counters.
    pub cubes: Value,
    /// Each whole cube, without its counters and ages.
    pub each: BTreeMap<String, Value>,
    /// Programs on each interface of the host namespace.
    pub attached: BTreeMap<String, Vec<Attached>>,
    /// Everything that is pinned.
    pub pins: Vec<PathBuf>,
}

impl Daemon {
    /// Reads all of it, when the captures' rings have all of their memory.
    ///
    /// # Errors
    /// Fails when the daemon does not answer, the kernel cannot be asked, or a ring does not get its memory.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.wait_for_large_rings()?;
        let mut cubes: Value = self.http("GET", "/polycube/v1/cubes/", None)?.ok().json()?;
        let listed =
            cubes.as_object_mut().into_iter().flatten().filter_map(|(_, cubes)| cubes.as_array_mut()).flatten();
        listed.filter_map(Value::as_object_mut).for_each(|cube| cube.retain(|key, _| !COUNTED.contains(&key.as_str())));
        let names = cubes.as_object().into_iter().flatten().flat_map(|(_, cubes)| cubes.as_array()).flatten();
        let names = names.filter_map(|cube| cube["name"].as_str());
        let mut each = BTreeMap::new();
        for name in names {
            let answer = self.http("GET", &format!("/polycube/v1/{name}/"), None)?;
            // One that is just being removed is in the list alone.
            if answer.status == 404 {
                continue;
            }
            let mut cube = answer.ok().json()?;
            if let Some(members) = cube.as_object_mut() {
                members.retain(|key, _| !TRAFFIC.contains(&key.as_str()));
            }
            for (list, age) in AGEING {
                let elements = cube.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                elements.filter_map(Value::as_object_mut).for_each(|element| drop(element.remove(age)));
            }
            each.insert(name.to_owned(), cube);
        }
        let mut attached = BTreeMap::new();
        for interface in self.host().interfaces()? {
            attached.insert(interface.clone(), programs_attached(self.host(), &interface)?);
        }
        Ok(Snapshot { each, attached, pins: self.pins()?, cubes })
    }
}
