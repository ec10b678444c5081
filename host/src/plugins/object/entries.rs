//! The entries of lists as keys and values of maps, and the way into a map and back.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use polycube_plugin_api::{Refusal, Tag};
use serde_json::{Map, Value};

use super::map::MapShape;
use super::schema::{List, Member, Reading, Side};
use super::slot::{Form, Slot, number};
use crate::sys::bpf::Elements;

/// What a map is to contain, by key.
pub(super) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries of a list that the state shows at most.
const SHOWN: usize = 4096;

impl List {
    /// The keys and values of a list's entries.
    ///
    /// # Errors
    /// An entry does not fit the map, two of them have the same key, or there are too many.
    pub(super) fn encode(&self, entries: &[Value]) -> Result<Entries, Refusal> {
        let path = self.path.join("/");
        let invalid = |at: String, why: String| Refusal::new(Tag::InvalidValue, why).at(at);
        let mut encoded: BTreeMap<Vec<u8>, (Vec<u8>, String)> = BTreeMap::new();
        for entry in entries {
            let name = in_words(&entry[&self.key]);
            let place = format!("{path}/{name}");
            let (mut key, mut value) = (vec![0; self.map.key_size], vec![0; self.map.value_size]);
            for Member { name, side, slot } in &self.members {
                let bytes = if *side == Side::Key { &mut key } else { &mut value };
                let written = slot.write(&entry[name], bytes);
                written
                    .map_err(|why| invalid(format!("{place}/{name}"), format!("`{name}` cannot be stored: {why}")))?;
            }
            if let Some((_, other)) = encoded.insert(key, (value, name.clone())) {
                let why = format!("entries `{other}` and `{name}` mean the same to the program: remove one");
                return Err(invalid(place, why));
            }
        }
        if encoded.len() > self.map.max_entries as usize {
            let (count, most) = (encoded.len(), self.map.max_entries);
            return Err(invalid(path, format!("the program's map has room for {most} entries, not for {count}")));
        }
        Ok(encoded.into_iter().map(|(key, (value, _))| (key, value)).collect())
    }

    /// Makes the bytes of `value` that members have those of `wanted`. Answers whether that changed any.
    fn overlay(&self, value: &mut [u8], wanted: &[u8]) -> bool {
        let mut is_changed = false;
        for Member { slot, .. } in self.members.iter().filter(|member| member.side == Side::Value) {
            let range = slot.range();
            if let (Some(value), Some(wanted)) = (value.get_mut(range.clone()), wanted.get(range)) {
                is_changed |= value != wanted;
                value.copy_from_slice(wanted);
            }
        }
        is_changed
    }

    /// Makes a map contain these entries and no others. What is as it is to be is not written.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn apply(&self, map: &Elements<'_>, entries: &Entries) -> io::Result<()> {
        let there: BTreeSet<Vec<u8>> = keys(map, &self.map)?.into_iter().collect();
        for key in there.iter().filter(|key| !entries.contains_key(*key)) {
            if !self.map.is_array {
                map.delete(key)?;
            } else if let Some(mut value) = map.lookup(key)?
                && self.overlay(&mut value, &vec![0; self.map.value_size])
            {
                map.update(key, &value)?;
            }
        }
        for (key, wanted) in entries {
            // A trie answers with the longest prefix that it has.
            let before = if there.contains(key) { map.lookup(key)? } else { None };
            let is_new = before.is_none();
            let mut value = before.unwrap_or_else(|| vec![0; self.map.value_size]);
            if self.overlay(&mut value, wanted) || is_new {
                map.update(key, &value)?;
            }
        }
        Ok(())
    }

    /// The entries of a map as those of the list, in the order of what identifies them.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn decode(&self, map: &Elements<'_>, cpus: usize) -> io::Result<Value> {
        let mut entries = Vec::new();
        for key in keys(map, &self.map)?.into_iter().take(SHOWN) {
            // It may have gone meanwhile.
            let Some(value) = map.lookup(&key)? else { continue };
            let member = |Member { name, side, slot }: &Member| {
                let value = match side {
                    Side::Key => slot.read(&key),
                    Side::Value if self.map.is_per_cpu => read_all(slot, &value, cpus),
                    Side::Value => slot.read(&value),
                };
                (name.clone(), value)
            };
            entries.push(Value::Object(self.members.iter().map(member).collect::<Map<_, _>>()));
        }
        entries.sort_by(|one, other| order(&one[&self.key], &other[&self.key]));
        Ok(Value::Array(entries))
    }
}

impl Reading {
    /// The value that a map has for this leaf.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn read(&self, map: &Elements<'_>, cpus: usize) -> io::Result<Value> {
        if let Some(index) = self.index {
            let value = map.lookup(&index.to_ne_bytes())?.unwrap_or_default();
            return Ok(if self.map.is_per_cpu { read_all(&self.slot, &value, cpus) } else { self.slot.read(&value) });
        }
        let mut sum = 0_i128;
        for key in keys(map, &self.map)? {
            let value = map.lookup(&key)?.unwrap_or_default();
            sum += if self.map.is_per_cpu { sum_of(&self.slot, &value, cpus) } else { self.slot.integer(&value) };
        }
        Ok(number(sum))
    }
}

/// The sum of an integer over all CPUs; of another form, the first CPU's value.
fn read_all(slot: &Slot, value: &[u8], cpus: usize) -> Value {
    match slot.form {
        Form::Integer { .. } => number(sum_of(slot, value, cpus)),
        _ => slot.read(value),
    }
}

fn sum_of(slot: &Slot, value: &[u8], cpus: usize) -> i128 {
    let stride = value.len() / cpus.max(1);
    if stride == 0 { 0 } else { value.chunks_exact(stride).map(|value| slot.integer(value)).sum() }
}

/// The keys of a map. Entries that come or go meanwhile may be missed.
fn keys(map: &Elements<'_>, shape: &MapShape) -> io::Result<Vec<Vec<u8>>> {
    if shape.is_array {
        return Ok((0..shape.max_entries).map(|index| index.to_ne_bytes().to_vec()).collect());
    }
    let mut keys: Vec<Vec<u8>> = Vec::new();
    // A key that was removed leads back to the first one.
    while keys.len() < shape.max_entries as usize
        && let Some(key) = map.next_key(keys.last().map(Vec::as_slice))?
    {
        keys.push(key);
    }
    Ok(keys)
}

fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Numbers as numbers, all else as texts.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => one.cmp(&other),
        _ => in_words(one).cmp(&in_words(other)),
    }
}
