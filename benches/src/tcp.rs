//! A TCP transfer over a veth pair, and how much of its rate remains under a capture.

use std::collections::BTreeMap;

use anyhow::Result;
use polycube_tests::lab::Counters;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::tcp_transfer;

use crate::figures::{Samples, goes_on};
use crate::recorded;
use crate::recorder::{Recorder, Settings, Setup, WHOLE};
use crate::report::{Cell, Row, Table};
use crate::sniffer::Sniffer;

/// Roughly how many seconds a transfer takes.
const WINDOW: f64 = 0.7;
const FIRST: u64 = 512 << 20;
const MOST: u64 = 3 << 30;

#[derive(Default)]
struct Measured {
    kept: Samples,
    lost: Samples,
    /// What is kept of the rate, times what is captured of it.
    useful: Samples,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let scene = Scene::set_up().peers(1).start()?;
    let daemon = &scene.daemon;
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.host(1).add_address("10.0.0.2/24")?;
    let directory = daemon.capture_dir();
    let sniffer = Sniffer::new(daemon, "veth1")?;
    let setup = Setup { sniffer, interface: scene.host(1), directory: &directory, core: None };
    let transfer = |bytes| tcp_transfer(scene.namespace(1), scene.lab.host(), address, bytes);
    let bytes = (transfer(FIRST)?.bits_per_second() / 8.0 * WINDOW) as u64;
    let bytes = bytes.min(MOST);
    recorded::warm(&directory, bytes + bytes / 8)?;

    let mut rows = Vec::new();
    for (snaplen, what) in [(WHOLE, "whole frames"), (96, "96 bytes")] {
        let mut alone = Samples::default();
        let mut measured = BTreeMap::<&str, Measured>::new();
        let mut round = 0;
        while goes_on(round, rounds, measured.values().map(|measured| &measured.kept)) {
            for recorder in Recorder::all(round) {
                let before = transfer(bytes)?.bits_per_second();
                let settings = Settings { direction: "bidirectional", snaplen };
                let crossed = crossed(scene.host(1).counters()?);
                let (after, recorded) = recorder.record(&setup, settings, || transfer(bytes))?;
                let crossed = self::crossed(scene.host(1).counters()?) - crossed;
                let Measured { kept, lost, useful } = measured.entry(recorder.name()).or_default();
                let (rate, captured) = (after.bits_per_second() / before, recorded.records as f64 / crossed as f64);
                alone.push(before / 1e9);
                kept.push(rate);
                lost.push(100.0 - captured * 100.0);
                useful.push(rate * captured);
            }
            round += 1;
        }
        for recorder in Recorder::all(0) {
            let Measured { kept, lost, useful } = &measured[recorder.name()];
            rows.push(Row {
                name: format!("{what}, {}", recorder.name()),
                cells: vec![Cell::of(&alone, 1), Cell::of(kept, 2), Cell::of(lost, 1), Cell::of(useful, 2)],
            });
        }
    }
    Ok(Table {
        bench: "tcp",
        what: format!("One TCP transfer of {} MiB over a veth pair, both directions recorded", bytes >> 20),
        columns: vec!["Gbit/s with no capture", "rate kept", "% of frames lost", "kept × captured"],
        rows,
    })
}

fn crossed(counters: Counters) -> u64 {
    counters.rx_frames + counters.tx_frames
}
