//! The keywords of a manifest's schemas: each is known, and stands where it means something. Pure.
//!
//! JSON Schema ignores what it does not know. Of a keyword that begins with `x-`, that would be a misspelt connection.

use polycube_api::Unit;
use polycube_plugin_api::keyword;
use serde_json::Value;

use super::fault::{Fault, Place};
use super::fit::BIG_ENDIAN;
use super::schema::{FIELD, GLOBAL, INDEX, MAP, is_list, members};

/// Keywords of the plugin border, which mean the same in a manifest.
const OF_SERVICES: [&str; 10] = [
    keyword::ALIAS,
    keyword::CREATE_ONLY,
    keyword::LIST_KEY,
    keyword::LOWER_CASE,
    keyword::NAMES,
    keyword::METRIC,
    keyword::UNIT,
    keyword::SUMMARY,
    keyword::CONNECTION,
    keyword::MINOR,
];

/// Keywords of manifests, and where they mean something.
const OWN: [(&str, &[Spot], &str); 5] = [
    (GLOBAL, &[Spot::Setting], "a leaf of the configuration that is not in a list"),
    (MAP, &[Spot::List, Spot::Reading], "a list, or a leaf of the state"),
    (INDEX, &[Spot::Reading], "a leaf of the state that is not in a list"),
    (FIELD, &[Spot::Reading, Spot::Member], "a leaf of the state, or a member of a list's entries"),
    (BIG_ENDIAN, &[Spot::Setting, Spot::Reading, Spot::Member], "an integer"),
];

/// What a node of a schema is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spot {
    Container,
    List,
    /// Of a list's entries.
    Member,
    /// A leaf of the configuration.
    Setting,
    /// A leaf of the state.
    Reading,
}

/// Checks a schema as a whole; `place` is its root.
///
/// # Errors
/// The first keyword that is wrong.
pub(super) fn check(schema: &Value, place: &Place, is_state: bool) -> Result<(), Fault> {
    if schema["type"] != "object" {
        return Err(Fault::NoObject { place: place.clone() });
    }
    let leaf = if is_state { Spot::Reading } else { Spot::Setting };
    check_node(schema, place, leaf)
}

fn check_node(node: &Value, place: &Place, leaf: Spot) -> Result<(), Fault> {
    let spot = match node {
        _ if node.get("properties").is_some() || place.path.is_empty() => Spot::Container,
        _ if is_list(node) => Spot::List,
        _ => leaf,
    };
    for (name, value) in node.as_object().into_iter().flatten() {
        check_keyword(name, value, place, spot)?;
    }
    for (name, member) in members(node) {
        check_node(member, &place.below(name), leaf)?;
    }
    for (name, member) in node.get("items").into_iter().flat_map(members) {
        check_node(member, &place.below(name), Spot::Member)?;
    }
    Ok(())
}

fn check_keyword(name: &str, value: &Value, place: &Place, spot: Spot) -> Result<(), Fault> {
    let place = || place.clone();
    if name == "$ref" {
        return Err(Fault::Reference { place: place() });
    }
    let own = OWN.iter().find(|(own, ..)| *own == name);
    if let Some((keyword, spots, of)) = own
        && !spots.contains(&spot)
    {
        return Err(Fault::Misplaced { place: place(), keyword, of });
    }
    if name.starts_with("x-") && own.is_none() && !OF_SERVICES.contains(&name) {
        let keywords = OF_SERVICES.into_iter().chain(OWN.map(|(own, ..)| own)).map(str::to_owned).collect();
        return Err(Fault::UnknownKeyword { place: place(), keyword: name.to_owned(), keywords });
    }
    if name == keyword::UNIT && value.as_str().and_then(Unit::parse).is_none() {
        let wanted = "`bytes`, `KiB`, `MiB`, `GiB` or `seconds`";
        return Err(Fault::Keyword { place: place(), keyword: keyword::UNIT, wanted });
    }
    if name == keyword::METRIC && !is_metric(value) {
        let wanted = "`{\"name\": …, \"type\": …}` with a name of ASCII letters, digits and `_` and the type `counter` or `gauge`";
        return Err(Fault::Keyword { place: place(), keyword: keyword::METRIC, wanted });
    }
    Ok(())
}

fn is_metric(value: &Value) -> bool {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    value["name"].as_str().is_some_and(is_name) && (value["type"] == "counter" || value["type"] == "gauge")
}
