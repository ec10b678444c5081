//! Test double of the kernel side: the program `capture`, over memory instead of its maps.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use polycube_layout::ring::{
    BELL_SIZE, CONSUMER, Consumer, DATA, Producer, RECORD_HEADER, element_size, segment_size, segments, small_size,
    with_slack, wrap_at,
};
use polycube_plugin_api::{Level, Point};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::config::Config;
use crate::format::Format;
use crate::format::pcap::HEADER;
use crate::format::pcapng::Interface;
use crate::keys::Keys;
use crate::log::Log;
use crate::machine::Asked;
use crate::outcome::Outcome;
use crate::ring::{Bell, MapSize, Reader, Rings};
use crate::settings::Settings;
use crate::sink::{FileContext, FileWorker, Files, Journal, OnStop, Outlets, Queue, Readers, Router, StopCondition};
use crate::store::{Roots, StoredFile};

/// The record of a packet, `micros` after 1970.
pub(crate) fn record(micros: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    let words = [(micros / 1_000_000) as u32, (micros % 1_000_000) as u32, length, length];
    words.iter().flat_map(|word| word.to_ne_bytes()).chain(body.iter().copied()).collect()
}

/// The times of the records in `bytes`, in microseconds; `bytes` must contain nothing else.
#[track_caller]
pub(crate) fn times(bytes: &[u8]) -> Vec<u64> {
    let records = || Format::Pcap.records(bytes).map(|(record, _)| record);
    assert_eq!(records().map(|record| record.size).sum::<usize>(), bytes.len());
    records().map(|record| record.stamp.0 / 1_000).collect()
}

/// Numbers that are the same in every run (Marsaglia, "Xorshift RNGs", 2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn memory(length: usize) -> OwnedFd {
    let fd = memfd_create("map", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, length as u64).unwrap();
    fd
}

pub(crate) fn bell_memory() -> OwnedFd {
    memory(3 * BELL_SIZE as usize)
}

pub(crate) fn bell() -> Bell {
    Bell::map(bell_memory()).unwrap()
}

pub(crate) const SMALL: usize = 0;
pub(crate) const LARGE: usize = 1;
const HEADS: [usize; 2] = [offset_of!(Producer, small), offset_of!(Producer, large)];

/// The program on all CPUs.
pub(crate) struct Kernel {
    fd: OwnedFd,
    large: OwnedFd,
    /// Whether the program has the large lanes.
    has_large: Cell<bool>,
    size: usize,
    cpus: u32,
}

impl Kernel {
    /// With large lanes of `size` bytes.
    pub(crate) fn new(cpus: u32, size: usize) -> Self {
        let count = cpus as usize;
        let large = memory(MapSize::of_large_lanes(size, count).bytes() as usize);
        Self { fd: memory(count * element_size(size)), large, has_large: Cell::new(true), size, cpus }
    }

    /// Without large lanes, which may come.
    pub(crate) fn small(cpus: u32, size: usize) -> Self {
        Self { has_large: Cell::new(false), ..Self::new(cpus, size) }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn large_fd(&self) -> BorrowedFd<'_> {
        self.large.as_fd()
    }

    pub(crate) fn map_size(&self) -> MapSize {
        MapSize::of_rings(self.size, self.cpus as usize)
    }

    pub(crate) fn large_map_size(&self) -> MapSize {
        MapSize::of_large_lanes(self.size, self.cpus as usize)
    }

    /// Maps the rings, and the large lanes if they are there.
    pub(crate) fn map(&self) -> (Arc<Rings>, Reader) {
        let (rings, reader) = Rings::map(self.fd(), self.map_size(), self.size).unwrap();
        if self.has_large.get() {
            self.enlarge(&rings);
        }
        (rings, reader)
    }

    /// Gives the large lanes to the consumer and the program.
    pub(crate) fn enlarge(&self, rings: &Rings) {
        rings.map_large_lanes(self.large.as_fd(), self.large_map_size()).unwrap();
        self.has_large.set(true);
    }

    /// Records a packet as the program does; false if the ring is full.
    pub(crate) fn packet(&self, cpu: usize, micros: u64, body: &[u8]) -> bool {
        let record = record(micros, body);
        let is_late = offset_of!(Producer, is_late);
        let was_late = self.get32(cpu, is_late) != 0;
        let is_empty = self.lane_head(cpu, SMALL) == self.lane_tail(cpu, SMALL);
        if let Some((end, next)) = self.room(cpu, SMALL, record.len()).filter(|_| !was_late || is_empty) {
            if was_late {
                self.set(cpu, offset_of!(Producer, turn), self.lane_head(cpu, LARGE));
                self.write(cpu, is_late, &0_u32.to_ne_bytes());
            }
            self.store(cpu, SMALL, &record, end, next);
            return true;
        }
        let room = self.room(cpu, LARGE, record.len());
        let Some((end, next)) = room.filter(|_| self.has_large.get()) else {
            self.add(cpu, offset_of!(Producer, drops), 1);
            self.add(cpu, offset_of!(Producer, early), room.is_some().into());
            return false;
        };
        self.write(cpu, is_late, &1_u32.to_ne_bytes());
        self.store(cpu, LARGE, &record, end, next);
        true
    }

