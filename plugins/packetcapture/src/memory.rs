//! The memory of all captures of the daemon, rings and backlogs, and its common limit.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::lock::lock;
use crate::sys;

/// Of the machine's memory, captures may have one part in this many.
const PART: u64 = 4;
/// On a small machine, they may have more.
const LEAST: u64 = 512 << 20;
/// Captures that a refusal names.
const NAMED: usize = 3;

static TABLE: Mutex<Table> = Mutex::new(Table { shares: Vec::new() });
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The limit if the operator sets none, in bytes.
pub(crate) fn default_limit() -> u64 {
    // Without /proc, nothing is known of the machine.
    sys::memory().map_or(LEAST, |bytes| (bytes / PART).max(LEAST))
}

/// Rings do not fit into the memory that captures may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rings of this capture need {} MiB, and {used} of the {} MiB that captures may use: turn captures off, set a \
     smaller `ring-size`, or start polycubed with a larger `--capture-memory`",
    mebibytes(*.needed), mebibytes(*.limit)
)]
pub(crate) struct NoRoom {
    needed: u64,
    limit: u64,
    /// What takes up how much.
    used: String,
}

/// Bytes of the captures' memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) rings: u64,
    pub(crate) backlog: u64,
    /// Of all captures together.
    pub(crate) total: u64,
    pub(crate) limit: u64,
}

/// The memory of one cube. It is given back when this is dropped.
pub(crate) struct Share {
    id: u64,
    limit: u64,
}

/// Memory of rings, until it is dropped.
pub(crate) struct Held {
    id: u64,
    bytes: u64,
}

impl Share {
    /// The memory of `cube`. With that of all others, it is less than `limit` bytes.
    pub(crate) fn new(cube: &str, limit: u64) -> Self {
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&TABLE).shares.push(Entry { id, cube: cube.to_owned(), rings: 0, backlog: 0 });
        Self { id, limit }
    }

    /// Whether rings of `bytes` fit, in the place of those that the cube has.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), NoRoom> {
        lock(&TABLE).check(self.id, bytes, self.limit)
    }

    /// Takes `bytes` for rings that will replace those that the cube has.
    pub(crate) fn hold(&self, bytes: u64) -> Result<Held, NoRoom> {
        let mut table = lock(&TABLE);
        table.check(self.id, bytes, self.limit)?;
        table.change(self.id, |entry| entry.rings += bytes);
        Ok(Held { id: self.id, bytes })
    }

    /// Takes `bytes` for packets that wait for the disk; false if there is no room.
    pub(crate) fn wait(&self, bytes: u64) -> bool {
        let mut table = lock(&TABLE);
        let has_room = table.total() + bytes <= self.limit;
        if has_room {
            table.change(self.id, |entry| entry.backlog += bytes);
        }
        has_room
    }

    /// Gives back what [`wait`](Self::wait) took.
    pub(crate) fn end_wait(&self, bytes: u64) {
        lock(&TABLE).change(self.id, |entry| entry.backlog = entry.backlog.saturating_sub(bytes));
    }

    pub(crate) fn usage(&self) -> Usage {
        let table = lock(&TABLE);
        let own = table.shares.iter().find(|entry| entry.id == self.id);
        let (rings, backlog) = own.map_or((0, 0), |own| (own.rings, own.backlog));
        Usage { rings, backlog, total: table.total(), limit: self.limit }
    }
}

/// Without a limit.
impl Default for Share {
    fn default() -> Self {
        Self::new("", u64::MAX)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&TABLE).shares.retain(|entry| entry.id != self.id);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&TABLE).change(self.id, |entry| entry.rings = entry.rings.saturating_sub(self.bytes));
    }
}

/// What each cube has.
#[derive(Default)]
struct Table {
    shares: Vec<Entry>,
}

struct Entry {
    id: u64,
    cube: String,
    rings: u64,
    backlog: u64,
}

impl Table {
    fn total(&self) -> u64 {
        self.shares.iter().map(|entry| entry.rings + entry.backlog).sum()
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.shares.iter_mut().find(|entry| entry.id == id) {
            change(entry);
        }
    }

