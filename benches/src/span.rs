//! span compared with Linux's own mirror, tc's `mirred`: the same wires, in turns.
//!
//! A host floods the daemon's machine, which mirrors what comes in. The flood stops when its core has done all of that, so
//! its rate is what the mirror leaves of it. The floor is a program that does nothing but `bpf_clone_redirect()`: it copies
//! the original's headers, which `mirred` does not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::hook::{Bystander, Hook, Verdict};
use polycube_tests::lab::Wire;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Pace, Protocol, Sender};

use crate::capture::on_the_senders_core;
use crate::figures::{Samples, goes_on};
use crate::process::{self, RECORDER};
use crate::report::{Cell, Row, Table};
use crate::stage::NO_STATION;

const WINDOW: Duration = Duration::from_millis(300);
const SIZES: [usize; 2] = [64, 1500];
/// Room for a frame of 1,500 bytes in VXLAN.
const MTU: u32 = 1600;

/// Where copies go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Netdev,
    Vxlan,
}

/// What makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mirror {
    None,
    Floor,
    Mirred,
    Span,
}

const MIRRORS: [Mirror; 4] = [Mirror::None, Mirror::Floor, Mirror::Mirred, Mirror::Span];
const ROWS: [(&str, To, usize); 4] = [
    ("to a netdev, 64 B, Mpps", To::Netdev, 0),
    ("to a netdev, 1500 B, Mpps", To::Netdev, 1),
    ("by VXLAN, 64 B, Mpps", To::Vxlan, 0),
    ("by VXLAN, 1500 B, Mpps", To::Vxlan, 1),
];

struct Lane {
    scene: Scene,
    wire: Wire,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let scene = Scene::set_up().peers(1).start()?;
    let wire = scene.lab.veth("veth9", &scene.lab.peer("collector")?, "eth0")?;
    for (end, address) in [(&wire.host, "10.9.0.1/24"), (&wire.peer, "10.9.0.2/24")] {
        end.set_mtu(MTU)?;
        end.add_address(address)?;
    }
    if let Some(pid) = scene.daemon.pid() {
        process::confine(pid, RECORDER)?;
    }
    let lane = Lane { scene, wire };
    let mut rates = ROWS.map(|_| MIRRORS.map(|_| Samples::default()));
    let mut ratios = ROWS.map(|_| Samples::default());
    let mut round = 0;
    while goes_on(round, rounds, ratios.iter()) {
        for to in [To::Netdev, To::Vxlan] {
            let mut found = [[0.0; SIZES.len()]; MIRRORS.len()];
            for turn in 0..MIRRORS.len() {
                // Each comes first as often as the others.
                let at = (turn + round) % MIRRORS.len();
                found[at] = lane.through(MIRRORS[at], to)?;
            }
            for (row, (_, _, size)) in ROWS.iter().enumerate().filter(|(_, (_, other, _))| *other == to) {
                for (samples, found) in rates[row].iter_mut().zip(&found) {
                    samples.push(found[*size]);
                }
                ratios[row].push(found[3][*size] / found[2][*size]);
            }
        }
        round += 1;
    }
    let rows = ROWS.iter().zip(rates.iter().zip(&ratios)).map(|((name, ..), (rates, ratio))| Row {
        name: (*name).to_owned(),
        cells: rates.iter().chain([ratio]).map(|samples| Cell::of(samples, 2)).collect(),
    });
    Ok(Table {
        bench: "span",
        what: String::from("What comes in from one host, mirrored to another"),
        columns: vec!["no mirror", "floor to a netdev", "tc mirred", "span", "ratio of the last two"],
        rows: rows.collect(),
    })
}

impl Lane {
    fn through(&self, mirror: Mirror, to: To) -> Result<[f64; SIZES.len()]> {
        match mirror {
            Mirror::None => self.rates(mirror),
            Mirror::Floor => {
                let copies = Verdict::CopyTo(self.wire.host.index());
                let _program = Bystander::attach(self.scene.host(1), Hook::Ingress, copies)?;
                self.rates(mirror)
            }
            Mirror::Mirred => {
                let target = match to {
                    To::Netdev => "veth9",
                    To::Vxlan => {
                        self.tool(
                            "ip",
                            "link add vx0 type vxlan id 1 local 10.9.0.1 remote 10.9.0.2 dstport 4789 dev veth9",
                        )?;
                        self.tool("ip", "link set vx0 up")?;
                        "vx0"
                    }
                };
                self.tool("tc", "qdisc add dev veth1 clsact")?;
                let filter =
                    "filter add dev veth1 ingress protocol all u32 match u32 0 0 action mirred egress mirror dev";
                self.tool("tc", &format!("{filter} {target}"))?;
                let rates = self.rates(mirror);
                self.tool("tc", "qdisc del dev veth1 clsact")?;
                if to == To::Vxlan {
                    self.tool("ip", "link del vx0")?;
                }
                rates
            }
            Mirror::Span => {
                self.ctl("span add s1 direction=ingress")?;
                match to {
                    To::Netdev => self.ctl("s1 set target=veth9")?,
                    To::Vxlan => self.ctl("s1 collector set address=10.9.0.2")?,
                }
                self.ctl("attach s1 veth1")?;
                let rates = self.rates(mirror);
                self.ctl("del s1")?;
                rates
            }
        }
    }

    fn rates(&self, mirror: Mirror) -> Result<[f64; SIZES.len()]> {
        let mut flow = Flow::between(self.scene.peer(1), self.scene.host(1));
        flow.to.mac = NO_STATION;
        let sender = Sender::open(self.scene.peer(1))?;
        // The collector's address is found before.
        sender.send(&flow.frames(Protocol::Udp, 64, 1))?;
        std::thread::sleep(Duration::from_millis(20));
        let mut rates = [0.0; SIZES.len()];
        for (rate, length) in rates.iter_mut().zip(SIZES) {
            let frames = flow.frames(Protocol::Udp, length, 64);
            let before = self.wire.peer.counters()?.rx_frames;
            let sent = on_the_senders_core(|| sender.flood(&frames, Pace::Flood(WINDOW)))?;
            let copies = self.wire.peer.counters()?.rx_frames - before;
            let is_whole = mirror == Mirror::None || copies * 100 > sent.frames * 99;
            ensure!(is_whole, "{mirror:?}: {copies} copies of {} frames", sent.frames);
            *rate = sent.frames as f64 / sent.elapsed.as_secs_f64() / 1e6;
        }
        Ok(rates)
    }

    fn ctl(&self, line: &str) -> Result<()> {
        let output = self.scene.daemon.ctl(line);
        ensure!(output.code == Some(0), "{output}");
        Ok(())
    }

    fn tool(&self, program: &str, line: &str) -> Result<()> {
        let mut command = self.scene.lab.host().command(program);
        let output = command.args(line.split_whitespace()).output().with_context(|| format!("cannot run {program}"))?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{program} {line}: {error}");
        Ok(())
    }
}