    /// Where a record of `length` bytes would end, and the lane's head then, if there is room.
    fn room(&self, cpu: usize, lane: usize, length: usize) -> Option<(u64, u64)> {
        let (head, tail, size) = (self.lane_head(cpu, lane), self.lane_tail(cpu, lane), self.segment(lane));
        let end = head + length as u64;
        let crosses = head % size + length as u64 >= size;
        let next = if crosses { (head / size + 1) * size } else { end };
        (next - tail <= self.lane_size(lane)).then_some((end, next))
    }

    fn store(&self, cpu: usize, lane: usize, record: &[u8], end: u64, next: u64) {
        let (size, head) = (self.segment(lane), self.lane_head(cpu, lane));
        let (map, at) = self.place(cpu, lane, (head / size) as usize);
        let write = |at: usize, bytes: &[u8]| assert_eq!(pwrite(map, bytes, at as u64).unwrap(), bytes.len());
        write(at + (head % size) as usize, record);
        if next.is_multiple_of(size) {
            write(at + wrap_at(size as usize), &end.to_ne_bytes());
        }
        self.add(cpu, offset_of!(Producer, written), 1);
        self.add(cpu, offset_of!(Producer, bytes), (record.len() - RECORD_HEADER) as u64);
        self.set(cpu, HEADS[lane], next);
    }

    /// Sets where the last record of a segment ends.
    pub(crate) fn set_wrap(&self, cpu: usize, lane: usize, segment: usize, wrap: u64) {
        let size = self.segment(lane) as usize;
        let (map, at) = self.place(cpu, lane, segment);
        assert_eq!(pwrite(map, &wrap.to_ne_bytes(), (at + wrap_at(size)) as u64).unwrap(), 8);
    }

    /// Where a segment begins.
    fn place(&self, cpu: usize, lane: usize, segment: usize) -> (&OwnedFd, usize) {
        let count = segments(self.size);
        match lane {
            SMALL => (&self.fd, cpu * element_size(self.size) + DATA),
            _ => (&self.large, (cpu * count + segment % count) * with_slack(segment_size(self.size))),
        }
    }

    /// Starts or ends a packet.
    pub(crate) fn set_busy(&self, cpu: usize, busy: bool) {
        self.write(cpu, offset_of!(Producer, busy), &u32::from(busy).to_ne_bytes());
    }

    /// Whether the consumer has taken everything.
    pub(crate) fn is_empty(&self, cpu: usize) -> bool {
        [SMALL, LARGE].into_iter().all(|lane| self.lane_head(cpu, lane) == self.lane_tail(cpu, lane))
    }

    pub(crate) fn lane_head(&self, cpu: usize, lane: usize) -> u64 {
        self.get(cpu, HEADS[lane])
    }

    pub(crate) fn lane_tail(&self, cpu: usize, lane: usize) -> u64 {
        self.get(cpu, CONSUMER + offset_of!(Consumer, tails) + 8 * lane)
    }

    /// Bytes of a lane's segments.
    fn segment(&self, lane: usize) -> u64 {
        [small_size(self.size), segment_size(self.size)][lane] as u64
    }

    fn lane_size(&self, lane: usize) -> u64 {
        [small_size(self.size), self.size][lane] as u64
    }

    pub(crate) fn set(&self, cpu: usize, field: usize, value: u64) {
        self.write(cpu, field, &value.to_ne_bytes());
    }

    pub(crate) fn get(&self, cpu: usize, field: usize) -> u64 {
        let mut word = [0; 8];
        pread(&self.fd, &mut word, self.at(cpu, field)).unwrap();
        u64::from_ne_bytes(word)
    }

    fn get32(&self, cpu: usize, field: usize) -> u32 {
        let word = self.get(cpu, field & !7);
        if field.is_multiple_of(8) { word as u32 } else { (word >> 32) as u32 }
    }

    /// Writes into the element of `cpu` what the program never would.
    pub(crate) fn write(&self, cpu: usize, at: usize, bytes: &[u8]) {
        assert_eq!(pwrite(&self.fd, bytes, self.at(cpu, at)).unwrap(), bytes.len());
    }

    fn add(&self, cpu: usize, field: usize, more: u64) {
        self.set(cpu, field, self.get(cpu, field) + more);
    }

    fn at(&self, cpu: usize, field: usize) -> u64 {
        (cpu * element_size(self.size) + field) as u64
    }
}

