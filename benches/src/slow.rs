//! Packets through user space and back, compared with an ordinary program that does the same: it reads frames from one packet
//! socket and writes them to another.
//!
//! A peer floods small frames, and the other one counts what arrives. The packets' path runs on the sender's core, user space
//! on the other. Then pings, one at a time: each passes user space twice.

use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use polycube_lab::packet_socket::{PacketSocket, Purpose};
use polycube_tests::lab::Interface;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Pace, Protocol, Sender, pin_to_core, ping};
use rustix::event::{PollFd, PollFlags, poll};

use crate::capture::on_the_senders_core;
use crate::figures::Samples;
use crate::process::{self, RECORDER};
use crate::report::{Cell, Row, Table};
use crate::stage::NO_STATION;

const WINDOW: Duration = Duration::from_millis(500);
/// After the last frame, what waits in user space is on its way.
const REST: Duration = Duration::from_millis(200);
const PINGS: usize = 50;
const SIZES: [usize; 2] = [64, 1500];
/// Bytes that wait for the ordinary program: as many as the slow path's ring has.
const BUFFER: i32 = 4 << 20;

/// Thousands of packets per second, for each of [`SIZES`], and microseconds of a ping.
type Figures = [f64; SIZES.len() + 1];

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let commands = [
        "simplebridge add br1",
        "br1 ports add p1 peer=veth1",
        "br1 ports add p2 peer=veth2",
        "transparenthelloworld add t1 loglevel=OFF",
        "attach t1 br1:p1",
    ];
    let scene = Scene::set_up().peers(4).commands(commands).start()?;
    for (number, address) in [(1, "10.0.0.1/24"), (2, "10.0.0.2/24"), (3, "10.0.1.1/24"), (4, "10.0.1.2/24")] {
        scene.peer(number).add_address(address)?;
    }
    if let Some(pid) = scene.daemon.pid() {
        process::confine(pid, RECORDER)?;
    }
    let mut samples: [[Samples; 3]; 3] = Default::default();
    for _ in 0..rounds {
        let direct = figures(&scene, (1, 2), [10, 0, 0, 2].into())?;
        ctl(&scene, "t1 set ingress-action=SLOWPATH egress-action=SLOWPATH")?;
        let ours = figures(&scene, (1, 2), [10, 0, 0, 2].into());
        ctl(&scene, "t1 set ingress-action=PASS egress-action=PASS")?;
        let (ours, theirs) = (ours?, forwarded(&scene)?);
        for (samples, figures) in samples.iter_mut().zip([direct, theirs, ours]) {
            samples.iter_mut().zip(figures).for_each(|(samples, figure)| samples.push(figure));
        }
    }
    let [direct, theirs, ours] = &samples;
    let names = ["64 B, thousands per second", "1500 B, thousands per second", "ping, µs"];
    let row = |(at, name): (usize, &str)| Row {
        name: name.to_owned(),
        cells: [direct, theirs, ours].map(|samples| Cell::of(&samples[at], 0)).into(),
    };
    Ok(Table {
        bench: "slow",
        what: String::from("Through user space and back, and a ping that passes it twice"),
        columns: vec!["in the kernel alone", "packet sockets", "slow path"],
        rows: names.into_iter().enumerate().map(row).collect(),
    })
}

fn ctl(scene: &Scene, line: &str) -> Result<()> {
    let output = scene.daemon.ctl(line);
    ensure!(output.code == Some(0), "{output}");
    Ok(())
}

/// The figures of two packet sockets, with a thread for each direction.
fn forwarded(scene: &Scene) -> Result<Figures> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let ways = [(3, 4), (4, 3)];
        let over = &over;
        let threads = ways.map(|(from, to)| scope.spawn(move || forward(scene.host(from), scene.host(to), over)));
        let measured = figures(scene, (3, 4), [10, 0, 1, 2].into());
        over.store(true, Ordering::Release);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        measured
    })
}

fn forward(from: &Interface, to: &Interface, over: &AtomicBool) -> Result<()> {
    pin_to_core(RECORDER)?;
    let source = PacketSocket::open(from, Purpose::Capture, |socket| {
        socket.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
        socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)
    })?;
    let target = PacketSocket::open(to, Purpose::Send, |_| Ok(()))?;
    let mut frame = vec![0; 65_536];
    let timeout = Duration::from_millis(50).try_into()?;
    while !over.load(Ordering::Acquire) {
        if poll(&mut [PollFd::new(&source, PollFlags::IN)], Some(&timeout))? == 0 {
            continue;
        }
        let length = rustix::io::read(source.as_fd(), &mut frame)?;
        rustix::io::write(target.as_fd(), &frame[..length])?;
    }
    Ok(())
}

fn figures(scene: &Scene, (from, to): (usize, usize), address: IpAddr) -> Result<Figures> {
    let mut figures = Figures::default();
    let mut there = Flow::between(scene.peer(from), scene.peer(to));
    // The first round trip is for ARP, and for the bridge to learn the addresses.
    ping(scene.namespace(from), address)?;
    let mut pings = Samples::default();
    for _ in 0..PINGS {
        pings.push(ping(scene.namespace(from), address)?.as_secs_f64() * 1e6);
    }
    figures[SIZES.len()] = pings.median();
    there.to.mac = NO_STATION;
    Sender::open(scene.peer(to))?.send(&there.reversed().frames(Protocol::Udp, 64, 1))?;
    let mut there = Flow::between(scene.peer(from), scene.peer(to));
    there.to.mac = NO_STATION;
    let sender = Sender::open(scene.peer(from))?;
    for (figure, length) in figures.iter_mut().zip(SIZES) {
        let frames = there.frames(Protocol::Udp, length, 64);
        let before = scene.peer(to).counters()?.rx_frames;
        let begin = Instant::now();
        on_the_senders_core(|| sender.flood(&frames, Pace::Flood(WINDOW)))?;
        // What arrives while frames are sent: a flood is more than either way takes.
        let (during, elapsed) = (scene.peer(to).counters()?.rx_frames, begin.elapsed());
        thread::sleep(REST);
        *figure = (during - before) as f64 / elapsed.as_secs_f64() / 1e3;
    }
    Ok(figures)
}
