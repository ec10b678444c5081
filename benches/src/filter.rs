//! What filters cost: the sender's rate compared with tcpdump's for the same expression, TCP, many sniffers, and a
//! change.

use std::cell::RefCell;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::lab::Interface;
use polycube_tests::traffic::{Pace, Protocol, tcp_transfer};
use serde_json::json;

use crate::capture::on_the_senders_core;
use crate::figures::Samples;
use crate::peer::Peer;
use crate::process::{self, RECORDER};
use crate::recorded;
use crate::recorder::{Recorder, WHOLE};
use crate::report::{Cell, Row, Table};
use crate::stage::Stage;

const WINDOW: Duration = Duration::from_millis(400);
const BYTES: u64 = 1 << 30;
/// Nothing here sends to this address.
const REJECTS_ALL: &str = "host 192.0.2.1 and tcp port 9";
const SNIFFERS: usize = 8;
/// Each filter takes one UDP port, counted from this one.
const FIRST_PORT: u16 = 20_000;
/// The sniffer that is also measured alone.
const ONE: usize = 3;
/// Bytes of a window's records on a fast machine, twice: one sniffer alone writes as much as the eight together.
const FILES: u64 = 256 << 20;

struct Site<'a> {
    daemon: &'a Daemon,
    interface: &'a Interface,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let Stage { scene, sender, mut flow } = Stage::start()?;
    let daemon = &scene.daemon;
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.host(1).add_address("10.0.0.2/24")?;
    let frames = flow.frames(Protocol::Udp, 64, 64);
    let flood = || Ok(on_the_senders_core(|| sender.flood(&frames, Pace::Flood(WINDOW)))?.rate() / 1e6);
    let transfer = || Ok(tcp_transfer(scene.namespace(1), scene.lab.host(), address, BYTES)?.bits_per_second() / 1e9);
    let site = Site { daemon, interface: scene.host(1) };
    for number in 0..SNIFFERS {
        site.ctl(&["packetcapture", "add", &format!("s{number}")])?;
        site.ctl(&["attach", &format!("s{number}"), "veth1", "position=last"])?;
    }
    let mut rows = Vec::new();
    rows.extend(site.rejecting("64 B", rounds, flood)?);
    rows.extend(site.rejecting("TCP", rounds, transfer)?);
    recorded::warm(&daemon.capture_dir(), FILES)?;
    for (what, port) in [("nothing matches", 9), ("its filter matches", FIRST_PORT + ONE as u16)] {
        flow.to.port = port;
        let frames = flow.frames(Protocol::Udp, 64, 64);
        let flood = || Ok(on_the_senders_core(|| sender.flood(&frames, Pace::Flood(WINDOW)))?.rate() / 1e6);
        rows.extend(site.crowd(what, rounds, flood)?);
    }
    rows.push(site.changing(rounds)?);
    Ok(Table {
        bench: "filter",
        what: format!(
            "Filters on a veth pair, {} ms per window; and from `set filter` to its answer",
            WINDOW.as_millis()
        ),
        columns: vec!["Mpps or Gbit/s without", "rate kept", "cost / one's", "ms"],
        rows,
    })
}

/// Runs `work` without and with what `start` starts, in turns.
fn pairs(
    name: String,
    rounds: usize,
    work: impl Fn() -> Result<f64>,
    start: impl Fn() -> Result<()>,
    stop: impl Fn() -> Result<()>,
) -> Result<Row> {
    let (mut alone, mut kept) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let before = work()?;
        start()?;
        let after = work()?;
        stop()?;
        alone.push(before);
        kept.push(after / before);
    }
    Ok(Row { name, cells: vec![Cell::of(&alone, 2), Cell::of(&kept, 2), Cell::none(), Cell::none()] })
}

impl Site<'_> {
    fn rejecting(&self, what: &str, rounds: usize, work: impl Fn() -> Result<f64>) -> Result<Vec<Row>> {
        self.set(0, &format!("filter={REJECTS_ALL}"))?;
        let row = |recorder: Recorder| {
            let name = format!("{what}, rejects all, {}", recorder.name());
            match recorder {
                Recorder::Ours | Recorder::Direct => {
                    let capture = |mode: &str| self.set(0, &format!("capture={mode}"));
                    pairs(name, rounds, &work, || capture("bidirectional"), || capture("off"))
                }
                Recorder::Theirs(program) => {
                    let running = RefCell::new(None);
                    let start = || {
                        let directory = self.daemon.capture_dir();
                        let peer = Peer::start(program, self.interface, &directory, WHOLE, Some(REJECTS_ALL))?;
                        process::confine(peer.pid(), RECORDER)?;
                        running.replace(Some(peer));
                        Ok(())
                    };
                    let stop = || running.take().map_or(Ok(()), |peer| peer.stop().map(drop));
                    pairs(name, rounds, &work, start, stop)
                }
            }
        };
        Recorder::all(0).into_iter().filter(|recorder| *recorder != Recorder::Direct).map(row).collect()
    }

    /// One sniffer alone, and the same one among others whose filters reject what it takes.
    fn crowd(&self, what: &str, rounds: usize, flood: impl Fn() -> Result<f64>) -> Result<Vec<Row>> {
        let mut alone = Samples::default();
        let mut kept = [Samples::default(), Samples::default()];
        for number in 0..SNIFFERS {
            self.set(number, &format!("filter=udp dst port {}", usize::from(FIRST_PORT) + number))?;
        }
        let others = (0..SNIFFERS).filter(|number| *number != ONE);
        for _ in 0..rounds {
            let before = flood()?;
            alone.push(before);
            self.set(ONE, "capture=ingress")?;
            kept[0].push(flood()? / before);
            others.clone().try_for_each(|number| self.set(number, "capture=ingress"))?;
            kept[1].push(flood()? / before);
            (0..SNIFFERS).try_for_each(|number| self.set(number, "capture=off"))?;
            for file in fs::read_dir(self.daemon.capture_dir())? {
                fs::remove_file(file?.path())?;
            }
        }
        let cost = |kept: &Samples| 1.0 - kept.median();
        let ratio = Cell::number(cost(&kept[1]) / cost(&kept[0]), 2);
        let row = |name, kept: &Samples, ratio| {
            let cells = vec![Cell::of(&alone, 2), Cell::of(kept, 2), ratio, Cell::none()];
            Row { name, cells }
        };
        Ok(vec![
            row(format!("64 B, one sniffer, {what}"), &kept[0], Cell::none()),
            row(format!("64 B, eight sniffers, {what}"), &kept[1], ratio),
        ])
    }

    /// Changes a filter during a capture.
    fn changing(&self, rounds: usize) -> Result<Row> {
        self.set(0, "capture=bidirectional")?;
        let mut took = Samples::default();
        for round in 0..rounds * 2 {
            let expression = json!(format!("host 192.0.2.{} and tcp port 80", round % 250 + 1));
            let start = Instant::now();
            let answer = self.daemon.http("PATCH", "/polycube/v1/s0/filter/", Some(&expression))?;
            took.push(start.elapsed().as_secs_f64() * 1e3);
            ensure!(answer.status == 200, "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        let name = String::from("`set filter` during a capture, REST");
        Ok(Row { name, cells: vec![Cell::none(), Cell::none(), Cell::none(), Cell::of(&took, 1)] })
    }

    fn set(&self, number: usize, setting: &str) -> Result<()> {
        self.ctl(&[&format!("s{number}"), "set", setting])
    }

    fn ctl(&self, words: &[&str]) -> Result<()> {
        let output = self.daemon.ctl_words(words);
        ensure!(output.code == Some(0), "{output}");
        Ok(())
    }
}
