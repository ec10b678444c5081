//! Two captures of the same traffic, laid side by side.

use std::collections::VecDeque;
use std::env;
use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::capture::{Direction, Seen};
use crate::pcap::{self, Record};

/// How much two captures' timestamps may differ in half of the packets: each reads the clock at another point of the
/// packet's path.
pub const TOLERANCE: Duration = Duration::from_millis(1);
/// How much they may differ in each: between the two points, the machine may be busy with something else.
pub const MOST: Duration = Duration::from_millis(50);

static FAILURES: AtomicU32 = AtomicU32::new(0);

/// What differs about a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// A packet that only they have.
    Missing,
    /// A packet that only we have.
    Extra,
    /// How much of the packet was captured.
    CapturedLength,
    /// Its length on the wire.
    OriginalLength,
    /// One of its bytes.
    Bytes,
    /// Its time, compared with the other capture's.
    Time,
    /// Its time, compared with the previous packet in the same direction.
    Order,
}

/// The first difference between the daemon's capture and the kit's.
#[derive(Debug)]
pub struct Difference {
    /// The index of our packet, from 0; for a missing packet, the index it should have.
    pub index: usize,
    /// What differs.
    pub field: Field,
    /// What the daemon captured.
    pub ours: String,
    /// What the kit captured.
    pub theirs: String,
    /// Where both captures are kept, `ours.pcap` and `theirs.pcap`.
    pub evidence: Option<PathBuf>,
}

impl Error for Difference {}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, field, ours, theirs, .. } = self;
        write!(f, "packet {index}, {field:?}: ours {ours}, theirs {theirs}")?;
        match &self.evidence {
            Some(place) => write!(f, "; both captures are in {}", place.display()),
            None => write!(f, "; the captures could not be saved"),
        }
    }
}

/// Finds the first difference between the daemon's capture and the kit's: the same packets, in the same order for each
/// direction, byte for byte up to the snap length, with the same lengths on the wire, within [`MOST`] and half of them
/// within [`TOLERANCE`], and no packet earlier than the one before it. A capture of one direction is compared with
/// [`crate::capture::Recording::going`]. If ours has directions, theirs must be recorded at the same end of the
/// wire, or be [`crate::capture::Recording::reversed`].
///
/// # Errors
/// Returns the difference, and keeps both captures as files in `POLYCUBE_EVIDENCE_DIR`, by default the temporary
/// directory.
pub fn compare(ours: &[Record], theirs: &[Seen], snaplen: u32) -> Result<(), Difference> {
    Comparison::new(theirs, snaplen).run(ours).map_err(|mut difference| {
        difference.evidence = keep(ours, theirs).ok();
        *difference
    })
}

type Verdict<T> = Result<T, Box<Difference>>;

struct Comparison<'a> {
    snaplen: usize,
    /// By how much each packet's timestamps differ, with the packet's index.
    apart: Vec<(Duration, usize)>,
    sides: [Side<'a>; 2],
}

/// The packets of one direction that have not been found in ours yet.
struct Side<'a> {
    direction: Direction,
    left: VecDeque<&'a Seen>,
    last_ns: u64,
}

impl<'a> Comparison<'a> {
    fn new(theirs: &'a [Seen], snaplen: u32) -> Self {
        let side = |direction| {
            let left = theirs.iter().filter(|seen| seen.direction == direction).collect();
            Side { direction, left, last_ns: 0 }
        };
        Self { snaplen: snaplen as usize, apart: Vec::new(), sides: [side(Direction::In), side(Direction::Out)] }
    }

    /// Ours must be theirs, but the two directions may interleave differently: the captures see packets at different
    /// points of their path.
    fn run(mut self, ours: &[Record]) -> Verdict<()> {
        for (index, record) in ours.iter().enumerate() {
            self.take(index, record)?;
        }
        if let Some(next) = self.sides.iter().flat_map(|side| side.left.front()).min_by_key(|seen| seen.time_ns) {
            let count = self.sides.iter().map(|side| side.left.len()).sum::<usize>();
            let text = format!("{count} more, first {}", describe(next));
            return Err(differ(ours.len(), Field::Missing, "nothing", text));
        }
        self.apart.sort_unstable();
        match self.apart.get(self.apart.len() / 2) {
            Some((apart, index)) if *apart > TOLERANCE => Err(differ(
                *index,
                Field::Time,
                format!("{apart:?} apart, the median"),
                format!("at most {TOLERANCE:?} apart"),
            )),
            _ => Ok(()),
        }
    }

