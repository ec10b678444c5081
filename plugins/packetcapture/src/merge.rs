//! One order from many rings: spans of several CPUs become runs of bytes, ordered by the packets' times.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use crate::format::{Format, Record, Stamp};

/// Whole records of one ring, in their order, in pieces that are not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span<'a> {
    pub pieces: Vec<&'a [u8]>,
}

impl Span<'_> {
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.len()).sum()
    }
}

/// Limits of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The format of all spans.
    pub format: Format,
    /// The maximum number of runs.
    pub runs: usize,
    /// A batch ends with the record that exceeds this.
    pub bytes: usize,
    /// Records at or after this time are held back: an earlier record may still appear in another ring.
    pub before: Option<Stamp>,
}

/// What to write next.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Whole records, ordered by time.
    pub runs: Vec<&'a [u8]>,
    /// Bytes of each span that are in `runs`.
    pub taken: Vec<usize>,
    /// Whether [`Limits::before`] held back a record.
    pub held: bool,
    /// Spans that contain an invalid record. The records before it are in `runs`.
    pub damaged: Vec<usize>,
}

/// Takes the earliest records of `spans`. A single span is not even parsed.
pub fn batch<'a>(spans: &[Span<'a>], limits: &Limits) -> Batch<'a> {
    let mut full = spans.iter().enumerate().filter(|(_, span)| span.len() > 0);
    let is_small = |span: &Span<'_>| span.len() <= limits.bytes && span.pieces.len() <= limits.runs;
    match (full.next(), full.next()) {
        (None, _) => Batch { taken: vec![0; spans.len()], ..Batch::default() },
        (Some((lone, span)), None) if limits.before.is_none() && is_small(span) => {
            let mut taken = vec![0; spans.len()];
            taken[lone] = span.len();
            Batch { runs: span.pieces.clone(), taken, ..Batch::default() }
        }
        _ => merge(spans, limits),
    }
}

fn merge<'a>(spans: &[Span<'a>], limits: &Limits) -> Batch<'a> {
    let mut batch = Batch::default();
    let mut cursors = spans.iter().map(|span| Cursor::new(span, limits.format)).collect::<Vec<_>>();
    let mut runs = Vec::<Run>::new();
    let mut bytes = 0;
    let mut queue = BinaryHeap::with_capacity(spans.len());
    for (source, cursor) in cursors.iter().enumerate() {
        queue.extend(cursor.peek().map(|record| Reverse((record.stamp, source))));
    }
    'records: while let Some(Reverse((stamp, source))) = queue.pop() {
        if limits.before.is_some_and(|before| is_held(stamp, before)) {
            batch.held = true;
            break;
        }
        let cursor = &mut cursors[source];
        let rival = queue.peek().map(|Reverse(rival)| *rival);
        // Usually several records of one ring follow each other, so the queue is not consulted for each.
        while let Some(record) = cursor.peek() {
            let held = limits.before.is_some_and(|before| is_held(record.stamp, before));
            if held || rival.is_some_and(|rival| (record.stamp, source) > rival) {
                queue.push(Reverse((record.stamp, source)));
                continue 'records;
            }
            let piece = cursor.advance(&record);
            let full = runs.len() == limits.runs;
            match runs.last_mut() {
                Some(run) if run.continues_in(source, &piece) => run.piece.range.end = piece.range.end,
                _ if full => {
                    cursor.back(&piece);
                    break 'records;
                }
                _ => runs.push(Run { source, piece }),
            }
            bytes += record.size;
            if bytes >= limits.bytes {
                break 'records;
            }
        }
    }
    batch.runs = runs.iter().map(|run| &spans[run.source].pieces[run.piece.number][run.piece.range.clone()]).collect();
    batch.taken = cursors.iter().map(|cursor| cursor.taken).collect();
    batch.damaged = cursors.iter().enumerate().filter(|(_, cursor)| cursor.is_damaged()).map(|(at, _)| at).collect();
    batch
}

/// Whether a record has to wait. One far in the future was stamped before the clock that `before` was read from was set
/// back.
fn is_held(stamp: Stamp, before: Stamp) -> bool {
    stamp >= before && stamp.0 - before.0 < 2_000_000_000
}

/// Part of one piece of a span.
struct Piece {
    number: usize,
    range: Range<usize>,
}

struct Run {
    source: usize,
    piece: Piece,
}

impl Run {
    fn continues_in(&self, source: usize, piece: &Piece) -> bool {
        self.source == source && self.piece.number == piece.number && self.piece.range.end == piece.range.start
    }
}

/// How far a span has been taken.
struct Cursor<'s, 'a> {
    pieces: &'s [&'a [u8]],
    format: Format,
    /// The piece that comes next.
    number: usize,
    at: usize,
    taken: usize,
}

impl<'s, 'a> Cursor<'s, 'a> {
    fn new(span: &'s Span<'a>, format: Format) -> Self {
        Self { pieces: &span.pieces, format, number: 0, at: 0, taken: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.pieces.get(self.number).map_or(&[], |piece| &piece[self.at..])
    }

    fn peek(&self) -> Option<Record> {
        self.format.parse(self.rest())
    }

    fn is_damaged(&self) -> bool {
        !self.rest().is_empty() && self.peek().is_none()
    }

    fn advance(&mut self, record: &Record) -> Piece {
        let piece = Piece { number: self.number, range: self.at..self.at + record.size };
        self.at = piece.range.end;
        self.taken += record.size;
        if self.at == self.pieces[self.number].len() {
            (self.number, self.at) = (self.number + 1, 0);
        }
        piece
    }

    fn back(&mut self, piece: &Piece) {
        (self.number, self.at) = (piece.number, piece.range.start);
        self.taken -= piece.range.len();
    }
}

#[cfg(test)]
mod tests;
