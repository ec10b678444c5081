//! What objects declare their maps to be.
//!
//! A change asks once for each map of each cube, and to read an object takes longer than everything else that a map needs.
//! Cubes of one service share their objects, so what an object declares is kept for as long as something has the object.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{ELF, parse, shape_of};
use crate::bpf::MapShape;
use crate::error::LoadError;

/// An object, and the maps that it declares.
type Read = (Weak<[u8]>, Arc<BTreeMap<String, MapShape>>);

static READ: Mutex<Vec<Read>> = Mutex::new(Vec::new());

/// What the first ELF object that has a map called `name` declares.
pub(super) fn declared(what: &str, name: &str, objects: &[Arc<[u8]>]) -> Result<MapShape, LoadError> {
    for elf in objects.iter().filter(|object| object.starts_with(ELF)) {
        if let Some(shape) = maps(what, elf)?.get(name) {
            return Ok(*shape);
        }
    }
    Err(LoadError::Incomplete { what: what.to_owned(), missing: format!("map `{name}`") })
}

fn maps(what: &str, elf: &Arc<[u8]>) -> Result<Arc<BTreeMap<String, MapShape>>, LoadError> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.retain(|(object, _)| object.strong_count() > 0);
    // While there is a `Weak`, nothing else gets the object's address.
    if let Some((_, maps)) = read.iter().find(|(object, _)| std::ptr::addr_eq(object.as_ptr(), Arc::as_ptr(elf))) {
        return Ok(Arc::clone(maps));
    }
    let object = parse(what, elf)?;
    let maps = Arc::new(object.maps.iter().map(|(name, map)| (name.clone(), shape_of(map))).collect());
    read.push((Arc::downgrade(elf), Arc::clone(&maps)));
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BRIDGE, ROOT};
    use super::*;

    #[test]
    fn an_object_is_read_once_while_something_has_it() {
        let root: Arc<[u8]> = Arc::from(ROOT);
        let first = maps("root", &root).unwrap();
        assert!(Arc::ptr_eq(&first, &maps("root", &root).unwrap()));
        assert!(first.contains_key("resume"));
        drop(root);
        let bridge: Arc<[u8]> = Arc::from(BRIDGE);
        let other = maps("bridge", &bridge).unwrap();
        assert!(other.contains_key("fdb") && !other.contains_key("resume"));
        drop(bridge);
        // Each may get the place of the one before it.
        for elf in [ROOT, BRIDGE].into_iter().cycle().take(8) {
            let found = maps("another", &Arc::from(elf)).unwrap();
            assert_eq!(found.contains_key("resume"), elf == ROOT);
        }
    }
}
