//! Queries: packets of all capture files that match an expression, in order of time, as one pcapng stream.
//!
//! A query runs in a thread of its own, of the lowest priority, so that it takes no time from captures. Files that cannot
//! have a match by their index are not opened. The others are opened when their first packet is due, and merged by time: so
//! few are open at a time, however many there are. A file's own packets stay in their order.

#![forbid(unsafe_code)]

mod expression;
mod output;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polycube_filter::{FilterError, Interpreter, LinkType};
use polycube_plugin_api::{Cube, Level, Refusal};

pub(crate) use expression::{Query, QueryError};
use output::Output;

use crate::about::About;
use crate::catalogue::{Found, files};
use crate::filter;
use crate::format::Stamp;
use crate::index::Index;
use crate::source::{Item, Packet, Source};
use crate::store::Roots;
use crate::sys::{self, PipeEvent, Wake};

/// Where queries are, and their parameters.
pub(crate) const QUERY: &str = "query";
const EXPRESSION: &str = "query/expression";
pub(crate) const PACKETS: &str = "query/packets";

/// Queries that may run at a time.
const MOST: usize = 2;
/// Packets after which the reader is looked for: where nothing matches, no write would notice that it is gone.
const LOOK: u32 = 16_384;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Why a query does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("{MOST} queries run already: wait for one to end")]
    Busy,
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error("the query cannot start: {0}")]
    Io(#[from] io::Error),
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Filter(error) => filter::refusal(&error.into()).at(EXPRESSION),
            error => Self::failed(error.to_string()).at(QUERY),
        }
    }
}

impl Query {
    /// Reads an expression with times.
    ///
    /// # Errors
    /// A time that cannot be read, or does not apply to the whole expression.
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        Self::at(text, Stamp::from_nanos(sys::utc_now()))
    }
}

/// The place of a query that runs.
struct Slot;

impl Slot {
    fn take() -> Result<Self, RunError> {
        let take = |running: usize| (running < MOST).then_some(running + 1);
        RUNNING.try_update(Ordering::Relaxed, Ordering::Relaxed, take).map(|_| Self).map_err(|_| RunError::Busy)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts `query` over the files below `roots`; returns the read end of the pipe that its packets go to.
///
/// # Errors
/// The expression is wrong, or too many queries run.
pub(crate) fn run(query: Query, roots: Roots, host: Cube) -> Result<OwnedFd, RunError> {
    let slot = Slot::take()?;
    let ethernet = Interpreter::new(&query.expression, LinkType::Ethernet.into())?;
    // An expression about Ethernet matches nothing on a link without it.
    let raw_ip = Interpreter::new(&query.expression, LinkType::RawIp.into()).ok();
    let (receiver, sender) = io::pipe()?;
    let work = Work { query, ethernet, raw_ip, wake: Wake::new()?, since_look: 0 };
    host.clone().spawn("capture:query", move || {
        let _slot = slot;
        // Captures come first.
        let _ = sys::set_nice(19);
        let began = std::time::Instant::now();
        let mut output = Output::new(sender);
        let (read, all) = match work.run(files(&roots), &mut output) {
            Ok(counts) => counts,
            // The reader has left.
            Err(_) => return,
        };
        let skipped = all - read;
        let ms = began.elapsed().as_millis();
        host.log(Level::Info, &format!("a query read {read} of {all} files in {ms} ms; {skipped} could have no match"));
    })?;
    Ok(receiver.into())
}

struct Work {
    query: Query,
    ethernet: Interpreter,
    raw_ip: Option<Interpreter>,
    wake: Wake,
    since_look: u32,
}

/// A file that is being read, and its next match.
struct Head {
    source: Source,
    packet: Packet,
    /// Where the file is from, for interfaces without a name.
    place: String,
}

impl Work {
    /// Returns how many files were read, and how many there are.
    fn run(mut self, files: Vec<Found>, output: &mut Output) -> io::Result<(usize, usize)> {
        let all = files.len();
        let mut waiting: Vec<(Stamp, Found)> = files.into_iter().filter_map(|file| self.due(file)).collect();
        let read = waiting.len();
        // The next one is the last.
        waiting.sort_by_key(|(first, _)| Reverse(*first));
        let mut heads: Vec<Option<Head>> = Vec::new();
        let mut left = self.query.limit.unwrap_or(u64::MAX);
        let mut order: BinaryHeap<Reverse<(Stamp, usize)>> = BinaryHeap::new();
        while left > 0 {
            let next = order.peek().map(|Reverse((stamp, _))| *stamp);
            if let Some((_, file)) = waiting.pop_if(|(first, _)| next.is_none_or(|next| *first <= next)) {
                let index = heads.iter().position(Option::is_none).unwrap_or(heads.len());
                if let Some(head) = self.open(&file, output)? {
                    order.push(Reverse((head.packet.stamp, index)));
                    if index == heads.len() { heads.push(Some(head)) } else { heads[index] = Some(head) }
                }
                continue;
            }
            let Some(Reverse((stamp, index))) = order.pop() else { break };
            let Some(Head { mut source, packet, place }) = heads[index].take() else { continue };
            left -= 1;
            output.packet(&packet, &source.interfaces()[packet.interface], &place)?;
            if let Some(packet) = self.next(&mut source, output)? {
                // A clock that was set back does not bring later packets of other files forward.
                order.push(Reverse((packet.stamp.max(stamp), index)));
                heads[index] = Some(Head { source, packet, place });
            }
        }
        output.flush()?;
        Ok((read, all))
    }

    /// When the first packet of a file is due; `None` if the file has none that matches.
    fn due(&self, file: Found) -> Option<(Stamp, Found)> {
        let open = file.open()?;
        match Index::read(&open) {
            Some(index) => self.query.may_be_in(&index).then_some((index.first, file)),
            // It may have any.
            None => Some((About::read(&open).map_or(Stamp(0), |about| Stamp(about.first)), file)),
        }
    }

    /// Opens a file, and looks for its first match. One that is gone or damaged has none.
    fn open(&mut self, file: &Found, output: &mut Output) -> io::Result<Option<Head>> {
        let Some(open) = file.open() else { return Ok(None) };
        let place = match About::read(&open) {
            Some(About { places, .. }) if places.len() == 1 => places[0].clone(),
            Some(About { cube, .. }) => cube,
            None => file.path.clone(),
        };
        let Ok(mut source) = Source::open(open, file.form) else { return Ok(None) };
        let packet = self.next(&mut source, output)?;
        Ok(packet.map(|packet| Head { source, packet, place }))
    }

    /// The next match.
    ///
    /// # Errors
    /// The reader is gone.
    fn next(&mut self, source: &mut Source, output: &mut Output) -> io::Result<Option<Packet>> {
        while let Some(item) = source.next() {
            let packet = match item {
                Item::Packet(packet) => packet,
                Item::Secrets(block) => {
                    output.secrets(&block)?;
                    continue;
                }
            };
            self.since_look += 1;
            if self.since_look >= LOOK {
                self.since_look = 0;
                output.flush()?;
                self.look(output)?;
            }
            let filter = match source.interfaces()[packet.interface].link_type() {
                Some(LinkType::Ethernet) => Some(&self.ethernet),
                Some(LinkType::RawIp) => self.raw_ip.as_ref(),
                None => None,
            };
            let matches = || filter.is_some_and(|filter| filter.matches(&packet.bytes, packet.length));
            if self.query.takes(packet.stamp) && matches() {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }

    fn look(&self, output: &Output) -> io::Result<()> {
        match sys::wait_for_pipe(output.pipe().as_fd(), PipeEvent::Closed, &self.wake, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
