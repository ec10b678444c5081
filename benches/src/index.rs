//! The index of captured files: what it costs to write one when a file is closed, compared with recording the file, and what
//! a query of many files costs with and without it.
//!
//! All files are in the page cache, so that neither waits for a disk.

use std::fs;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::http;
use polycube_tests::traffic::{Flow, Protocol};
use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use rustix::io::Errno;

use crate::capture::flood;
use crate::figures::{Samples, goes_on};
use crate::recorded;
use crate::recorder::{SETTLE, WHOLE};
use crate::report::{Cell, Row, Table};
use crate::sniffer::Sniffer;
use crate::stage::Stage;

/// The attribute of a file that has its index, and how large it may be.
const ATTRIBUTE: &str = "user.polycube.index";
const LARGEST: usize = 4096;
/// Files that are searched, and the packets of each.
const FILES: u8 = 50;
const PACKETS: u32 = 20_000;
/// Addresses in a file that has many.
const ADDRESSES: u16 = 1_000;
/// How many frames of 1500 bytes a fast machine sends in a window.
const MOST_BYTES: u64 = 1_500_000 * 1500;
/// How long a file may wait for its index.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_micros(500);

/// What happens to a file.
#[derive(Default)]
struct Written {
    record: Samples,
    close: Samples,
    index: Samples,
    index_ns: Samples,
    bytes: Samples,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let stage = Stage::start()?;
    let sniffer = Sniffer::new(&stage.scene.daemon, "veth1")?;
    let mut rows = Vec::new();
    rows.extend(writing(&stage, &sniffer, rounds)?);
    rows.extend(querying(&stage, &sniffer, rounds)?);
    Ok(Table {
        bench: "index",
        what: format!("The index of captured files; queries of {FILES} files of {PACKETS} packets of 64 B"),
        columns: vec![
            "CPU ns a packet to record",
            "ms to close",
            "ms to index",
            "ns a packet to index",
            "bytes",
            "query, ms",
        ],
        rows,
    })
}

/// Files of a flood, which are closed.
fn writing(stage: &Stage, sniffer: &Sniffer<'_>, rounds: usize) -> Result<Vec<Row>> {
    recorded::warm(&stage.scene.daemon.capture_dir(), MOST_BYTES)?;
    let one = |length| stage.flow.frames(Protocol::Udp, length, 64);
    let many = |length| (0..ADDRESSES).map(|number| from(stage.flow, number).frame(Protocol::Udp, length, 0)).collect();
    let kinds: [(&str, Vec<Vec<u8>>); 4] = [
        ("64 B, two addresses", one(64)),
        ("64 B, 1,000 addresses", many(64)),
        ("1500 B, two addresses", one(1500)),
        ("1500 B, 1,000 addresses", many(1500)),
    ];
    let mut measured = [(); 4].map(|()| Written::default());
    let mut round = 0;
    while goes_on(round, rounds, measured.iter().map(|written| &written.index_ns)) {
        for ((_, frames), written) in kinds.iter().zip(&mut measured) {
            sniffer.start("ingress", WHOLE)?;
            let before = sniffer.cpu_time()?;
            flood(&stage.sender, frames)?;
            thread::sleep(SETTLE);
            let spent = sniffer.cpu_time()?.saturating_sub(before);
            let (file, closed) = sniffer.close()?;
            let began = Instant::now();
            let index = wait_for_index(&file)?;
            let took = began.elapsed();
            let packets = recorded::count(&file)?.max(1) as f64;
            fs::remove_file(&file)?;
            written.record.push(spent.as_secs_f64() * 1e9 / packets);
            written.close.push(closed.as_secs_f64() * 1e3);
            written.index.push(took.as_secs_f64() * 1e3);
            written.index_ns.push(took.as_secs_f64() * 1e9 / packets);
            written.bytes.push(index.len() as f64);
        }
        round += 1;
    }
    let row = |((name, _), written): (&(&str, Vec<Vec<u8>>), &Written)| {
        let Written { record, close, index, index_ns, bytes } = written;
        let cells = [(record, 0), (close, 1), (index, 1), (index_ns, 0), (bytes, 0)];
        let cells = cells.map(|(samples, digits)| Cell::of(samples, digits)).into_iter().chain([Cell::none()]);
        Row { name: format!("a file of {name}"), cells: cells.collect() }
    };
    Ok(kinds.iter().zip(&measured).map(row).collect())
}

