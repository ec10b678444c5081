//! The leaves of a service's state that the list of all cubes shows (`x-summary`).

use polycube_plugin_api::keyword;
use serde_json::Value;

use super::node::Node;

/// A leaf, and the name that it has in the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    path: Vec<String>,
    pub name: String,
}

impl Summary {
    /// Its value in a cube's state; `None` if it has none.
    pub fn value<'a>(&self, state: &'a Value) -> Option<&'a Value> {
        let value = self.path.iter().try_fold(state, |value, word| value.get(word))?;
        Some(value).filter(|value| !value.is_null())
    }
}

/// Those that a schema of the state declares. Entries of lists have none: there may be any number.
pub(super) fn declared(state: &Value) -> Vec<Summary> {
    let Node::Container(_) = Node::of(state) else { return Vec::new() };
    let members = state["properties"].as_object().into_iter().flatten();
    let found = members.flat_map(|(word, member)| {
        let own = member[keyword::SUMMARY].as_str().map(|name| Summary { path: Vec::new(), name: name.to_owned() });
        own.into_iter().chain(declared(member)).map(|summary| {
            let path = [vec![word.clone()], summary.path].concat();
            Summary { path, ..summary }
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_at_any_depth_are_found_under_their_names() {
        let seen = json!({ "type": "integer", "x-summary": "packets" });
        let state = json!({ "properties": {
            "status": { "type": "string", "x-summary": "status" },
            "other": { "type": "string" },
            "counters": { "properties": { "seen": seen } },
            "list": { "type": "array", "x-list-key": "id", "items": { "properties": { "seen": seen } } },
        } });
        let found = declared(&state);
        let names: Vec<&str> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["status", "packets"]);
        let state = json!({ "status": null, "counters": { "seen": 5 } });
        let values: Vec<_> = found.iter().map(|one| one.value(&state)).collect();
        assert_eq!(values, [None, Some(&json!(5))]);
        assert_eq!(found[1].value(&json!({})), None);
    }
}
