//! One core sends as much as it can through a veth pair, and the other core records it.
//!
//! The packets' path, including the capture program, runs on the sender's core: the drop in its rate is what a capture
//! costs.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use polycube_tests::traffic::{Pace, Protocol, Sender, Sent, pin_to_core};

use crate::figures::{Samples, goes_on};
use crate::process::{RECORDER, SENDER};
use crate::recorded;
use crate::recorder::{Recorder, Settings, Setup, WHOLE};
use crate::report::{Cell, Row, Table};
use crate::sniffer::Sniffer;
use crate::stage::Stage;

pub(crate) const WINDOW: Duration = Duration::from_millis(600);
/// How many frames of 1500 bytes a fast machine sends in a window.
const MOST_FRAMES: u64 = 1_500_000;

#[derive(Default)]
struct Measured {
    kept: Samples,
    in_file: Samples,
    /// CPU seconds per million packets.
    cpu: Samples,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let Stage { scene, sender, flow } = Stage::start()?;
    let daemon = &scene.daemon;
    let directory = daemon.capture_dir();
    let sniffer = Sniffer::new(daemon, "veth1")?;
    let setup = Setup { sniffer, interface: scene.host(1), directory: &directory, core: Some(RECORDER) };
    let mut rows = Vec::new();
    for (length, snaplen, what) in [(64, WHOLE, "64 B"), (1500, WHOLE, "1500 B"), (1500, 96, "1500 B, 96 recorded")] {
        let frames = flow.frames(Protocol::Udp, length, 64);
        recorded::warm(&directory, MOST_FRAMES * (length as u64).min(snaplen.into()))?;
        flood(&sender, &frames)?;
        let mut alone = Samples::default();
        let mut measured = BTreeMap::<&str, Measured>::new();
        let mut round = 0;
        while goes_on(round, rounds, measured.values().map(|measured| &measured.kept)) {
            for recorder in Recorder::of_flood(round, snaplen) {
                let before = flood(&sender, &frames)?;
                let settings = Settings { direction: "ingress", snaplen };
                let (sent, recorded) = recorder.record(&setup, settings, || flood(&sender, &frames))?;
                let Measured { kept, in_file, cpu } = measured.entry(recorder.name()).or_default();
                alone.push(before.rate() / 1e6);
                kept.push(sent.rate() / before.rate());
                in_file.push(recorded.records as f64 * 100.0 / sent.frames as f64);
                cpu.push(recorded.cpu.as_secs_f64() * 1e6 / recorded.records.max(1) as f64);
            }
            round += 1;
        }
        for recorder in Recorder::of_flood(0, snaplen) {
            let Measured { kept, in_file, cpu } = &measured[recorder.name()];
            rows.push(Row {
                name: format!("{what}, {}", recorder.name()),
                cells: vec![Cell::of(&alone, 2), Cell::of(kept, 2), Cell::of(in_file, 1), Cell::of(cpu, 3)],
            });
        }
    }
    Ok(Table {
        bench: "capture",
        what: format!("A flood from one core through a veth pair, {} ms per window", WINDOW.as_millis()),
        columns: vec!["Mpps with no capture", "rate kept", "% in the file", "capture CPU-s/Mpkt"],
        rows,
    })
}

/// Sends frames for a window.
pub(crate) fn flood(sender: &Sender, frames: &[Vec<u8>]) -> Result<Sent> {
    on_the_senders_core(|| sender.flood(frames, Pace::Flood(WINDOW)))
}

/// Runs `work` in its own thread.
pub(crate) fn on_the_senders_core<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || pin_to_core(SENDER).and_then(|()| work());
    let done = std::thread::scope(|scope| scope.spawn(pinned).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
