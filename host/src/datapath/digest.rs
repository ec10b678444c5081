//! Digests of what programs are made of. Two programs of the same digest do the same.

use std::collections::BTreeMap;

use polycube_loader::object::{JumpTable, JumpTarget};
use polycube_plugin_api::Code;
use sha2::{Digest as _, Sha256};

use crate::wiring::NodeSpec;

/// To be changed whenever the host makes another program of the same object.
const LOADER: &str = "2";

/// Of a program of a cube; `maps` are the kernel's ids of the maps that it may use, by their names.
pub(super) fn of_node(spec: &NodeSpec, maps: &BTreeMap<&str, u32>) -> String {
    let mut digest = start(&spec.object);
    match &spec.program.code {
        Code::Elf { entry, constants } => {
            feed(&mut digest, entry.as_bytes());
            for (name, bytes) in constants {
                feed(&mut digest, name.as_bytes());
                feed(&mut digest, bytes);
            }
            // Otherwise it is made as it was before there was a difference.
            if spec.is_followed {
                feed(&mut digest, b"followed");
            }
            spec.jumps.iter().for_each(|table| feed_table(&mut digest, table));
        }
        Code::Instructions { maps } => {
            for (index, name) in maps {
                feed(&mut digest, &index.to_ne_bytes());
                feed(&mut digest, name.as_bytes());
            }
        }
    }
    for (name, id) in maps {
        feed(&mut digest, name.as_bytes());
        feed(&mut digest, &id.to_ne_bytes());
    }
    text(digest)
}

fn feed_table(digest: &mut Sha256, JumpTable { map, targets }: &JumpTable) {
    feed(digest, b"jumps");
    feed(digest, map.as_bytes());
    for JumpTarget { index, object, entry, constants } in targets {
        feed(digest, &index.to_ne_bytes());
        feed(digest, object);
        feed(digest, entry.as_bytes());
        for (name, bytes) in constants {
            feed(digest, name.as_bytes());
            feed(digest, bytes);
        }
        feed(digest, b"end");
    }
}

/// Of a program that is alike wherever it stands.
pub(super) fn of_object(object: &[u8]) -> String {
    text(start(object))
}

fn start(object: &[u8]) -> Sha256 {
    let mut digest = Sha256::new();
    feed(&mut digest, LOADER.as_bytes());
    #[cfg(debug_assertions)]
    if crate::fault::is_armed("upgrade") {
        feed(&mut digest, b"another version");
    }
    feed(&mut digest, object);
    digest
}

/// With its length, so that two fields are never taken for two others.
fn feed(digest: &mut Sha256, bytes: &[u8]) {
    digest.update((bytes.len() as u64).to_ne_bytes());
    digest.update(bytes);
}

/// 128 bits in hexadecimal digits: short enough for a name, and the odds of two alike are none.
fn text(digest: Sha256) -> String {
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use polycube_plugin_api::{Direction, Program};

    use super::*;

    fn spec(object: &[u8], code: Code) -> NodeSpec {
        let program = Program { point: 0, direction: Direction::Ingress, stage: 0, object: 0, code };
        NodeSpec {
            program,
            object: Arc::from(object),
            is_followed: false,
            maps: Vec::new(),
            jumps: Vec::new(),
            tail_calls: 0,
        }
    }

    fn jumping(index: u32, entry: &str, constants: &[(&str, &[u8])]) -> NodeSpec {
        let constants = constants.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let target = JumpTarget { index, object: Arc::from(*b"one"), entry: entry.to_owned(), constants };
        let table = JumpTable { map: "calls".to_owned(), targets: vec![target] };
        NodeSpec { jumps: vec![table], ..spec(b"one", elf("main", &[])) }
    }

    fn elf(entry: &str, constants: &[(&str, &[u8])]) -> Code {
        let constants = constants.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        Code::Elf { entry: entry.to_owned(), constants }
    }

    #[test]
    fn whatever_makes_another_program_makes_another_digest() {
        let instructions = |index, name: &str| Code::Instructions { maps: vec![(index, name.to_owned())] };
        let maps = |id| BTreeMap::from([("RINGS", id)]);
        let digests = [
            of_node(&spec(b"one", elf("main", &[])), &maps(1)),
            of_node(&spec(b"two", elf("main", &[])), &maps(1)),
            of_node(&spec(b"one", elf("other", &[])), &maps(1)),
            of_node(&spec(b"one", elf("main", &[("A", b"b")])), &maps(1)),
            of_node(&spec(b"one", elf("main", &[("Ab", b"")])), &maps(1)),
            of_node(&spec(b"one", elf("main", &[])), &maps(2)),
            of_node(&spec(b"one", elf("main", &[])), &BTreeMap::new()),
            of_node(&spec(b"one", instructions(0, "next")), &maps(1)),
            of_node(&spec(b"one", instructions(1, "next")), &maps(1)),
            of_node(&jumping(0, "target", &[]), &maps(1)),
            of_node(&jumping(1, "target", &[]), &maps(1)),
            of_node(&jumping(0, "other", &[]), &maps(1)),
            of_node(&jumping(0, "target", &[("A", b"b")]), &maps(1)),
            of_object(b"one"),
        ];
        for (index, digest) in digests.iter().enumerate() {
            assert!(!digests[..index].contains(digest), "{index}: {digests:?}");
            assert_eq!(digest.len(), 32);
        }
        assert_eq!(digests[0], of_node(&spec(b"one", elf("main", &[])), &maps(1)));
    }
}
