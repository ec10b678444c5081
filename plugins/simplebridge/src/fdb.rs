//! The forwarding database: the kernel's map, and how to change it.

use std::collections::{BTreeMap, BTreeSet};

use polycube_layout::bridge::{FDB_SIZE, FdbEntry, FdbKey, STATIC};
use polycube_plugin_api::maps::{Hash, MapError};
use rustix::time::{ClockId, clock_gettime};

use crate::datapath::Statics;
use crate::mac::Mac;

/// Everything in the map, by address.
pub(crate) type Entries = BTreeMap<Mac, FdbEntry>;

/// Ages of entries and their limit, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ageing {
    /// Nanoseconds on the program's clock.
    pub(crate) now: u64,
    /// Nanoseconds that an entry lives after its last frame; 0 means for ever.
    pub(crate) limit: u64,
}

impl Ageing {
    pub(crate) fn with_limit(limit: u64) -> Self {
        // The clock that `bpf_ktime_get_coarse_ns` reads.
        let now = clock_gettime(ClockId::MonotonicCoarse);
        Self { now: now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned(), limit }
    }

    /// Nanoseconds since the address was seen; a static entry has no age.
    pub(crate) fn age(self, entry: &FdbEntry) -> Option<u64> {
        (entry.seen != STATIC).then(|| self.now.saturating_sub(entry.seen))
    }

    pub(crate) fn has_aged(self, entry: &FdbEntry) -> bool {
        self.limit != 0 && self.age(entry).is_some_and(|age| age > self.limit)
    }
}

/// Changes to make to the map.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Changes {
    pub(crate) remove: Vec<Mac>,
    pub(crate) bind: Vec<(Mac, u32)>,
}

impl Changes {
    /// Makes `statics` the only static entries, and keeps the learned ones on the ports `kept`.
    ///
    /// If the map has no room for them all, the learned entries that were silent longest are removed.
    pub(crate) fn to_configuration(present: &Entries, statics: &Statics, kept: &BTreeSet<u32>) -> Self {
        let (mut learned, mut remove) = (Vec::new(), Vec::new());
        for (mac, entry) in present {
            if statics.contains_key(mac) {
                continue;
            }
            if entry.seen != STATIC && kept.contains(&entry.port) {
                learned.push((entry.seen, *mac));
            } else {
                remove.push(*mac);
            }
        }
        let excess = (learned.len() + statics.len()).saturating_sub(FDB_SIZE as usize);
        if excess > 0 {
            learned.sort_unstable();
            remove.extend(learned.drain(..excess).map(|(_, mac)| mac));
        }
        let is_bound =
            |mac: &Mac, port: u32| present.get(mac).is_some_and(|entry| entry.seen == STATIC && entry.port == port);
        let bind = statics.iter().map(|(mac, port)| (*mac, *port)).filter(|(mac, port)| !is_bound(mac, *port));
        Self { remove, bind: bind.collect() }
    }

    /// Removes aged entries and those of ports other than `ports`: a frame in flight while its port was removed may
    /// have been learned afterwards.
    pub(crate) fn sweep(present: &Entries, ageing: Ageing, ports: &BTreeSet<u32>) -> Self {
        let is_gone = |entry: &FdbEntry| ageing.has_aged(entry) || !ports.contains(&entry.port);
        let gone = present.iter().filter(|(_, entry)| is_gone(entry));
        Self { remove: gone.map(|(mac, _)| *mac).collect(), bind: Vec::new() }
    }

    /// Removes the learned entries of `ports`.
    pub(crate) fn forget(present: &Entries, ports: &BTreeSet<u32>) -> Self {
        let learned = present.iter().filter(|(_, entry)| entry.seen != STATIC && ports.contains(&entry.port));
        Self { remove: learned.map(|(mac, _)| *mac).collect(), bind: Vec::new() }
    }

    /// Removes all learned entries.
    pub(crate) fn flush(present: &Entries) -> Self {
        let learned = present.iter().filter(|(_, entry)| entry.seen != STATIC);
        Self { remove: learned.map(|(mac, _)| *mac).collect(), bind: Vec::new() }
    }
}

fn key(mac: Mac) -> FdbKey {
    FdbKey { mac: mac.0, zero: [0; 2] }
}

/// The kernel's map. Programs add and refresh entries; only this removes any.
pub(crate) struct Fdb(pub(crate) Hash<FdbKey, FdbEntry>);

impl Fdb {
    pub(crate) fn entries(&self) -> Result<Entries, MapError> {
        Ok(self.0.entries()?.into_iter().map(|(key, entry)| (Mac(key.mac), entry)).collect())
    }

