//! The ELF objects that the cubes of a service load from: most cubes of a service have the same ones.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::described::Known;

/// The objects that a plugin's cubes have handed over, for as long as one of them has them: read once, and held once.
#[derive(Default)]
pub(super) struct Objects(Mutex<Vec<Weak<Known>>>);

impl Objects {
    /// The object with these bytes.
    pub(super) fn of(&self, bytes: &[u8]) -> Arc<Known> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|object| object.strong_count() > 0);
        if let Some(known) = held.iter().filter_map(Weak::upgrade).find(|known| *known.bytes == *bytes) {
            return known;
        }
        let known = Arc::new(Known::new(bytes));
        // Generated instructions are a cube's own, and there may be as many of them as cubes.
        if known.is_elf() {
            held.push(Arc::downgrade(&known));
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static BRIDGE: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");
    static ROOT: &[u8] = include_bytes!("../../../ebpf/objects/root.o");

    #[test]
    fn cubes_share_objects_while_one_of_them_is_there() {
        let objects = Objects::default();
        let (bridge, root) = (objects.of(BRIDGE), objects.of(ROOT));
        assert!(Arc::ptr_eq(&bridge, &objects.of(BRIDGE)) && Arc::ptr_eq(&root, &objects.of(ROOT)));
        assert_eq!((&*bridge.bytes, &*root.bytes), (BRIDGE, ROOT));
        let gone = Arc::downgrade(&bridge);
        drop(bridge);
        assert!(gone.upgrade().is_none(), "the list keeps nothing");
        assert_eq!(&*objects.of(BRIDGE).bytes, BRIDGE);
    }

    #[test]
    fn generated_instructions_are_not_searched() {
        let objects = Objects::default();
        let filters: Vec<_> = (0..9_u8).map(|number| objects.of(&[number; 16])).collect();
        assert_eq!(filters[3].bytes[0], 3);
        assert!(objects.0.lock().unwrap().is_empty());
    }
}
