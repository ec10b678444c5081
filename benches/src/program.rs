//! The eBPF programs alone: `BPF_PROG_TEST_RUN`, which runs a program many times on one packet and measures the time.
//!
//! The kernel's figure includes the loop (about 15 ns), so what counts is the difference to an empty program.

mod filter;
mod mapping;
mod subject;

use anyhow::{Context, Result};
use polycube_layout::ring::{DEFAULT_PIECE, EXTENT, HEADERS, PIECE, SNAPLEN, WEAK_ORDER};
use polycube_tests::lab::Lab;
use polycube_tests::traffic::{Flow, Protocol, pin_to_core};

use crate::figures::{Samples, goes_on};
use crate::process::RECORDER;
use crate::report::{Cell, Row, Table};
use filter::{Index, OTHER_ADDRESSES, OTHER_PORTS, OTHER_TYPE};
use subject::{Reader, Subject};

const SIZES: [usize; 3] = [64, 512, 1500];
/// The default `ring-size`.
const RING: usize = 16 << 20;
/// A ring that stays in the cache even as a large lane.
const CACHED: usize = 1 << 20;
const IN_TIME: &str = "capture, whole frames, reader in time";
/// Pieces in which a frame may be copied: a CPU's best is to be set for it in packetcapture's `copying`. 0 is all at once.
const PIECES: [u32; 4] = [0, 768, DEFAULT_PIECE, 1280];
/// No netdev has this index: a copy to it is asked for, and not made.
const ABSENT: u32 = 0x7fff_ffff;
/// Runs on one packet per call: their records are to fit into a small lane.
const REPEAT: u32 = 140;

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("peer")?, "eth0")?;
    let flow = Flow::between(&wire.peer, &wire.host);
    let subjects = [
        Subject::empty()?,
        Subject::timestamp()?,
        Subject::floor()?,
        Subject::floor()?.on_both("the same on two CPUs at once"),
        Subject::capture(IN_TIME, RING, Reader::InTime)?,
        Subject::capture_with("the same for a machine with a weak order", RING, Reader::InTime, Some((WEAK_ORDER, 1)))?,
        Subject::capture(IN_TIME, RING, Reader::InTime)?.on_both("the same on two CPUs at once"),
        Subject::capture("capture, whole frames, reader late", RING, Reader::Late)?,
        Subject::capture("the same with the large lane in the cache", CACHED, Reader::LateInCache)?,
        Subject::look_ups()?,
        Subject::capture_with("capture, snaplen=96", RING, Reader::InTime, Some((SNAPLEN, 96)))?,
        Subject::capture_with("capture, snaplen=headers", RING, Reader::InTime, Some((EXTENT, HEADERS)))?,
        Subject::bridge(&flow)?,
        Subject::span("span, not sampled", 1, u32::MAX)?,
        Subject::span("span, all but the copy", ABSENT, 1)?,
        Subject::clone_redirect("a copy to a netdev alone", ABSENT)?,
        Subject::filters("filter, accepts", &flow, 1, None)?,
        Subject::filters("filter, rejects at the EtherType", &flow, 1, Some(OTHER_TYPE))?,
        Subject::filters("filter, rejects at the address", &flow, 1, Some(OTHER_ADDRESSES))?,
        Subject::filters("filter, rejects at the port", &flow, 1, Some(OTHER_PORTS))?,
        Subject::filters("eight filters, all reject at the port", &flow, 8, Some(OTHER_PORTS))?,
        Subject::tail_calls("eight tail calls, as between them", 8, Index::Constant)?,
        Subject::tail_calls("eight tail calls with an index from the packet", 8, Index::Read)?,
    ];
    let subjects = subjects.into_iter().map(Ok).chain(pieces()).collect::<Result<Vec<_>>>()?;
    pin_to_core(RECORDER)?;
    let mut times = vec![SIZES.map(|_| Samples::default()); subjects.len()];
    let mut more = times.clone();
    for (size, length) in SIZES.into_iter().enumerate() {
        let frame = flow.frame(Protocol::Udp, length, 0);
        let mut round = 0;
        while goes_on(round, rounds, times.iter().map(|times| &times[size])) {
            let mut empty = None;
            for (at, subject) in subjects.iter().enumerate() {
                let nanos = f64::from(subject.run(&frame, REPEAT).with_context(|| subject.name().to_owned())?);
                times[at][size].push(nanos);
                more[at][size].push(nanos - *empty.get_or_insert(nanos));
            }
            round += 1;
        }
    }
    let rows = subjects.iter().zip(times.iter().zip(&more)).map(|(subject, (times, more))| Row {
        name: subject.name().to_owned(),
        cells: times.iter().zip(more).flat_map(|(time, more)| [time, more]).map(|sample| Cell::of(sample, 0)).collect(),
    });
    Ok(Table {
        bench: "program",
        what: format!("Nanoseconds per packet in BPF_PROG_TEST_RUN, at least {rounds} turns of {REPEAT} packets"),
        columns: vec!["64 B", "64 B − empty", "512 B", "512 B − empty", "1500 B", "1500 B − empty"],
        rows: rows.collect(),
    })
}

/// The capture with each of [`PIECES`], in memory that is in the cache and in memory that is not.
fn pieces() -> impl Iterator<Item = Result<Subject>> {
    let readers = [("in time", Reader::InTime), ("late", Reader::Late)];
    readers.into_iter().flat_map(|(word, reader)| {
        PIECES.into_iter().map(move |piece| {
            let pieces = if piece == 0 { String::from("at once") } else { format!("in pieces of {piece}") };
            Subject::capture_with(&format!("{pieces}, reader {word}"), RING, reader, Some((PIECE, piece)))
        })
    })
}

fn possible_cpus() -> Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().and_then(|cpu| cpu.parse::<usize>().ok());
    Ok(last.context("no CPUs")? + 1)
}
