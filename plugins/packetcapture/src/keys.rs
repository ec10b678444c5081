//! TLS keys that users hand in, with which readers decrypt what was captured.
//!
//! They come as the lines of a key log (RFC 9850), and leave in pcapng's Decryption Secrets Blocks, which readers need ahead
//! of the packets. Nothing is pushed: each writer of pcapng, a file or the stream of a reader, keeps a cursor, and before
//! its next packets writes the keys that have come since. So a key that is here precedes every packet that is written
//! later, and a slow disk or reader makes no queue of keys. A program logs a key just after the packets that need it have
//! passed. So packets [wait](Keys::hold) for a moment from the first key log on.
//!
//! Keys are in memory alone, of one cube, until it goes or the daemon ends: not in the configuration, not in the store, in
//! no log and in no message. The newest [`MOST`] bytes of them are kept.

#![forbid(unsafe_code)]

mod block;
mod line;

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polycube_plugin_api::{Refusal, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use block::Unwritten;
pub(crate) use line::LineError;

use crate::lock::lock;

/// Bytes of lines that are kept: those of some 1,100 connections of TLS 1.3, which has five lines of 180 bytes for each.
pub(crate) const MOST: usize = 1 << 20;
/// Lines that an answer complains about at most.
const NAMED: usize = 10;

/// Lines of a key log.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct KeyLog {
    /// Lines of a TLS key log (RFC 9850), as `SSLKEYLOGFILE` has browsers and TLS libraries write it
    #[schemars(extend("writeOnly" = true))]
    log: String,
    /// Number of the first of these lines in its file, for messages about lines
    #[serde(default = "first")]
    #[schemars(range(min = 1))]
    first_line: u64,
}

fn first() -> u64 {
    1
}

/// What was taken of a key log.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Taken {
    /// Keys that are new
    added: usize,
    /// Keys that the capture had already
    known: usize,
    /// Lines that are not keys
    refused: usize,
    /// The first of these lines
    reasons: Vec<BadLine>,
}

/// A line that is not a key.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct BadLine {
    /// Its number
    line: u64,
    /// What is wrong with it
    reason: String,
}

/// Why nothing of a key log was taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("line {line} is not a TLS key: {reason}")]
    NoKey { line: u64, reason: LineError },
    #[error("the capture writes {0}, which has no place for TLS keys: set `format=pcapng`")]
    Format(&'static str),
}

impl From<KeysError> for Refusal {
    fn from(error: KeysError) -> Self {
        Self::new(Tag::InvalidValue, error.to_string())
    }
}

/// The keys of a cube.
#[derive(Default)]
pub(crate) struct Keys {
    kept: Mutex<Kept>,
    /// The number of the next line: it is read before each batch of packets.
    next: AtomicU64,
    /// Whether a key log was handed in, even without a key.
    are_expected: AtomicBool,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Arc<str>>,
    known: HashSet<Arc<str>>,
    bytes: usize,
}

impl Keys {
    /// Takes the keys of a log.
    ///
    /// # Errors
    /// It has lines, and none of them is a key.
    pub(crate) fn add(&self, log: &KeyLog) -> Result<Taken, KeysError> {
        self.are_expected.store(true, Ordering::Release);
        let (mut taken, mut wrong) = (Taken { added: 0, known: 0, refused: 0, reasons: Vec::new() }, None);
        let mut kept = lock(&self.kept);
        for (line, text) in (log.first_line..).zip(log.log.lines()) {
            match line::read(text) {
                Ok(None) => {}
                Ok(Some(key)) if kept.known.contains(&*key) => taken.known += 1,
                Ok(Some(key)) => {
                    kept.push(key);
                    taken.added += 1;
                }
                Err(reason) => {
                    taken.refused += 1;
                    if taken.reasons.len() < NAMED {
                        taken.reasons.push(BadLine { line, reason: reason.to_string() });
                    }
                    wrong = wrong.or(Some(KeysError::NoKey { line, reason }));
                }
            }
        }
        self.next.fetch_add(taken.added as u64, Ordering::Release);
        drop(kept);
        wrong.filter(|_| taken.added + taken.known == 0).map_or(Ok(taken), Err)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.kept).lines.len()
    }

    /// How long packets wait for keys, where the settings say `wait`.
    pub(crate) fn hold(&self, wait: Duration) -> Option<Duration> {
        (self.are_expected.load(Ordering::Acquire) && !wait.is_zero()).then_some(wait)
    }

    /// Blocks with the keys since `cursor`, which moves on; of these, the newest that fit into `most` bytes.
    pub(crate) fn since(&self, cursor: &mut u64, most: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if *cursor != self.next.load(Ordering::Acquire) {
            let kept = lock(&self.kept);
            let next = self.next.load(Ordering::Acquire);
            block::write(kept.newest(next - *cursor, most), &mut out);
            *cursor = next;
        }
        out
    }

    /// The size of what [`since`](Self::since) would return.
    pub(crate) fn size_since(&self, cursor: u64, most: usize) -> u64 {
        let mut cursor = cursor;
        self.since(&mut cursor, most).len() as u64
    }

    /// Blocks with all keys.
    pub(crate) fn all(&self) -> Vec<u8> {
        self.since(&mut 0, MOST)
    }
}

impl Kept {
    fn push(&mut self, key: String) {
        let key = Arc::<str>::from(key);
        self.bytes += key.len() + 1;
        self.known.insert(Arc::clone(&key));
        self.lines.push_back(key);
        while self.bytes > MOST {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len() + 1;
            self.known.remove(&oldest);
        }
    }

    /// Of the last `count` lines, those that fit into `most` bytes.
    fn newest(&self, count: u64, most: usize) -> impl Iterator<Item = &str> {
        let mut left = most;
        let fits = |line: &&Arc<str>| {
            left = left.saturating_sub(line.len() + 1);
            left > 0
        };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let fitting = self.lines.iter().rev().take(count).take_while(fits).count();
        self.lines.range(self.lines.len() - fitting..).map(|line| &**line)
    }
}

#[cfg(test)]
mod tests;