    fn take(&mut self, index: usize, record: &Record) -> Verdict<()> {
        let snaplen = self.snaplen;
        let allowed = |side: &&mut Side<'_>| record.direction.is_none_or(|direction| direction == side.direction);
        let mut sides: Vec<&mut Side<'a>> =
            self.sides.iter_mut().filter(allowed).filter(|side| !side.left.is_empty()).collect();
        // Of two that look alike, and to explain a mismatch, the nearest in time is taken.
        sides.sort_by_key(|side| side.left[0].time_ns.abs_diff(record.time_ns));
        if sides.is_empty() {
            let text = format!("{} bytes at {}", record.orig_len, record.time_ns);
            return Err(differ(index, Field::Extra, text, "nothing"));
        }
        let mismatches: Vec<_> = sides.iter().map(|side| mismatch(index, record, side.left[0], snaplen)).collect();
        let Some(matching) = mismatches.iter().position(Option::is_none) else {
            let skipped = sides.iter().find_map(|side| {
                let count = side.left.iter().position(|seen| mismatch(index, record, seen, snaplen).is_none())?;
                Some(format!("{count} more before it, first {}", describe(side.left[0])))
            });
            return Err(match skipped {
                Some(skipped) => differ(index, Field::Missing, "none", skipped),
                None => mismatches.into_iter().flatten().next().expect("there is one mismatch for each side"),
            });
        };
        let side = &mut sides[matching];
        let seen = side.left.pop_front().expect("empty sides were left out");
        let apart = Duration::from_nanos(record.time_ns.abs_diff(seen.time_ns));
        if apart > MOST {
            return Err(differ(index, Field::Time, record.time_ns, seen.time_ns));
        }
        self.apart.push((apart, index));
        if record.time_ns < side.last_ns {
            return Err(differ(index, Field::Order, record.time_ns, format!("at least {}", side.last_ns)));
        }
        side.last_ns = record.time_ns;
        Ok(())
    }
}

fn mismatch(index: usize, ours: &Record, theirs: &Seen, snaplen: usize) -> Option<Box<Difference>> {
    if ours.orig_len != theirs.orig_len {
        return Some(differ(index, Field::OriginalLength, ours.orig_len, theirs.orig_len));
    }
    let expected = &theirs.bytes[..theirs.bytes.len().min(snaplen)];
    if ours.bytes.len() != expected.len() {
        return Some(differ(index, Field::CapturedLength, ours.bytes.len(), expected.len()));
    }
    let at = ours.bytes.iter().zip(expected).position(|(ours, theirs)| ours != theirs)?;
    let byte = |bytes: &[u8]| format!("{:#04x} at byte {at}", bytes[at]);
    Some(differ(index, Field::Bytes, byte(&ours.bytes), byte(expected)))
}

fn differ(index: usize, field: Field, ours: impl fmt::Display, theirs: impl fmt::Display) -> Box<Difference> {
    Box::new(Difference { index, field, ours: ours.to_string(), theirs: theirs.to_string(), evidence: None })
}

fn describe(seen: &Seen) -> String {
    format!("{} bytes {:?} at {}", seen.orig_len, seen.direction, seen.time_ns)
}

/// Keeps frames that a test finds wrong as a file, and says where, for the test's message.
#[must_use]
pub fn evidence(frames: &[Seen]) -> String {
    let kept = evidence_place().and_then(|place| {
        let file = place.join("frames.pcap");
        write_seen(&file, frames)?;
        Ok(file)
    });
    kept.map_or_else(
        |error| format!("they could not be saved: {error:#}"),
        |file| format!("they are in {}", file.display()),
    )
}

fn keep(ours: &[Record], theirs: &[Seen]) -> anyhow::Result<PathBuf> {
    let place = evidence_place()?;
    pcap::write(
        &place.join("ours.pcap"),
        ours.iter().map(|record| (record.time_ns, record.orig_len, &record.bytes[..])),
    )?;
    write_seen(&place.join("theirs.pcap"), theirs)?;
    Ok(place)
}

fn write_seen(path: &Path, frames: &[Seen]) -> anyhow::Result<()> {
    pcap::write(path, frames.iter().map(|seen| (seen.time_ns, seen.orig_len, &seen.bytes[..])))
}

fn evidence_place() -> anyhow::Result<PathBuf> {
    let root = env::var_os("POLYCUBE_EVIDENCE_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let test = thread::current().name().unwrap_or("unnamed").replace("::", "-");
    let number = FAILURES.fetch_add(1, Ordering::Relaxed);
    let place = root.join(format!("polycube-evidence-{test}-{}-{number}", std::process::id()));
    fs::create_dir_all(&place)?;
    Ok(place)
}
