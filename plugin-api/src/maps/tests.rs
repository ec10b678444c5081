//! Do the typed maps do in the real kernel what they say?

use super::fixture::{ARRAY, HASH, LPM_TRIE, LRU_HASH, LRU_PERCPU_HASH, PERCPU_ARRAY, PERCPU_HASH, again, map};
use super::*;
use crate::Refusal;

fn open<M: TryFrom<Map, Error = OpenError>>(map: Map) -> Result<M, OpenError> {
    Maps(vec![map]).open("m")
}

/// Asserts that `map` is not opened as an `M`, and how that is said.
#[track_caller]
fn check_refused<M: TryFrom<Map, Error = OpenError>>(map: Map, expected: &str) {
    let refusal = open::<M>(map).map(drop).map_err(Refusal::from).unwrap_err();
    assert_eq!(refusal.message, expected);
}

#[test]
fn a_map_is_opened_as_what_it_is_and_once() {
    let mut maps = Maps(vec![map(ARRAY, 4, 8, 3)]);
    assert!(maps.open::<Array<u64>>("m").is_ok());
    let message = "the cube has no map `m`: describe it in `Datapath::maps`, and open it once";
    assert_eq!(maps.open::<Array<u64>>("m").unwrap_err().to_string(), message);

    let as_array = "the map `m` is a HASH, not an ARRAY: declare it as ARRAY, or open it as what it is";
    check_refused::<Array<u64>>(map(HASH, 4, 8, 3), as_array);
    let as_hash = "the map `m` is an LRU_HASH, not a HASH: declare it as HASH, or open it as what it is";
    check_refused::<Hash<u32, u64>>(map(LRU_HASH, 4, 8, 3), as_hash);
    let as_ring = "the map `m` is a PERCPU_ARRAY, not a RINGBUF: declare it as RINGBUF, or open it as what it is";
    check_refused::<Ring>(map(PERCPU_ARRAY, 4, 8, 3), as_ring);
    check_refused::<Hash<[u8; 6], u64>>(
        map(HASH, 8, 8, 3),
        "keys of the map `m` have 8 bytes, but the plugin's type for them has 6",
    );
    check_refused::<PerCpuArray<[u64; 2]>>(
        map(PERCPU_ARRAY, 4, 24, 3),
        "values of the map `m` have 24 bytes, but the plugin's type for them has 16",
    );
    let file = std::fs::File::open("/dev/null").unwrap().into();
    let other = Map { name: String::from("m"), key_size: 4, value_size: 8, max_entries: 1, fd: file };
    let message = open::<Array<u64>>(other).unwrap_err().to_string();
    assert_eq!(message, "could not open the map `m`: Invalid argument (os error 22)");
}

#[test]
fn an_array_has_all_its_elements_and_no_more() {
    let array: Array<[u32; 3]> = open(map(ARRAY, 4, 12, 5000)).unwrap();
    array.set(0, &[1, 2, 3]).unwrap();
    array.set(4999, &[7, 8, 9]).unwrap();
    assert_eq!((array.len(), array.get(4999).unwrap(), array.get(1).unwrap()), (5000, [7, 8, 9], [0; 3]));
    let values = array.values().unwrap();
    assert_eq!((values.len(), values[0], values[4998], values[4999]), (5000, [1, 2, 3], [0; 3], [7, 8, 9]));
    let message = "the map `m` has no element 5000: it has 5000, and the first is 0";
    assert_eq!(array.get(5000).unwrap_err().to_string(), message);
    assert_eq!(array.set(5000, &[0; 3]).unwrap_err().to_string(), message);
}

/// Sets the value of the first CPU alone, beside zeros.
fn set_first_cpu(raw: &raw::Raw, key: &[u8], value: &[u8]) {
    let mut each = vec![0; raw.value_bytes()];
    each[..value.len()].copy_from_slice(value);
    raw.shaped().update(key, &each, 0).unwrap();
}

#[test]
fn a_per_cpu_array_is_summed_over_all_cpus() {
    let cpus = sys::possible_cpus().unwrap() as u64;
    let own = map(PERCPU_ARRAY, 4, 12, 3);
    let raw = raw::Raw::open(again(&own), &raw::Expected { kind: MapType::PERCPU_ARRAY, key: 4, value: 12 });
    // Values of 12 bytes begin at multiples of 8.
    let array: PerCpuArray<[u32; 3]> = open(own).unwrap();
    array.set(1, &[1, 2, 3]).unwrap();
    let total = |each: [u32; 3]| each.map(|one| one * cpus as u32);
    assert_eq!(
        (array.len(), array.get(1).unwrap(), array.sum(1).unwrap()),
        (3, vec![[1, 2, 3]; cpus as usize], total([1, 2, 3]))
    );
    let bytes = [10_u32, 20, 30].map(u32::to_ne_bytes).concat();
    set_first_cpu(&raw.unwrap(), &2_u32.to_ne_bytes(), &bytes);
    assert_eq!(array.sums().unwrap(), [[0; 3], total([1, 2, 3]), [10, 20, 30]]);
    assert!(matches!(array.sum(3), Err(MapError::Index { index: 3, max_entries: 3, .. })));
}

