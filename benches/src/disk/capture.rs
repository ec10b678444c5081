//! A capture at a rate that most disks take, in each way of `storage direct`. It is long enough for `auto` to choose: it looks
//! at what a second had.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use polycube_tests::traffic::{Protocol, Sender};

use super::RECORD;
use crate::capture::on_the_senders_core;
use crate::figures::{Samples, goes_on};
use crate::recorded;
use crate::recorder::{SETTLE, WHOLE};
use crate::report::{Cell, Row};
use crate::sniffer::Sniffer;
use crate::stage::Stage;

/// Frames per second, of 1500 bytes: 258 MB/s, where `auto` begins at 200.
const RATE: u64 = 170_000;
const FRAME: usize = 1500;
const WINDOW: Duration = Duration::from_secs(5);
const WAYS: [&str; 3] = ["false", "true", "auto"];

#[derive(Default)]
struct Measured {
    /// MB per second in the file.
    rate: Samples,
    /// CPU seconds per million records.
    cpu: Samples,
    in_file: Samples,
}

pub(super) fn rows(rounds: usize) -> Result<Vec<Row>> {
    let Stage { scene, sender, flow } = Stage::start()?;
    let daemon = &scene.daemon;
    let frames = flow.frames(Protocol::Udp, FRAME, 64);
    let sniffer = Sniffer::new(daemon, "veth1")?;
    recorded::warm(&daemon.capture_dir(), RATE * WINDOW.as_secs() * FRAME as u64)?;
    let mut measured = WAYS.map(|_| Measured::default());
    let mut round = 0;
    while goes_on(round, rounds, measured.iter().map(|measured| &measured.cpu)) {
        for (direct, Measured { rate, cpu, in_file }) in WAYS.iter().zip(&mut measured) {
            sniffer.set_direct(direct)?;
            sniffer.start("ingress", WHOLE)?;
            let before = sniffer.cpu_time()?;
            let (sent, took) = on_the_senders_core(|| paced(&sender, &frames))?;
            thread::sleep(SETTLE);
            let spent = sniffer.cpu_time()?.saturating_sub(before);
            let file = sniffer.stop()?;
            let records = recorded::count(&file)?;
            fs::remove_file(&file)?;
            rate.push(records as f64 * RECORD / took.as_secs_f64() / 1e6);
            cpu.push(spent.as_secs_f64() * 1e6 / records.max(1) as f64);
            in_file.push(records as f64 * 100.0 / sent as f64);
        }
        round += 1;
    }
    let row = |(direct, Measured { rate, cpu, in_file }): (&&str, &Measured)| Row {
        name: format!("a capture of {RATE} frames per second for {} s, direct={direct}", WINDOW.as_secs()),
        cells: vec![Cell::of(rate, 0), Cell::of(cpu, 3), Cell::of(in_file, 1)],
    };
    Ok(WAYS.iter().zip(&measured).map(row).collect())
}

/// Sends for a window at [`RATE`]; returns how many frames that were, and how long it took.
fn paced(sender: &Sender, frames: &[Vec<u8>]) -> Result<(u64, Duration)> {
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < WINDOW {
        let due = (begin.elapsed().as_secs_f64() * RATE as f64) as u64;
        if due < sent + frames.len() as u64 {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        sent += sender.send(frames)?.frames;
    }
    Ok((sent, begin.elapsed()))
}
