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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: Option<&Place>) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let mut input = Input { name: String::new(), fields, body: serde_json::Value::Null };
        let found = place(&mut input);
        assert_eq!(found.as_ref().ok(), expected);
        if let Err(problem) = found {
            assert_eq!(problem.path, "attach");
        }
    }

    #[test]
    fn one_field_at_most_says_where_in_the_chain() {
        check(&[], Some(&Place::Auto));
        check(&[("position", "auto")], Some(&Place::Auto));
        check(&[("position", "first")], Some(&Place::First));
        check(&[("position", "last")], Some(&Place::Last));
        check(&[("before", "a")], Some(&Place::Before("a".to_owned())));
        check(&[("after", "a")], Some(&Place::After("a".to_owned())));
        check(&[("before", "a"), ("after", "b")], None);
        check(&[("position", "auto"), ("after", "b")], None);
        check(&[("position", "first"), ("before", "b")], None);
    }
}
