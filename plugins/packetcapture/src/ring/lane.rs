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

/// A lane's place in its map, and its segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Where its first segment begins.
    pub(super) at: usize,
    /// Bytes of a segment, a power of two.
    pub(super) size: usize,
    /// Bytes from one segment to the next: of a segment with its slack.
    pub(super) stride: usize,
    /// How many segments it has, a power of two.
    pub(super) segments: usize,
}

/// Records of one segment that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its place in the map.
    pub(super) range: Range<usize>,
    /// The position after it.
    pub(super) next: u64,
}

impl Lane {
    /// The records from `from` on, up to `to` or the segment's end. `wrap` is where a segment's last record ends, if `to`
    /// is not in the segment.
    pub(super) fn piece(self, from: u64, to: u64, wrap: impl FnOnce(usize) -> u64) -> Result<Piece, Damage> {
        let (size, count) = (self.size as u64, self.segments as u64);
        let lap_end = (from | (size - 1)).checked_add(1).ok_or(Damage)?;
        if to < from || to - from > size * count {
            return Err(Damage);
        }
        let segment = self.segment(from);
        let (end, next) = if to < lap_end { (to, to) } else { (wrap(segment), lap_end) };
        if to >= lap_end && !(lap_end..=lap_end.saturating_add(SLACK as u64)).contains(&end) {
            return Err(Damage);
        }
        let start = self.at + segment * self.stride + (from & (size - 1)) as usize;
        Ok(Piece { range: start..start + (end - from) as usize, next })
    }

    /// The segment that `position` is in.
    pub(super) fn segment(self, position: u64) -> usize {
        (position / self.size as u64) as usize & (self.segments - 1)
    }
}
