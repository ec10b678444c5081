//! The form of a document: cubes as a list, chains by their places.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::model::body::take;
use crate::problem::Problem;
use crate::schema::word;
use crate::topology::CubeName;

/// What a document says, as far as its form is right.
#[derive(Default)]
pub(super) struct Document {
    pub cubes: Vec<Described>,
    pub chains: Vec<Chain>,
}

/// A cube as it is to be.
pub(super) struct Described {
    pub name: CubeName,
    pub service: String,
    /// Everything else.
    pub body: Value,
}

/// The cubes at a port or a netdev, from the wire.
pub(super) struct Chain {
    pub place: String,
    pub cubes: Vec<CubeName>,
}

const MEMBERS: [&str; 2] = ["cubes", "chains"];

impl Document {
    /// Reads a document, and says everything that is wrong with its form.
    pub(super) fn read(document: Value) -> (Self, Vec<Problem>) {
        let mut found = Self::default();
        let mut problems = Vec::new();
        let members = match document {
            Value::Object(members) => members,
            Value::Null => return (found, problems),
            _ => return (found, vec![Problem::bad("", "a configuration is an object with `cubes` and `chains`")]),
        };
        for (key, value) in members {
            match (key.as_str(), value) {
                (_, Value::Null) if MEMBERS.contains(&key.as_str()) => {}
                ("cubes", Value::Array(cubes)) => found.read_cubes(cubes, &mut problems),
                ("cubes", other) => {
                    problems.push(Problem::bad(key, format!("`cubes` is a list of cubes, not {other}")));
                }
                ("chains", Value::Object(chains)) => {
                    for (place, cubes) in chains {
                        match chain(&place, cubes) {
                            Ok(cubes) => found.chains.push(Chain { place, cubes }),
                            Err(problem) => problems.push(problem.under(&place).under("chains")),
                        }
                    }
                }
                ("chains", other) => {
                    let message = format!("`chains` has a list of cubes for each port or netdev, and is not {other}");
                    problems.push(Problem::bad(key, message));
                }
                _ => {
                    let problem = Problem::invalid(key.clone(), format!("unknown key `{key}`"));
                    problems.push(problem.knowing(&key, MEMBERS));
                }
            }
        }
        (found, problems)
    }

    fn read_cubes(&mut self, cubes: Vec<Value>, problems: &mut Vec<Problem>) {
        let mut names = BTreeSet::new();
        for (at, cube) in cubes.into_iter().enumerate() {
            let path = format!("cubes/{at}");
            let Value::Object(mut body) = cube else {
                problems.push(Problem::bad(path, "a cube is an object with name and service-name"));
                continue;
            };
            let name = take(&mut body, "name", &path);
            let name =
                name.and_then(|name| CubeName::parse(&name).map_err(|problem| problem.at(format!("{path}/name"))));
            let service = take(&mut body, "service-name", &path);
            for key in ["parent", "parents"] {
                if body.shift_remove(key).is_none() {
                    continue;
                }
                let message = format!("`chains` says where cubes are attached, and `{key}` does not: leave it out");
                problems.push(Problem::invalid(format!("{path}/{key}"), message));
            }
            match (name, service) {
                (Ok(name), Ok(_)) if !names.insert(name.clone()) => {
                    problems.push(Problem::exists(path, format!("cube `{name}` is in the document twice")));
                }
                (Ok(name), Ok(service)) => self.cubes.push(Described { name, service, body: body.into() }),
                (name, service) => problems.extend(name.err().into_iter().chain(service.err())),
            }
        }
    }
}

/// The cubes of a chain.
fn chain(place: &str, cubes: Value) -> Result<Vec<CubeName>, Problem> {
    let cubes = match cubes {
        Value::Null => return Ok(Vec::new()),
        Value::Array(cubes) => cubes,
        other => return Err(Problem::bad("", format!("the chain at {place} is a list of cubes, not {other}"))),
    };
    let mut chain = Vec::new();
    for (at, cube) in cubes.into_iter().enumerate() {
        let path = at.to_string();
        let name =
            word(&cube).ok_or_else(|| Problem::bad(path.as_str(), format!("a cube's name is a string, not {cube}")))?;
        let name = CubeName::parse(&name).map_err(|problem| problem.at(path.as_str()))?;
        if chain.contains(&name) {
            return Err(Problem::exists(path, format!("cube `{name}` is in the chain at {place} twice")));
        }
        chain.push(name);
    }
    Ok(chain)
}