/// Queries of many files, each of which has packets from an address of its own.
fn querying(stage: &Stage, sniffer: &Sniffer<'_>, rounds: usize) -> Result<Vec<Row>> {
    let daemon = &stage.scene.daemon;
    let mut files = Vec::new();
    for number in 0..FILES {
        let frames = from(stage.flow, number.into()).frames(Protocol::Udp, 64, PACKETS);
        sniffer.start("ingress", WHOLE)?;
        stage.sender.send(&frames)?;
        thread::sleep(SETTLE);
        let file = sniffer.stop()?;
        let index = wait_for_index(&file)?;
        files.push((file, index));
    }
    let asked = [("of one file", address(0), 1), ("of no file", address(u16::from(FILES)), 0)];
    let mut measured = asked.map(|_| [Samples::default(), Samples::default()]);
    let mut round = 0;
    while goes_on(round, rounds, measured.iter().flatten()) {
        for (is_indexed, way) in [(true, 0), (false, 1)] {
            set_indices(&files, is_indexed)?;
            for ((_, address, read), samples) in asked.iter().zip(&mut measured) {
                let read = if is_indexed { *read } else { files.len() };
                samples[way].push(query(daemon, *address, read, files.len())?.as_secs_f64() * 1e3);
            }
        }
        round += 1;
    }
    let rows = asked.iter().zip(&measured).flat_map(|((whose, ..), samples)| {
        ["with indexes", "without"].into_iter().zip(samples).map(move |(way, samples)| Row {
            name: format!("a query for an address {whose}, {way}"),
            cells: (0..5).map(|_| Cell::none()).chain([Cell::of(samples, 1)]).collect(),
        })
    });
    Ok(rows.collect())
}

/// Runs a query, of which is known how many files it reads; returns how long it took.
fn query(daemon: &Daemon, address: IpAddr, read: usize, all: usize) -> Result<Duration> {
    let path = format!("/polycube/v1/services/packetcapture/query?expression=host%20{address}");
    let began = Instant::now();
    let mut reply = http::open(&daemon.socket(), "GET", &path, None)?;
    ensure!(reply.status == 200, "{path}: {}", reply.status);
    std::io::copy(&mut reply.body.by_ref(), &mut std::io::sink())?;
    let took = began.elapsed();
    let log = daemon.log();
    let line = log.lines().rev().find(|line| line.contains("a query read")).context("the query is not in the log")?;
    ensure!(line.contains(&format!("a query read {read} of {all} files")), "{line}");
    Ok(took)
}

/// The sender's address with another number.
fn address(number: u16) -> IpAddr {
    let [high, low] = number.to_be_bytes();
    IpAddr::from([198, 19, high, low])
}

fn from(mut flow: Flow, number: u16) -> Flow {
    flow.from.ip = address(number);
    flow
}

/// Waits until a file has its index; returns it.
fn wait_for_index(file: &Path) -> Result<Vec<u8>> {
    let began = Instant::now();
    let mut buffer = vec![0; LARGEST];
    loop {
        match getxattr(file, ATTRIBUTE, &mut buffer[..]) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error).with_context(|| format!("{ATTRIBUTE} of {}", file.display())),
        }
        ensure!(began.elapsed() < PATIENCE, "{} has no index after {PATIENCE:?}", file.display());
        thread::sleep(PAUSE);
    }
}

/// Gives files their indexes, or takes them away.
fn set_indices(files: &[(PathBuf, Vec<u8>)], is_indexed: bool) -> Result<()> {
    for (file, index) in files {
        if is_indexed {
            setxattr(file, ATTRIBUTE, index, XattrFlags::empty())?;
        } else {
            removexattr(file, ATTRIBUTE)?;
        }
    }
    Ok(())
}