    pub(crate) fn apply(&self, changes: &Changes) -> Result<(), MapError> {
        for mac in &changes.remove {
            self.0.remove(&key(*mac))?;
        }
        for (mac, port) in &changes.bind {
            self.0.insert(&key(*mac), &FdbEntry { seen: STATIC, port: *port, zero: 0 })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    fn learned(n: u32, port: u32, seen: u64) -> (Mac, FdbEntry) {
        (mac(n), FdbEntry { seen, port, zero: 0 })
    }

    fn bound(n: u32, port: u32) -> (Mac, FdbEntry) {
        learned(n, port, STATIC)
    }

    #[track_caller]
    fn check(present: &[(Mac, FdbEntry)], statics: &[(u32, u32)], remove: &[u32], bind: &[(u32, u32)]) {
        let statics = statics.iter().map(|(n, port)| (mac(*n), *port)).collect();
        let changes = Changes::to_configuration(&present.iter().copied().collect(), &statics, &BTreeSet::from([0, 1]));
        let expected = Changes {
            remove: remove.iter().map(|n| mac(*n)).collect(),
            bind: bind.iter().map(|(n, port)| (mac(*n), *port)).collect(),
        };
        assert_eq!(changes, expected);
    }

    #[test]
    fn only_the_difference_is_written() {
        check(&[], &[], &[], &[]);
        check(&[bound(1, 0), learned(2, 1, SECOND)], &[(1, 0)], &[], &[]);
        check(&[bound(1, 0)], &[(1, 1), (2, 0)], &[], &[(1, 1), (2, 0)]);
        check(&[bound(1, 0), bound(2, 0)], &[(2, 0)], &[1], &[]);
    }

    #[test]
    fn a_learned_address_becomes_static_where_the_user_says() {
        check(&[learned(1, 0, SECOND)], &[(1, 1)], &[], &[(1, 1)]);
    }

    #[test]
    fn addresses_of_a_port_that_is_gone_are_removed() {
        check(&[learned(1, 0, SECOND), learned(2, 7, SECOND), bound(3, 7)], &[], &[2, 3], &[]);
    }

    #[test]
    fn static_entries_displace_the_quietest_when_the_map_is_full() {
        let present: Vec<_> = (0..FDB_SIZE).map(|n| learned(n, 0, u64::from(FDB_SIZE - n))).collect();
        check(&present, &[(5, 1)], &[], &[(5, 1)]);
        let last = FDB_SIZE - 1;
        check(&present, &[(FDB_SIZE, 1), (FDB_SIZE + 1, 0)], &[last, last - 1], &[(FDB_SIZE, 1), (FDB_SIZE + 1, 0)]);
    }

    #[test]
    fn an_entry_ages_after_the_limit_and_a_static_one_never() {
        let entry = FdbEntry { seen: 10 * SECOND, port: 0, zero: 0 };
        let has_aged = |now, limit| Ageing { now, limit }.has_aged(&entry);
        assert!(!has_aged(310 * SECOND, 300 * SECOND));
        assert!(has_aged(310 * SECOND + 1, 300 * SECOND));
        assert!(!has_aged(u64::MAX - 1, 0));
        assert!(!has_aged(9 * SECOND, 1), "the program's clock may be ahead of ours");
        assert!(!Ageing { now: u64::MAX, limit: 1 }.has_aged(&bound(1, 0).1));
    }

    #[test]
    fn a_sweep_takes_the_aged_and_those_of_unknown_ports() {
        let present = [learned(1, 0, SECOND), learned(2, 0, 9 * SECOND), learned(3, 4, 9 * SECOND), bound(4, 0)];
        let ageing = Ageing { now: 10 * SECOND, limit: 5 * SECOND };
        let changes = Changes::sweep(&present.into(), ageing, &BTreeSet::from([0]));
        assert_eq!(changes, Changes { remove: vec![mac(1), mac(3)], bind: vec![] });
    }

    #[test]
    fn what_is_forgotten_was_learned_on_these_ports() {
        let present = [learned(1, 0, SECOND), learned(2, 1, SECOND), bound(3, 0), learned(4, 2, SECOND)];
        let changes = Changes::forget(&present.into(), &BTreeSet::from([0, 2]));
        assert_eq!(changes, Changes { remove: vec![mac(1), mac(4)], bind: vec![] });
    }

    #[test]
    fn a_flush_leaves_the_static() {
        let present = [learned(1, 0, SECOND), bound(2, 0)];
        assert_eq!(Changes::flush(&present.into()), Changes { remove: vec![mac(1)], bind: vec![] });
    }
}
