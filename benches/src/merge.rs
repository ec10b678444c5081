//! Putting the records of several CPUs in one order, alone: what it costs for each record, over lanes of memory.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use pcn_packetcapture::merge::{Limits, Span, batch};

use crate::figures::{Samples, goes_on};
use crate::report::{Cell, Row, Table};

/// Bytes of a packet.
const PACKET: u32 = 64;
/// Records of all lanes together.
const RECORDS: u32 = 65_536;
/// What the consumer passes on at once: runs, and a quarter of a large lane.
const RUNS: usize = 1023;
const BYTES: usize = 4 << 20;

/// Lanes, those of them that have records, and how many of one lane follow each other in time.
const CASES: [(&str, [u32; 3]); 9] = [
    ("1 lane", [1, 1, 1]),
    ("2 lanes, in turn", [2, 2, 1]),
    ("2 lanes, 32 of each in turn", [2, 2, 32]),
    ("8 lanes, in turn", [8, 8, 1]),
    ("16 lanes, in turn", [16, 16, 1]),
    ("16 lanes, 32 of each in turn", [16, 16, 32]),
    ("64 lanes, in turn", [64, 64, 1]),
    ("64 lanes, 32 of each in turn", [64, 64, 32]),
    ("64 lanes, 2 have records, in turn", [64, 2, 1]),
];

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for (name, [lanes, full, together]) in CASES {
        let memory = lanes_of(lanes, full, together);
        let mut nanos = Samples::default();
        let mut round = 0;
        while goes_on(round, rounds, std::iter::once(&nanos)) {
            nanos.push(merge(&memory)?);
            round += 1;
        }
        rows.push(Row { name: name.to_owned(), cells: vec![Cell::of(&nanos, 1)] });
    }
    Ok(Table {
        bench: "merge",
        what: format!("Nanoseconds per record to put {RECORDS} records of {PACKET} bytes in one order"),
        columns: vec!["ns per record"],
        rows,
    })
}

/// What lanes hold: classic pcap records, whose times go round the lanes.
fn lanes_of(lanes: u32, full: u32, together: u32) -> Vec<Vec<u8>> {
    let mut memory = vec![Vec::new(); lanes as usize];
    for micros in 0..RECORDS {
        let lane = &mut memory[(micros / together % full) as usize];
        lane.extend([0, micros, PACKET, PACKET].into_iter().flat_map(u32::to_ne_bytes));
        lane.extend([0; PACKET as usize]);
    }
    memory
}

/// Takes everything, batch by batch; returns the nanoseconds per record.
fn merge(memory: &[Vec<u8>]) -> Result<f64> {
    let limits = Limits { format: Default::default(), runs: RUNS, bytes: BYTES, before: None };
    let mut taken = vec![0; memory.len()];
    let begin = Instant::now();
    loop {
        let rests = memory.iter().zip(&taken).map(|(lane, taken)| &lane[*taken..]);
        let spans = rests.map(|rest| Span { pieces: Vec::from_iter((!rest.is_empty()).then_some(rest)) });
        let batch = black_box(batch(&spans.collect::<Vec<_>>(), &limits)).taken;
        if batch.iter().all(|bytes| *bytes == 0) {
            break;
        }
        taken.iter_mut().zip(batch).for_each(|(taken, more)| *taken += more);
    }
    let nanos = begin.elapsed().as_nanos() as f64 / f64::from(RECORDS);
    ensure!(memory.iter().zip(&taken).all(|(lane, taken)| lane.len() == *taken), "not everything was taken");
    Ok(nanos)
}