    fn check(&self, id: u64, needed: u64, limit: u64) -> Result<(), NoRoom> {
        // Two instances of a cube use the same rings while its service is loaded again.
        let cube = self.shares.iter().find(|entry| entry.id == id).map_or("", |entry| entry.cube.as_str());
        let own = self.shares.iter().filter(|entry| entry.cube == cube).map(|entry| entry.rings).sum();
        // Rings that are there already, as after a restart with another limit, may stay.
        if needed <= own || (self.total() - own).saturating_add(needed) <= limit {
            return Ok(());
        }
        Err(NoRoom { needed, limit, used: self.used(id) })
    }

    /// What others than `id` have, and what waits for the disk.
    fn used(&self, id: u64) -> String {
        let mut rings = self.shares.iter().filter(|entry| entry.id != id && entry.rings > 0).collect::<Vec<_>>();
        rings.sort_by(|one, other| (other.rings, &one.cube).cmp(&(one.rings, &other.cube)));
        let sum = rings.iter().map(|entry| entry.rings).sum();
        let backlogs = self.shares.iter().map(|entry| entry.backlog).sum();
        let mut used = format!("rings of other captures take {}", mebibytes(sum));
        let largest = rings.iter().take(NAMED).map(|entry| format!("{} {}", entry.cube, mebibytes(entry.rings)));
        let mut largest = largest.collect::<Vec<_>>();
        if rings.len() > NAMED {
            largest.push(format!("{} others", rings.len() - NAMED));
        }
        // Writing to a string does not fail.
        if !largest.is_empty() {
            let _ = write!(used, " ({})", largest.join(", "));
        }
        let _ = write!(used, " and backlogs {}", mebibytes(backlogs));
        used
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn table(shares: &[(&str, u64, u64)]) -> Table {
        let entry = |(id, (cube, rings, backlog)): (u64, &(&str, u64, u64))| Entry {
            id,
            cube: (*cube).to_owned(),
            rings: rings * MIB,
            backlog: backlog * MIB,
        };
        Table { shares: (0..).zip(shares).map(entry).collect() }
    }

    #[track_caller]
    fn check(shares: &[(&str, u64, u64)], needed: u64, expected: Option<&str>) {
        let found = table(shares).check(0, needed * MIB, 100 * MIB).err();
        assert_eq!(found.map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn rings_fit_as_long_as_there_is_room() {
        check(&[("new", 0, 0)], 100, None);
        check(&[("new", 0, 0), ("a", 60, 10)], 30, None);
        check(&[("new", 30, 0), ("a", 60, 10)], 30, None);
        check(&[("kept", 90, 0), ("a", 60, 0)], 90, None);
    }

    #[test]
    fn a_refusal_says_what_takes_how_much() {
        let what_to_do =
            "turn captures off, set a smaller `ring-size`, or start polycubed with a larger `--capture-memory`";
        let whole = |start: &str| format!("{start} of the 100 MiB that captures may use: {what_to_do}");
        let text = "the rings of this capture need 101 MiB, and rings of other captures take 0 and backlogs 0";
        check(&[("new", 0, 0)], 101, Some(&whole(text)));
        let text = "the rings of this capture need 31 MiB, and rings of other captures take 60 (a 60) and backlogs 10";
        check(&[("new", 0, 0), ("a", 60, 10)], 31, Some(&whole(text)));
        let text = "the rings of this capture need 90 MiB, and rings of other captures take 75 (b 40, a 20, c 10, 1 others) \
                    and backlogs 0";
        check(&[("new", 5, 0), ("a", 20, 0), ("b", 40, 0), ("c", 10, 0), ("d", 5, 0)], 90, Some(&whole(text)));
    }

    #[test]
    fn memory_is_given_back() {
        let share = Share::new("one", u64::MAX);
        let held = share.hold(7).unwrap();
        assert!(share.wait(5));
        assert_eq!((share.usage().rings, share.usage().backlog), (7, 5));
        drop(held);
        share.end_wait(5);
        assert_eq!((share.usage().rings, share.usage().backlog), (0, 0));
        assert!(!Share::new("two", 0).wait(1));
        assert!(Share::new("three", 0).hold(1).is_err());
    }
}
