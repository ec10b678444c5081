//! Live streams: each reader has its own thread, bounded buffer and counters, and slows down nothing but itself.

#![forbid(unsafe_code)]

mod output;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use self::output::{Counts, Output};
use crate::format::pcapng::{self, Section, Statistics};
use crate::format::{Format, Resolution, Stamp, transcode};
use crate::keys::{self, Keys};
use crate::lock::lock;
use crate::log::Log;
use crate::outcome::Outcome;
use crate::sys::{self, Wake};
use crate::tally::Tally;
use polycube_layout::ring::MAX_SNAPLEN;
use polycube_plugin_api::Level;

/// Buffers that are kept while there are readers: touching new memory costs more than copying into it.
const SPARE: usize = 4;

/// The live readers of a cube's packets.
pub(crate) struct Readers {
    outcome: Arc<Outcome>,
    keys: Arc<Keys>,
    log: Log,
    list: Mutex<List>,
    /// Buffers whose records are written.
    spare: Mutex<Vec<Vec<u8>>>,
    /// Length of the list: it is checked for each batch.
    count: AtomicUsize,
}

struct List {
    readers: Vec<Arc<Reader>>,
    section: Section,
    next: u64,
}

/// The user's view of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReaderState {
    pub(crate) id: u64,
    pub(crate) format: Format,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

struct Reader {
    id: u64,
    format: Format,
    /// The link type that its header names; `None` in pcapng, where each interface has one.
    link: Option<u32>,
    /// Its client, if that came by PCAP-over-IP.
    peer: Option<SocketAddr>,
    /// Packets that it asked for; `None` for all.
    limit: Option<u64>,
    /// The programs' counters before it.
    began: Statistics,
    waiting: Mutex<Waiting>,
    wake: Wake,
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Waiting {
    blocks: VecDeque<Block>,
    bytes: usize,
    /// So many that packets do not wait for keys.
    many: usize,
    /// Packets in all blocks so far.
    packets: u64,
    /// Whether packets were dropped that no statistics block has reported yet.
    owes_statistics: bool,
    /// The resolution of times that pcapng announces.
    resolution: Resolution,
    /// Whether nothing follows: the reader has all the packets that it asked for.
    is_complete: bool,
    /// What the programs had counted when it was complete.
    counted: Option<Statistics>,
    /// Whether the cube ends, and a reader that does not read may not delay it.
    has_ended: bool,
    /// The place whose packets its format has no room for beside others, which is why nothing follows.
    raw_ip: Option<String>,
}

/// Bytes that are written as they are. Readers of the same format share them.
#[derive(Clone)]
struct Block {
    bytes: Arc<Vec<u8>>,
    tally: Tally,
    /// Until when it may wait for keys.
    due: Option<Instant>,
}

impl Block {
    fn without_packets(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), tally: Tally::default(), due: None }
    }
}

impl Waiting {
    /// How long the next block may wait.
    fn rest(&self) -> Option<Duration> {
        let due = self.blocks.front()?.due?;
        let has_time = !self.is_complete && self.bytes < self.many;
        Some(due.saturating_duration_since(Instant::now())).filter(|rest| has_time && !rest.is_zero())
    }
}

impl Readers {
    pub(crate) fn new(cube: &str, outcome: Arc<Outcome>, keys: Arc<Keys>, log: Log) -> Self {
        // The section is not known yet: packets may be of any length.
        let section = Section { cube: cube.to_owned(), snaplen: MAX_SNAPLEN, ..Section::default() };
        let list = Mutex::new(List { readers: Vec::new(), section, next: 0 });
        Self { outcome, keys, log, list, spare: Mutex::default(), count: AtomicUsize::new(0) }
    }

    /// Starts a reader of `format`, which gets the header at once and then all packets from now on, whose times are
    /// recorded in `resolution` until further notice; its stream ends after `limit` packets, if that is given. Returns its
    /// id and the pipe's read end.
    pub(crate) fn open(
        self: &Arc<Self>,
        format: Format,
        resolution: Resolution,
        limit: Option<u64>,
    ) -> io::Result<(u64, OwnedFd)> {
        let (output, receiver) = Output::pipe()?;
        self.start(output, None, format, resolution, limit).map(|id| (id, receiver))
    }

