//! Connects the leaves and lists of a manifest's schemas to globals and maps of the object. Pure.

use polycube_loader::object::{DeclaredMap, Facts};
use polycube_plugin_api::keyword;
use serde_json::{Map, Value};

use super::btf::{Field, Type, Types};
use super::fault::{Fault, Place};
use super::fit::{self, BIG_ENDIAN, Declared, Misfit, fit};
use super::keywords;
use super::map::{MapShape, ObjectMap as _, Use};
use super::slot::Slot;
use super::twice;
use crate::schema::Key;

/// Our own keywords, which are for the daemon and not for its clients.
pub(super) const GLOBAL: &str = "x-global";
pub(super) const MAP: &str = "x-map";
pub(super) const INDEX: &str = "x-index";
pub(super) const FIELD: &str = "x-field";

/// What an object has.
pub(super) struct Contents {
    pub facts: Facts,
    pub maps: Vec<DeclaredMap>,
    /// `None` without BTF.
    pub types: Option<Types>,
}

/// A leaf of the configuration that is a global variable.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Global {
    pub path: Vec<String>,
    pub name: String,
    /// The variable's bytes.
    pub slot: Slot,
}

/// A leaf of the state that is read from a map.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub path: Vec<String>,
    pub map: MapShape,
    /// The entry of an array; all entries without one.
    pub index: Option<u32>,
    pub slot: Slot,
}

/// A list whose entries are those of a map.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    pub path: Vec<String>,
    /// The members that identify an entry.
    pub keys: Vec<String>,
    pub map: MapShape,
    pub members: Vec<Member>,
}

/// A member of a list's entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    pub side: Side,
    pub slot: Slot,
}

/// Where a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Key,
    Value,
}

/// What the schemas are connected to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Bindings {
    pub globals: Vec<Global>,
    pub lists: Vec<List>,
    pub readings: Vec<Reading>,
    /// Lists of the state.
    pub tables: Vec<List>,
}

/// Connects both schemas, sets limits that follow from the object, and removes the keywords that only the daemon needs.
///
/// # Errors
/// The first node that cannot be connected.
pub(super) fn bind(contents: &Contents, config: &mut Value, state: &mut Value) -> Result<Bindings, Fault> {
    let mut bindings = Bindings::default();
    let root = |part| Place { part, path: String::new() };
    keywords::check(config, &root("configuration"), false)?;
    keywords::check(state, &root("state"), true)?;
    contents.bind_config(config, &root("configuration"), &mut bindings)?;
    twice::check(&bindings)?;
    contents.bind_state(state, &root("state"), &mut bindings)?;
    remove_keywords(config);
    remove_keywords(state);
    Ok(bindings)
}

impl Contents {
    fn bind_config(&self, node: &mut Value, place: &Place, bindings: &mut Bindings) -> Result<(), Fault> {
        for (name, member) in members_mut(node) {
            let place = place.below(name);
            if member.get("properties").is_some() {
                self.bind_config(member, &place, bindings)?;
            } else if is_list(member) {
                let list = self.bind_list(member, &place, Use::Entries)?;
                bindings.lists.push(list);
            } else if member.get(keyword::ALIAS).is_none() {
                bindings.globals.push(self.bind_global(member, &place)?);
            }
        }
        Ok(())
    }

    fn bind_state(&self, node: &mut Value, place: &Place, bindings: &mut Bindings) -> Result<(), Fault> {
        for (name, member) in members_mut(node) {
            let place = place.below(name);
            if member.get("properties").is_some() {
                self.bind_state(member, &place, bindings)?;
            } else if is_list(member) {
                let table = self.bind_list(member, &place, Use::Reading)?;
                bindings.tables.push(table);
            } else {
                bindings.readings.push(self.bind_reading(member, &place)?);
            }
        }
        Ok(())
    }

    fn bind_global(&self, leaf: &mut Value, place: &Place) -> Result<Global, Fault> {
        let name = text(leaf, GLOBAL, place)?;
        let Some(&size) = self.facts.globals.get(&name) else {
            let globals = self.facts.globals.keys().cloned().collect();
            return Err(Fault::NoGlobal { place: place.clone(), name, globals });
        };
        let id = self.types.as_ref().and_then(|types| Some((types, types.variable(&name)?)));
        // A type of another size is not the variable's.
        let declared = match id.filter(|(types, id)| types.size(*id) == Some(size as usize)) {
            Some((types, id)) => Declared::Typed(types, id),
            None => Declared::Bytes(size as usize),
        };
        let slot = fit(leaf, declared, 0)
            .map_err(|source| Fault::Misfit { place: place.clone(), source: Box::new(source) })?;
        Ok(Global { path: place.words(), name, slot })
    }