#[test]
fn a_hash_table_keeps_entries_until_it_is_full() {
    let table: Hash<u32, u64> = open(map(HASH, 4, 8, 2)).unwrap();
    assert_eq!((table.get(&1).unwrap(), table.entries().unwrap()), (None, vec![]));
    table.insert(&1, &10).unwrap();
    assert!(!table.insert_new(&1, &11).unwrap() && table.insert_new(&2, &20).unwrap());
    assert!(table.replace(&1, &12).unwrap() && !table.replace(&3, &30).unwrap());
    let message = "the map `m` is full: it has room for 2 entries";
    assert_eq!(table.insert(&3, &30).unwrap_err().to_string(), message);
    let mut entries = table.entries().unwrap();
    entries.sort_unstable();
    assert_eq!(entries, [(1, 12), (2, 20)]);
    assert!(table.remove(&1).unwrap() && !table.remove(&1).unwrap());
    table.insert(&3, &30).unwrap();
    assert_eq!((table.get(&1).unwrap(), table.get(&3).unwrap()), (None, Some(30)));
}

#[test]
fn an_lru_hash_table_makes_room() {
    let table: LruHash<u32, u32> = open(map(LRU_HASH, 4, 4, 64)).unwrap();
    for key in 0..1000 {
        table.insert(&key, &key).unwrap();
    }
    let entries = table.entries().unwrap();
    assert!(!entries.is_empty() && entries.len() <= 64 && entries.iter().all(|(key, value)| key == value));
}

#[test]
fn per_cpu_hash_tables_are_summed() {
    let cpus = sys::possible_cpus().unwrap() as u64;
    let table: PerCpuHash<u32, u64> = open(map(PERCPU_HASH, 4, 8, 2)).unwrap();
    table.insert(&1, &3).unwrap();
    table.insert(&2, &5).unwrap();
    assert_eq!((table.get(&1).unwrap(), table.sum(&1).unwrap()), (Some(vec![3; cpus as usize]), Some(3 * cpus)));
    assert_eq!((table.get(&7).unwrap(), table.sum(&7).unwrap()), (None, None));
    assert!(matches!(table.insert(&3, &1), Err(MapError::Full { max_entries: 2, .. })));
    let mut sums = table.sums().unwrap();
    sums.sort_unstable();
    assert_eq!(sums, [(1, 3 * cpus), (2, 5 * cpus)]);
    assert!(table.remove(&1).unwrap() && !table.remove(&1).unwrap());

    let table: LruPerCpuHash<u32, u64> = open(map(LRU_PERCPU_HASH, 4, 8, 64)).unwrap();
    table.insert(&1, &3).unwrap();
    assert_eq!(table.sums().unwrap(), [(1, 3 * cpus)]);
}

#[test]
fn a_trie_finds_the_longest_prefix() {
    let trie: LpmTrie<[u8; 4], u32> = open(map(LPM_TRIE, 8, 4, 3)).unwrap();
    let prefix = |address: [u8; 4], length| Prefix { length, address };
    trie.insert(&prefix([10, 0, 0, 0], 8), &8).unwrap();
    trie.insert(&prefix([10, 1, 0, 0], 16), &16).unwrap();
    assert_eq!(trie.look_up([10, 1, 2, 3]).unwrap(), Some(16));
    assert_eq!(trie.look_up([10, 2, 2, 3]).unwrap(), Some(8));
    assert_eq!(trie.look_up([11, 1, 2, 3]).unwrap(), None);
    let mut entries = trie.entries().unwrap();
    entries.sort_unstable_by_key(|(prefix, _)| prefix.length);
    assert_eq!(entries, [(prefix([10, 0, 0, 0], 8), 8), (prefix([10, 1, 0, 0], 16), 16)]);
    assert!(trie.insert(&prefix([10, 0, 0, 0], 33), &1).is_err());
    trie.insert(&prefix([12, 0, 0, 0], 8), &1).unwrap();
    assert!(matches!(trie.insert(&prefix([13, 0, 0, 0], 8), &1), Err(MapError::Full { max_entries: 3, .. })));
    assert!(trie.remove(&prefix([10, 1, 0, 0], 16)).unwrap() && !trie.remove(&prefix([10, 1, 0, 0], 16)).unwrap());
    assert_eq!(trie.look_up([10, 1, 2, 3]).unwrap(), Some(8));
}
