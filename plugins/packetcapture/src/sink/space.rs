//! The floor of free space on a disk: what captures leave to others.
//!
//! Asking how much is free may take as long as the disk likes, so the threads that do it are the one that opens files and
//! the one for slow operations. In between, what was written since is subtracted.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use rustix::fs::fstatvfs;

use crate::lock::lock;

/// The floor is one part in this many of the disk, if the operator sets none.
const PART: u64 = 20;
/// But not more bytes than this: large disks need no larger reserve.
const MOST: u64 = 1 << 30;

/// The disk has no more space than captures leave to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its disk has {} MiB free or less, which captures leave to others (polycubed's `--capture-floor`)", .floor.div_ceil(1 << 20))]
pub(super) struct Full {
    floor: u64,
}

/// The space for captures on the disk of the current file.
#[derive(Clone, Default)]
pub(super) struct Space(Arc<Mutex<Option<Measured>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    /// Bytes above the floor.
    room: u64,
    floor: u64,
}

impl Space {
    /// Looks at the disk of `fd`. A `floor` that is not set depends on the size of the disk. Without one, the disk itself
    /// says when it is full.
    pub(super) fn measure(&self, fd: impl AsFd, floor: Option<u64>) {
        if floor == Some(0) {
            return;
        }
        let measured = fstatvfs(fd).ok().map(|disk| measured(disk.f_frsize, disk.f_blocks, disk.f_bavail, floor));
        *lock(&self.0) = measured;
    }

    /// Takes `bytes`, if there is room for them, or it is not known how much room there is. After a refusal there is no
    /// room until the next measurement: otherwise the few packets that come last would be written, and those before not.
    pub(super) fn take(&self, bytes: u64) -> Result<(), Full> {
        let mut measured = lock(&self.0);
        let Some(Measured { room, floor }) = &mut *measured else { return Ok(()) };
        let rest = room.checked_sub(bytes);
        *room = rest.unwrap_or_default();
        rest.map(drop).ok_or(Full { floor: *floor })
    }
}

/// A disk with so many blocks, and so many that are free for users other than root.
fn measured(block: u64, blocks: u64, free: u64, floor: Option<u64>) -> Measured {
    let floor = floor.unwrap_or_else(|| (block.saturating_mul(blocks) / PART).min(MOST));
    Measured { room: block.saturating_mul(free).saturating_sub(floor), floor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_a_part_of_small_disks_and_a_gibibyte_of_large_ones() {
        let check = |blocks, free, floor, expected| {
            let Measured { room, floor } = measured(4096, blocks, free, floor);
            assert_eq!((room, floor), expected);
        };
        check(1000, 100, None, (4096 * 50, 4096 * 50));
        check(1000, 40, None, (0, 4096 * 50));
        check(1000, 40, Some(0), (4096 * 40, 0));
        check(1 << 30, 1 << 29, None, (4096 * (1 << 29) - MOST, MOST));
        check(1000, 100, Some(u64::MAX), (0, u64::MAX));
    }

    #[test]
    fn what_is_written_is_subtracted_until_the_disk_is_looked_at() {
        let space = Space::default();
        space.take(u64::MAX).unwrap();
        *lock(&space.0) = Some(Measured { room: 10, floor: 3 << 20 });
        space.take(4).unwrap();
        let message = "its disk has 3 MiB free or less, which captures leave to others (polycubed's `--capture-floor`)";
        assert_eq!(space.take(7).unwrap_err().to_string(), message);
        assert!(space.take(1).is_err(), "what comes later does not fit instead");
        let directory = tempfile::TempDir::new().unwrap();
        space.measure(std::fs::File::open(directory.path()).unwrap(), Some(u64::MAX));
        assert!(space.take(1).is_err());
        space.measure(std::fs::File::open(directory.path()).unwrap(), Some(1));
        space.take(1).unwrap();
    }
}