    /// The same into a file of the client's; the pipe has reports.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn open_into(
        self: &Arc<Self>,
        file: OwnedFd,
        format: Format,
        resolution: Resolution,
        limit: Option<u64>,
    ) -> io::Result<(u64, OwnedFd)> {
        let (output, receiver) = Output::file(file)?;
        self.start(output, None, format, resolution, limit).map(|id| (id, receiver))
    }

    /// The same for a client of PCAP-over-IP.
    pub(crate) fn open_for(
        self: &Arc<Self>,
        peer: Option<SocketAddr>,
        format: Format,
        resolution: Resolution,
        limit: Option<u64>,
    ) -> io::Result<(u64, OwnedFd)> {
        let (output, receiver) = Output::pipe()?;
        self.start(output, peer, format, resolution, limit).map(|id| (id, receiver))
    }

    fn start(
        self: &Arc<Self>,
        output: Output,
        peer: Option<SocketAddr>,
        format: Format,
        resolution: Resolution,
        limit: Option<u64>,
    ) -> io::Result<u64> {
        let wake = Wake::new()?;
        let mut list = lock(&self.list);
        let id = list.next;
        let header = Block::without_packets(format.stream_header(&list.section, resolution));
        let reader = Arc::new(Reader {
            id,
            format,
            link: (format != Format::Pcapng).then(|| list.section.first_link()),
            peer,
            limit,
            began: self.outcome.statistics(0),
            waiting: Mutex::new(Waiting {
                bytes: header.bytes.len(),
                blocks: [header].into(),
                resolution,
                ..Waiting::default()
            }),
            wake,
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        });
        let (readers, fed) = (Arc::clone(self), Arc::clone(&reader));
        thread::Builder::new().name(String::from("capture:stream")).spawn(move || {
            fed.feed(output, &readers);
            // Closing the pipe tells the host; before that, the reader is removed from the list.
            readers.remove(&fed);
        })?;
        list.next += 1;
        list.readers.push(reader);
        self.count.store(list.readers.len(), Ordering::Release);
        drop(list);
        (self.log)(Level::Debug, &format!("reader {id} opened a stream in {}", format.extension()));
        Ok(id)
    }

    /// Sends `runs` of `format` to every reader with room in its `limit` bytes. For readers of pcapng, they wait for keys
    /// as long as `hold` says.
    pub(super) fn publish(&self, format: Format, runs: &[&[u8]], limit: usize, hold: Option<Duration>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let tally = Tally::of(format, runs);
        let due = hold.map(|hold| Instant::now() + hold);
        let mut made: [Option<Arc<Vec<u8>>>; Format::NAMES.len()] = Default::default();
        let list = lock(&self.list);
        for reader in &list.readers {
            let left = reader.left();
            if left == Some(0) || (reader.link.is_some() && list.section.only_link() != reader.link) {
                continue;
            }
            if reader.format == Format::Pcapng && reader.turn_to(format.resolution()) {
                reader.announce(|resolution| list.section.bytes(resolution));
            }
            let transcoded = |runs: &[&[u8]]| {
                let mut bytes = lock(&self.spare).pop().unwrap_or_default();
                bytes.reserve(runs.iter().map(|run| run.len()).sum());
                runs.iter().for_each(|run| transcode(format, reader.format, run, &mut bytes));
                Arc::new(bytes)
            };
            let due = due.filter(|_| reader.format == Format::Pcapng);
            let block = match left.filter(|left| *left < tally.packets) {
                Some(left) => {
                    let records = runs.iter().flat_map(|run| format.records(run)).map(|(_, whole)| whole);
                    let first: Vec<&[u8]> = records.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
                    Block { bytes: transcoded(&first), tally: Tally::of(format, &first), due }
                }
                None => {
                    let bytes = made[reader.format as usize].get_or_insert_with(|| transcoded(runs));
                    Block { bytes: Arc::clone(bytes), tally, due }
                }
            };
            let statistics = |waiting: &_| self.statistics(reader, waiting);
            reader.push(block, limit, statistics);
            if reader.left() == Some(0) {
                self.complete(reader, !list.section.interfaces.is_empty());
            }
        }
    }

    /// Ends the stream of `reader` after what is queued for it, with statistics if they have an interface to belong to.
    fn complete(&self, reader: &Reader, has_interface: bool) {
        let mut waiting = lock(&reader.waiting);
        if std::mem::replace(&mut waiting.is_complete, true) {
            return;
        }
        waiting.counted = Some(self.counted(reader, waiting.packets));
        if reader.format == Format::Pcapng && has_interface {
            let block = Block::without_packets(self.statistics(reader, &waiting));
            waiting.bytes += block.bytes.len();
            waiting.blocks.push_back(block);
        }
        drop(waiting);
        reader.wake.wake();
    }

    /// Tells the readers that do not know it yet where packets come from.
    pub(crate) fn describe(&self, section: &Section) {
        let section = &section.for_stream();
        let mut list = lock(&self.list);
        let is_first = list.section.interfaces.is_empty();
        if list.section.covers(section) && !is_first {
            return;
        }
        let widened = if is_first { section.clone() } else { list.section.widened(section) };
        let former = std::mem::replace(&mut list.section, widened);
        for reader in &list.readers {
            if reader.format != Format::Pcapng {
                // What comes now is not what its header says.
                if list.section.only_link() != reader.link {
                    lock(&reader.waiting).raw_ip = list.section.raw_ip().map(str::to_owned);
                    self.complete(reader, true);
                }
            } else if former.is_extended_by(section) {
                reader.announce(|resolution| former.extension(section, resolution));
            } else {
                reader.announce(|resolution| list.section.bytes(resolution));
            }
        }
    }

    /// Has each reader get the keys that it does not have, whether packets come or not.
    pub(crate) fn hand_out_keys(&self) {
        lock(&self.list).readers.iter().for_each(|reader| reader.wake.wake());
    }

    /// The section that describes the packets to come.
    pub(crate) fn section(&self) -> Section {
        lock(&self.list).section.clone()
    }

    pub(crate) fn states(&self) -> Vec<ReaderState> {
        let state = |reader: &Arc<Reader>| ReaderState {
            id: reader.id,
            format: reader.format,
            peer: reader.peer,
            packets: reader.packets.load(Ordering::Relaxed),
            bytes: reader.bytes.load(Ordering::Relaxed),
            dropped: reader.dropped.load(Ordering::Relaxed),
        };
        lock(&self.list).readers.iter().map(state).collect()
    }

    /// Ends every stream; each reader still gets what is queued for it.
    pub(crate) fn end(&self) {
        let list = lock(&self.list);
        for reader in &list.readers {
            lock(&reader.waiting).has_ended = true;
            self.complete(reader, !list.section.interfaces.is_empty());
            reader.wake.wake();
        }
    }

    fn remove(&self, reader: &Arc<Reader>) {
        let mut list = lock(&self.list);
        list.readers.retain(|other| !Arc::ptr_eq(other, reader));
        self.count.store(list.readers.len(), Ordering::Release);
        if list.readers.is_empty() {
            lock(&self.spare).clear();
        }
        drop(list);
        let Reader { id, packets, dropped, .. } = &**reader;
        let (got, missed) = (packets.load(Ordering::Relaxed), dropped.load(Ordering::Relaxed));
        (self.log)(Level::Debug, &format!("reader {id} has left: it received {got} packets and missed {missed}"));
    }

    /// An Interface Statistics Block for `reader`, to follow the blocks that are `waiting` for it.
    fn statistics(&self, reader: &Reader, waiting: &Waiting) -> Vec<u8> {
        let statistics = self.counted(reader, waiting.packets);
        pcapng::statistics(Stamp::from_nanos(sys::utc_now()), waiting.resolution, &statistics)
    }

    /// The counts for `reader`, to whom `packets` were given.
    fn counted(&self, reader: &Reader, packets: u64) -> Statistics {
        self.outcome.statistics(reader.dropped.load(Ordering::Relaxed)).since(&reader.began, packets)
    }

    /// Keeps the buffer of a block that all its readers have written.
    fn recycle(&self, bytes: Arc<Vec<u8>>) {
        let Some(mut bytes) = Arc::into_inner(bytes) else { return };
        let mut spare = lock(&self.spare);
        if spare.len() < SPARE {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

impl Reader {
    /// Packets that it still wants; `None` for all.
    fn left(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_sub(lock(&self.waiting).packets))
    }

    /// Notes that later times have `resolution`; whether it is another one.
    fn turn_to(&self, resolution: Resolution) -> bool {
        std::mem::replace(&mut lock(&self.waiting).resolution, resolution) != resolution
    }

    /// Adds blocks that later packets need, however much is queued.
    fn announce(&self, blocks: impl FnOnce(Resolution) -> Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_complete {
            return;
        }
        let block = Block::without_packets(blocks(waiting.resolution));
        waiting.bytes += block.bytes.len();
        waiting.blocks.push_back(block);
        drop(waiting);
        self.wake.wake();
    }

    fn push(&self, block: Block, limit: usize, statistics: impl FnOnce(&Waiting) -> Vec<u8>) {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes > 0 && waiting.bytes + block.bytes.len() > limit {
            self.dropped.fetch_add(block.tally.packets, Ordering::Relaxed);
            waiting.owes_statistics = true;
            return;
        }
        if std::mem::take(&mut waiting.owes_statistics) && self.format == Format::Pcapng {
            let block = Block::without_packets(statistics(&waiting));
            waiting.bytes += block.bytes.len();
            waiting.blocks.push_back(block);
        }
        waiting.bytes += block.bytes.len();
        waiting.many = limit / 2;
        waiting.packets += block.tally.packets;
        waiting.blocks.push_back(block);
        drop(waiting);
        self.wake.wake();
    }

    /// Writes queued blocks to `output`, and keys ahead of them, until its reader is gone or the stream ends.
    fn feed(&self, mut output: Output, readers: &Readers) {
        // A reader that is gone needs no reason, and one that is there has heard it.
        let _ = self.write_blocks(&mut output, readers);
        let waiting = lock(&self.waiting);
        let counted = waiting.counted.unwrap_or_else(|| readers.counted(self, waiting.packets));
        let raw_ip = waiting.raw_ip.clone();
        drop(waiting);
        output.finish(self.counts(&counted), raw_ip.as_deref(), self);
    }

    fn write_blocks(&self, output: &mut Output, readers: &Readers) -> io::Result<()> {
        // Nothing precedes the header.
        let (mut has_begun, mut cursor) = (false, 0);
        loop {
            self.wake.clear();
            if has_begun && self.format == Format::Pcapng {
                output.write(&readers.keys.since(&mut cursor, keys::MOST), self)?;
            }
            let mut waiting = lock(&self.waiting);
            let (is_complete, rest, packets) = (waiting.is_complete, waiting.rest(), waiting.packets);
            let block = if rest.is_none() { waiting.blocks.pop_front() } else { None };
            drop(waiting);
            output.report(|| self.counts(&readers.counted(self, packets)))?;
            let Some(block) = block else {
                if is_complete {
                    return Ok(());
                }
                output.wait(&self.wake, rest)?;
                continue;
            };
            has_begun = true;
            output.write(&block.bytes, self)?;
            self.packets.fetch_add(block.tally.packets, Ordering::Relaxed);
            self.bytes.fetch_add(block.tally.bytes, Ordering::Relaxed);
            lock(&self.waiting).bytes -= block.bytes.len();
            readers.recycle(block.bytes);
        }
    }

    /// What the client of a file hears.
    fn counts(&self, counted: &Statistics) -> Counts {
        Counts {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            seen: counted.received,
            dropped: counted.dropped,
        }
    }
}

#[cfg(test)]
mod tests;
