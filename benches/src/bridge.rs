//! simplebridge compared with the kernel's bridge: the same veth pairs, in turns.

use std::time::Duration;

use anyhow::{Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Pace, Protocol, Sender, tcp_transfer};

use crate::capture::on_the_senders_core;
use crate::figures::Samples;
use crate::process::{self, RECORDER};
use crate::report::{Cell, Row, Table};
use crate::stage::NO_STATION;

const WINDOW: Duration = Duration::from_millis(300);
const TCP_BYTES: u64 = 1 << 30;
const SIZES: [usize; 2] = [64, 1500];

/// Rates through one bridge: frames of each of [`SIZES`] in Mpps, then TCP in Gbit/s.
type Rates = [f64; SIZES.len() + 1];

struct Lane<'a> {
    scene: &'a Scene,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let scene = Scene::set_up().peers(2).start()?;
    let daemon = &scene.daemon;
    scene.peer(1).add_address("10.0.0.1/24")?;
    scene.peer(2).add_address("10.0.0.2/24")?;
    if let Some(pid) = daemon.pid() {
        process::confine(pid, RECORDER)?;
    }
    let lane = Lane { scene: &scene };
    let (mut ours, mut kernels, mut ratios) = <([Samples; 3], [Samples; 3], [Samples; 3])>::default();
    for round in 0..rounds {
        let (our, kernel) = if round % 2 == 0 {
            let our = lane.through_simplebridge(daemon)?;
            (our, lane.through_the_kernels()?)
        } else {
            let kernel = lane.through_the_kernels()?;
            (lane.through_simplebridge(daemon)?, kernel)
        };
        for at in 0..our.len() {
            ours[at].push(our[at]);
            kernels[at].push(kernel[at]);
            ratios[at].push(our[at] / kernel[at]);
        }
    }
    let rows = ["64 B, Mpps", "1500 B, Mpps", "TCP, Gbit/s"].into_iter().enumerate().map(|(at, name)| Row {
        name: name.to_owned(),
        cells: vec![Cell::of(&kernels[at], 2), Cell::of(&ours[at], 2), Cell::of(&ratios[at], 2)],
    });
    Ok(Table {
        bench: "bridge",
        what: String::from("From one host to another through a bridge of two ports"),
        columns: vec!["Linux bridge", "simplebridge", "ratio"],
        rows: rows.collect(),
    })
}

impl Lane<'_> {
    fn through_the_kernels(&self) -> Result<Rates> {
        let bridge = self.scene.lab.kernel_bridge("br0", &[self.scene.host(1), self.scene.host(2)])?;
        let rates = self.rates();
        bridge.delete()?;
        rates
    }

    fn through_simplebridge(&self, daemon: &Daemon) -> Result<Rates> {
        let ctl = |line: &str| {
            let output = daemon.ctl(line);
            ensure!(output.code == Some(0), "{output}");
            Ok(())
        };
        ctl("simplebridge add br1")?;
        ctl("br1 ports add p1 peer=veth1")?;
        ctl("br1 ports add p2 peer=veth2")?;
        let rates = self.rates();
        ctl("del br1")?;
        rates
    }

    fn rates(&self) -> Result<Rates> {
        let mut there = Flow::between(self.scene.peer(1), self.scene.peer(2));
        there.to.mac = NO_STATION;
        // The bridge must have learned the address, or it floods.
        Sender::open(self.scene.peer(2))?.send(&there.reversed().frames(Protocol::Udp, 64, 1))?;
        let sender = Sender::open(self.scene.peer(1))?;
        let mut rates = Rates::default();
        for (rate, length) in rates.iter_mut().zip(SIZES) {
            let frames = there.frames(Protocol::Udp, length, 64);
            let before = self.scene.peer(2).counters()?.rx_frames;
            let sent = on_the_senders_core(|| sender.flood(&frames, Pace::Flood(WINDOW)))?;
            let arrived = self.scene.peer(2).counters()?.rx_frames - before;
            ensure!(arrived * 100 > sent.frames * 99, "{arrived} of {} frames arrived", sent.frames);
            *rate = arrived as f64 / sent.elapsed.as_secs_f64() / 1e6;
        }
        let (from, to) = (self.scene.peer(1).namespace(), self.scene.peer(2).namespace());
        let address = [10, 0, 0, 2].into();
        rates[SIZES.len()] = tcp_transfer(from, to, address, TCP_BYTES)?.bits_per_second() / 1e9;
        Ok(rates)
    }
}
