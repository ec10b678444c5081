//! The lanes of a CPU: which bytes lie between two positions of one, and in which order two are read. It is arithmetic
//! alone, so that every case of it can be tried.

#![forbid(unsafe_code)]

use std::ops::Range;

use polycube_layout::ring::SLACK;

use super::Damage;

/// The lane that goes round in the CPU's cache.
pub(super) const SMALL: usize = 0;
/// The lane for what that one has no room for.
pub(super) const LARGE: usize = 1;

/// How far a CPU has come, at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(super) small: u64,
    /// What the large lane has before this is older than the small lane's records, the rest is newer.
    pub(super) turn: u64,
    pub(super) large: u64,
}

/// Records of one lane that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) lane: usize,
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Head {
    /// What there is from `tails` on, in its order; stretches may be empty.
    pub(super) fn stretches(&self, tails: [u64; 2]) -> Result<[Stretch; 3], Damage> {
        let [small, large] = tails;
        // Once the small lane is empty, the large one is read beyond it.
        let turn = if small == self.small { self.turn.max(large) } else { self.turn };
        if self.small < small || turn < large || self.large < turn {
            return Err(Damage);
        }
        Ok([
            Stretch { lane: LARGE, from: large, to: turn },
            Stretch { lane: SMALL, from: small, to: self.small },
            Stretch { lane: LARGE, from: turn, to: self.large },
        ])
    }
}

/// A lane's place in the element of its CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    pub(super) at: usize,
    /// A power of two.
    pub(super) size: usize,
}

impl Lane {
    /// The bytes from `from` to `to`, as offsets in the element: up to the lap's end, and after it. `wrap` is where the
    /// lap's last record ends, if `to` is not in the lap.
    pub(super) fn extent(self, from: u64, to: u64, wrap: u64) -> Result<[Range<usize>; 2], Damage> {
        if from == to {
            return Ok([0..0, 0..0]);
        }
        let lap_end = self.lap_end(from).ok_or(Damage)?;
        if to < from || to - from > self.size as u64 {
            return Err(Damage);
        }
        let end = if to < lap_end { to } else { wrap };
        if to >= lap_end && !(lap_end..=lap_end.saturating_add(SLACK as u64)).contains(&end) {
            return Err(Damage);
        }
        let range = |from: u64, length: u64| {
            let start = self.at + (from & (self.size as u64 - 1)) as usize;
            start..start + length as usize
        };
        Ok([range(from, end - from), range(lap_end, to.saturating_sub(lap_end))])
    }

    /// The position `taken` bytes after `from`.
    pub(super) fn advance(self, from: u64, taken: usize, wrap: u64) -> u64 {
        let end = from.saturating_add(taken as u64);
        match self.lap_end(from) {
            // A record that ends at or after the lap's end is the lap's last.
            Some(lap_end) if end >= lap_end => lap_end + end.saturating_sub(wrap),
            _ => end,
        }
    }

    fn lap_end(self, position: u64) -> Option<u64> {
        (position | (self.size as u64 - 1)).checked_add(1)
    }
}
