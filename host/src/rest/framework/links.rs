//! Requests to connect ports, and to attach transparent cubes.

use crate::model::Change;
use crate::problem::{Problem, Problems};
use crate::rest::route::Input;
use crate::topology::Place;

pub(crate) fn connect(mut input: Input) -> Result<Change, Problems> {
    Ok(Change::Connect { one: input.take("peer1"), other: input.take("peer2") })
}

pub(crate) fn disconnect(mut input: Input) -> Result<Change, Problems> {
    Ok(Change::Disconnect { one: input.take("peer1"), other: input.take("peer2") })
}

pub(crate) fn attach(mut input: Input) -> Result<Change, Problems> {
    let place = place(&mut input)?;
    Ok(Change::Attach { cube: input.take("cube"), port: input.take("port"), place })
}

pub(crate) fn detach(mut input: Input) -> Result<Change, Problems> {
    Ok(Change::Detach { cube: input.take("cube"), port: input.take("port") })
}

/// Where in the chain, from the fields that say it.
fn place(input: &mut Input) -> Result<Place, Problem> {
    let mut field = |name| input.fields.remove(name);
    match (field("position").as_deref(), field("before"), field("after")) {
        (Some("first"), None, None) => Ok(Place::First),
        (Some("last"), None, None) => Ok(Place::Last),
        (None | Some(_), None, None) => Ok(Place::Auto),
        (None, Some(cube), None) => Ok(Place::Before(cube)),
        (None, None, Some(cube)) => Ok(Place::After(cube)),
        _ => Err(Problem::bad("attach", "only one of position, before and after can be given")),
    }
}