/// A capture's surroundings: its directory and outlets, and the lines that it logs.
pub(crate) struct Fixture {
    pub(crate) directory: TempDir,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) readers: Arc<Readers>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    /// How often the capture stopped itself.
    pub(crate) stops: Arc<Mutex<u32>>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let outcome = Arc::<Outcome>::default();
        let directory = TempDir::new().unwrap();
        std::fs::create_dir(directory.path().join("captures")).unwrap();
        let keys = Arc::<Keys>::default();
        Self {
            directory,
            readers: Arc::new(Readers::new("sniffer", Arc::clone(&outcome), Arc::clone(&keys), Box::new(|_, _| {}))),
            keys,
            outcome,
            queue: Arc::default(),
            lines: Arc::default(),
            stops: Arc::default(),
        }
    }

    pub(crate) fn captures(&self) -> std::path::PathBuf {
        self.directory.path().join("captures")
    }

    /// Settings of a configuration whose snap length is 96 unless it sets another.
    pub(crate) fn settings(&self, config: Value) -> Arc<Settings> {
        settings(&self.captures(), config)
    }

    /// Keeps the log of a cube at the default `loglevel`.
    pub(crate) fn log(&self) -> Log {
        let kept = Arc::clone(&self.lines);
        Box::new(move |level, line| {
            if level as u8 <= Level::Info as u8 {
                kept.lock().unwrap().push(format!("{level:?}: {line}"));
            }
        })
    }

    pub(crate) fn files(&self, settings: Arc<Settings>) -> Files {
        Files::new(FileContext {
            cube: String::from("sniffer"),
            session: 0,
            continues: false,
            floor: Some(0),
            journal: Journal::new(roots(&self.captures()).capture_dir(), "sniffer"),
            settings,
            outcome: Arc::clone(&self.outcome),
            keys: Arc::clone(&self.keys),
            worker: Arc::new(FileWorker::new(Arc::clone(&self.outcome), self.log())),
            log: self.log(),
        })
    }

    pub(crate) fn stop_condition(&self, settings: &Settings) -> StopCondition {
        let stops = Arc::clone(&self.stops);
        let on_stop: OnStop = Box::new(move || *stops.lock().unwrap() += 1);
        StopCondition::new(settings.stop, None, Arc::clone(&self.outcome), self.log(), on_stop)
    }

    pub(crate) fn router(&self, settings: Arc<Settings>) -> Router {
        let (stop, files) = (self.stop_condition(&settings), self.files(Arc::clone(&settings)));
        let outlets = Outlets {
            outcome: Arc::clone(&self.outcome),
            queue: Arc::clone(&self.queue),
            readers: Arc::clone(&self.readers),
            keys: Arc::clone(&self.keys),
            key: [7; 32],
        };
        Router::new(outlets, settings, stop, files).unwrap()
    }

    /// Moves the directory of captures away, or back.
    pub(crate) fn take_directory(&self, from: &str, to: &str) {
        std::fs::rename(self.directory.path().join(from), self.directory.path().join(to)).unwrap();
    }

    /// The times of all files' records.
    pub(crate) fn times(&self) -> Vec<Vec<u64>> {
        let bytes = |file: crate::outcome::FileState| std::fs::read(file.stored.path()).unwrap();
        self.outcome.files().into_iter().map(|file| times(&bytes(file)[HEADER..])).collect()
    }

    #[track_caller]
    pub(crate) fn check_file(&self, expected: &[u64]) {
        let files = self.times();
        assert_eq!(files, if expected.is_empty() { vec![] } else { vec![expected.to_vec()] });
    }

    #[track_caller]
    pub(crate) fn check_lines(&self, expected: &[&str]) {
        assert_eq!(*self.lines.lock().unwrap(), expected);
    }
}

fn settings(directory: &Path, mut config: Value) -> Arc<Settings> {
    if config["snaplen"].is_null() {
        config["snaplen"] = json!(96);
    }
    let config: Config = serde_json::from_value(config).unwrap();
    let point = Point {
        id: 0,
        name: String::from("br1:p1"),
        netdev: None,
        is_loopback: false,
        is_raw_ip: false,
        is_reversed: false,
        is_chosen: false,
        peer: None,
    };
    Arc::new(Settings::new(&config, "sniffer", Asked::now(&[point], true), &roots(directory), None).unwrap())
}

/// A place with Ethernet frames.
pub(crate) fn interface(name: &str) -> Interface {
    Interface { name: name.to_owned(), ..Interface::default() }
}

pub(crate) fn roots(directory: &Path) -> Roots {
    Roots::new(directory, &[])
}

/// A file of ours in `directory`, with `bytes` in it.
pub(crate) fn stored(directory: &Path, name: &str, bytes: &[u8]) -> StoredFile {
    let directory = Arc::new(roots(directory).capture_dir().open().unwrap());
    let (file, fd) = directory.create(name.as_ref()).unwrap();
    File::from(fd).write_all(bytes).unwrap();
    StoredFile::new(file)
}