    /// The map that a node names, if it serves the purpose.
    fn map(&self, node: &Value, place: &Place, purpose: Use) -> Result<&DeclaredMap, Fault> {
        let name = text(node, MAP, place)?;
        let Some(map) = self.maps.iter().find(|map| map.name == name) else {
            let maps = self.maps.iter().map(|map| map.name.clone()).collect();
            return Err(Fault::NoMap { place: place.clone(), name, maps });
        };
        let serves = map.purpose() == Use::Entries || map.purpose() == Use::Reading && purpose == Use::Reading;
        let wanted = match purpose {
            Use::Reading => "what is shown is in a hash, an array, or an LPM trie",
            _ => "the entries of a list need a HASH, an ARRAY or an LPM_TRIE",
        };
        if serves {
            return Ok(map);
        }
        Err(Fault::WrongMap { place: place.clone(), map: name, kind: map.kind().to_owned(), wanted })
    }

    fn bind_reading(&self, leaf: &mut Value, place: &Place) -> Result<Reading, Fault> {
        let map = self.map(leaf, place, Use::Reading)?;
        let shape = map.shape();
        let index = index(leaf, &shape, place)?;
        let value = map.value(self.types.as_ref());
        let (declared, offset) = match fields_of(value) {
            Some((types, fields)) => {
                let name = place.path.rsplit('/').next().unwrap_or_default();
                let field = optional_text(leaf, FIELD, place)?.unwrap_or_else(|| name.replace('-', "_"));
                let found = locate(types, fields, &field, place)?.ok_or_else(|| Fault::NoField {
                    place: place.clone(),
                    map: shape.name.clone(),
                    field,
                    fields: types.names(fields),
                })?;
                (Declared::Typed(types, found.0), found.1)
            }
            None => (value, 0),
        };
        let misfit = |source| Fault::Misfit { place: place.clone(), source: Box::new(source) };
        let is_number = is_integer(leaf);
        // A sum has other limits than what it is the sum of.
        let slot = if is_number { fit(&mut leaf.clone(), declared, offset) } else { fit(leaf, declared, offset) };
        if !is_number && (index.is_none() || shape.is_per_cpu) {
            let (map, kind) = (shape.name, map.kind().to_owned());
            let wanted = "what is not an integer is in an ARRAY, at `x-index`";
            return Err(Fault::WrongMap { place: place.clone(), map, kind, wanted });
        }
        Ok(Reading { path: place.words(), map: shape, index, slot: slot.map_err(misfit)? })
    }

    fn bind_list(&self, list: &mut Value, place: &Place, purpose: Use) -> Result<List, Fault> {
        let key = Key::of(list).ok_or_else(|| Fault::NoKey { place: place.clone() })?;
        let keys: Vec<String> = key.names().map(str::to_owned).collect();
        let is_missing = |key: &&String| list["items"]["properties"].get(key.as_str()).is_none();
        if let Some(key) = keys.iter().find(is_missing) {
            let members = members(&list["items"]).map(|(name, _)| name.clone()).collect();
            return Err(Fault::KeyMember { place: place.clone(), key: key.clone(), members });
        }
        let map = self.map(list, place, purpose)?;
        let mut binding = Binding { map, types: self.types.as_ref(), keys: &keys, has_whole_value: false, purpose };
        let mut bound = Vec::new();
        for (name, member) in members_mut(&mut list["items"]) {
            let place = place.below(name);
            let Some((side, declared, offset)) = binding.find(name, member, &place)? else { continue };
            let slot = |leaf: &mut Value| {
                fit(leaf, declared, offset)
                    .map_err(|source| Fault::Misfit { place: place.clone(), source: Box::new(source) })
            };
            if side == Side::Key && binding.map.shape().is_array {
                let most = i128::from(map.max_entries.saturating_sub(1));
                fit::limit(member, 0, most)
                    .map_err(|source| Fault::Misfit { place: place.clone(), source: Box::new(source) })?;
            }
            let is_sum = side == Side::Value && map.shape().is_per_cpu && is_integer(member);
            let slot = if is_sum { slot(&mut member.clone()) } else { slot(member) }?;
            bound.push(Member { name: name.clone(), side, slot });
        }
        if bound.iter().all(|member| member.side == Side::Value) {
            return Err(Fault::NoMapKey { place: place.clone(), map: map.name.clone() });
        }
        Ok(List { path: place.words(), keys, map: map.shape(), members: bound })
    }
}

/// The members of a list's entries, on their way to a map.
struct Binding<'a> {
    map: &'a DeclaredMap,
    types: Option<&'a Types>,
    /// The members that identify an entry.
    keys: &'a [String],
    has_whole_value: bool,
    purpose: Use,
}

