use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::maps::fixture::{HASH, LPM_TRIE, again, map};
use crate::maps::raw::{Expected, Presence};

type Walk = fn(&Raw, &mut dyn FnMut(&[u8], &[u8])) -> Result<(), MapError>;

fn raw(kind: u32, key: u32, entries: u32) -> (Raw, Raw) {
    let map = map(kind, key, 4, entries);
    let open = |map| Raw::open(map, &Expected { kind: MapType(kind), key: key as usize, value: 4 }).unwrap();
    (open(again(&map)), open(map))
}

fn key(kind: u32, n: u32) -> Vec<u8> {
    let prefix = if kind == LPM_TRIE { 32_u32.to_ne_bytes().to_vec() } else { Vec::new() };
    [prefix, n.to_be_bytes().to_vec()].concat()
}

fn in_batches_only(raw: &Raw, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), MapError> {
    assert!(in_batches(raw, visit)?, "this kernel has batches");
    Ok(())
}

/// Asserts that `walk` visits each entry that stays once and ends, while others come and go; an error says that it ended
/// early, which only a walk from key to key may.
#[track_caller]
fn check(kind: u32, walk: Walk, may_give_up: bool) {
    const STAYING: u32 = 6000;
    let (raw, other) = raw(kind, if kind == LPM_TRIE { 8 } else { 4 }, 2 * STAYING);
    for n in 0..STAYING {
        raw.update(&key(kind, n), &n.to_ne_bytes(), Presence::Any).unwrap();
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !is_over.load(Ordering::Relaxed) {
                let coming = STAYING + n % STAYING;
                other.update(&key(kind, coming), &coming.to_ne_bytes(), Presence::Any).unwrap();
                other.remove(&key(kind, STAYING + (n + STAYING - 50) % STAYING)).unwrap();
                n += 1;
            }
        });
        let began = Instant::now();
        for _ in 0..5 {
            let mut visits = vec![0; STAYING as usize];
            let result = walk(&raw, &mut |key, value| {
                let n = u32::from_be_bytes(*key.last_chunk().unwrap());
                // A trie answers with a shorter prefix when the longer one is gone; these have none.
                assert_eq!(value, n.to_ne_bytes());
                if let Some(visits) = visits.get_mut(n as usize) {
                    *visits += 1;
                }
            });
            match result {
                Ok(()) => assert!(visits.iter().all(|visits| *visits == 1)),
                Err(error) => assert!(may_give_up && matches!(error, MapError::Busy { .. }), "{error}"),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    });
}

#[test]
fn batches_have_each_entry_once_while_others_come_and_go() {
    check(HASH, in_batches_only, false);
}

#[test]
fn a_walk_from_key_to_key_ends_while_others_come_and_go() {
    check(HASH, key_by_key, true);
    check(LPM_TRIE, walk, true);
}

#[test]
fn both_ways_find_the_same() {
    let (raw, _other) = raw(HASH, 4, 9000);
    for n in 0..9000_u32 {
        raw.update(&key(HASH, n), &n.to_ne_bytes(), Presence::Any).unwrap();
    }
    let all = |walk: Walk| {
        let mut found = Vec::new();
        walk(&raw, &mut |key, value| found.push((key.to_vec(), value.to_vec()))).unwrap();
        found.sort_unstable();
        found
    };
    let (batches, keys) = (all(in_batches_only), all(key_by_key));
    assert_eq!(batches.len(), 9000);
    assert!(batches == keys);
}

#[test]
fn a_walk_that_begins_again_passes_over_what_it_has_seen() {
    let (raw, other) = raw(HASH, 4, 9000);
    for n in 0..1000_u32 {
        raw.update(&key(HASH, n), &n.to_ne_bytes(), Presence::Any).unwrap();
    }
    let mut visits = vec![0; 1000];
    // The kernel begins again after a key that is gone.
    let result = key_by_key(&raw, &mut |key, value| {
        let n = u32::from_ne_bytes(*value.first_chunk().unwrap());
        visits[n as usize] += 1;
        if n % 10 == 0 {
            other.remove(key).unwrap();
        }
    });
    assert!(result.is_ok() && visits.iter().all(|visits| *visits == 1));
    let mut count = 0_u32;
    // A walk that never gets further gives up.
    let result = key_by_key(&raw, &mut |key, _| {
        count += 1;
        other.remove(key).unwrap();
        other.update(&(100_000 + count).to_ne_bytes(), &[0; 4], Presence::Any).unwrap();
    });
    assert!(matches!(result, Err(MapError::Busy { .. })), "{result:?} after {count}");
}