impl<'a> Binding<'a> {
    /// Where a member is; `None` for one that only names an entry.
    fn find(
        &mut self,
        name: &str,
        member: &Value,
        place: &Place,
    ) -> Result<Option<(Side, Declared<'a>, usize)>, Fault> {
        let (key, value) = (self.map.key(self.types), self.map.value(self.types));
        if self.map.is_trie() && (member["format"] == "ip-prefix" || self.keys == [name]) {
            return Ok(Some((Side::Key, Declared::Prefix(self.map.key_size as usize), 0)));
        }
        let given = optional_text(member, FIELD, place)?;
        let field = given.clone().unwrap_or_else(|| name.replace('-', "_"));
        let mut known = Vec::new();
        for (side, declared) in [(Side::Key, key), (Side::Value, value)] {
            let Some((types, fields)) = fields_of(declared) else { continue };
            if let Some((id, offset)) = locate(types, fields, &field, place)? {
                return Ok(Some((side, Declared::Typed(types, id), offset)));
            }
            known.extend(types.names(fields));
        }
        if given.is_none() {
            if self.keys.iter().any(|own| own == name) {
                return match fields_of(key) {
                    None if self.keys.len() == 1 => Ok(Some((Side::Key, key, 0))),
                    None => Err(self.no_field(place, field, known)),
                    Some(_) if self.purpose == Use::Entries => Ok(None),
                    Some(_) => Err(self.no_field(place, field, known)),
                };
            }
            if fields_of(value).is_none() && !std::mem::replace(&mut self.has_whole_value, true) {
                return Ok(Some((Side::Value, value, 0)));
            }
        }
        Err(self.no_field(place, field, known))
    }

    fn no_field(&self, place: &Place, field: String, fields: Vec<String>) -> Fault {
        if self.types.is_none() {
            return Fault::Misfit { place: place.clone(), source: Box::new(Misfit::NoTypes) };
        }
        Fault::NoField { place: place.clone(), map: self.map.name.clone(), field, fields }
    }
}

/// The fields of a structure.
fn fields_of(declared: Declared<'_>) -> Option<(&Types, &[Field])> {
    let Declared::Typed(types, id) = declared else { return None };
    match types.resolve(id)?.kind {
        Type::Structure { fields, .. } => Some((types, fields)),
        _ => None,
    }
}

/// The type and the offset of `a.b.c`.
fn locate(types: &Types, fields: &[Field], path: &str, place: &Place) -> Result<Option<(u32, usize)>, Fault> {
    let (mut fields, mut offset, mut found) = (Some(fields), 0, None);
    for word in path.split('.') {
        let Some((id, inner)) = fields.and_then(|fields| types.field(fields, word)) else { return Ok(None) };
        let inner = inner.ok_or_else(|| Fault::BitField { place: place.clone(), field: path.to_owned() })?;
        offset += inner;
        fields = fields_of(Declared::Typed(types, id)).map(|(_, fields)| fields);
        found = Some((id, offset));
    }
    Ok(found)
}

pub(super) fn members(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn members_mut(node: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    node.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
}

pub(super) fn is_list(node: &Value) -> bool {
    node.get("items").is_some() || node["type"] == "array"
}

fn is_integer(leaf: &Value) -> bool {
    leaf["type"] == "integer"
}

fn index(leaf: &Value, map: &MapShape, place: &Place) -> Result<Option<u32>, Fault> {
    let Some(given) = leaf.get(INDEX) else { return Ok(None) };
    let wrong = |wanted| Fault::Keyword { place: place.clone(), keyword: INDEX, wanted };
    let index = given.as_u64().ok_or_else(|| wrong("an index: a whole number from 0"))?;
    if !map.is_array {
        return Err(wrong("of any use here: the map is not an array"));
    }
    let found = u32::try_from(index).ok().filter(|index| *index < map.max_entries);
    let past = || Fault::Index { place: place.clone(), map: map.name.clone(), index, entries: map.max_entries };
    found.map(Some).ok_or_else(past)
}

fn optional_text(node: &Value, keyword: &'static str, place: &Place) -> Result<Option<String>, Fault> {
    match node.get(keyword) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Fault::Keyword { place: place.clone(), keyword, wanted: "a text" }),
    }
}

fn text(node: &Value, keyword: &'static str, place: &Place) -> Result<String, Fault> {
    optional_text(node, keyword, place)?.ok_or_else(|| Fault::Unbound { place: place.clone(), keyword })
}

fn remove_keywords(node: &mut Value) {
    if let Value::Object(node) = node {
        for keyword in [GLOBAL, MAP, INDEX, FIELD, BIG_ENDIAN] {
            node.shift_remove(keyword);
        }
        if let Some(items) = node.get_mut("items") {
            remove_keywords(items);
        }
        node.get_mut("properties")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flat_map(Map::values_mut)
            .for_each(remove_keywords);
    }
}
