//! One capture at several netdevs, each of which has a sender: their packets are on all CPUs, and in one file in order.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Pace, Protocol, Sender, pin_to_core};

use crate::capture::WINDOW;
use crate::figures::{Samples, goes_on};
use crate::recorded;
use crate::report::{Cell, Row, Table};
use crate::sniffer::Sniffer;
use crate::stage::NO_STATION;

const SENDERS: [usize; 4] = [1, 2, 4, 8];
const LENGTH: usize = 64;
const SNAPLEN: u32 = 262_144;
/// How many frames the senders send in a window, on a fast machine of two CPUs.
const MOST_FRAMES: u64 = 4_000_000;
/// As long as the recorder may need for the rest.
const SETTLE: Duration = Duration::from_millis(200);

#[derive(Default)]
struct Measured {
    alone: Samples,
    sent: Samples,
    kept: Samples,
    in_file: Samples,
    out_of_order: Samples,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for senders in SENDERS {
        let Measured { alone, sent, kept, in_file, out_of_order } = measure(senders, rounds)?;
        let cells = [(&alone, 2), (&sent, 2), (&kept, 2), (&in_file, 1), (&out_of_order, 0)];
        rows.push(Row {
            name: format!("{senders} senders"),
            cells: cells.map(|(samples, digits)| Cell::of(samples, digits)).into(),
        });
    }
    let cpus = thread::available_parallelism()?;
    Ok(Table {
        bench: "queues",
        what: format!("Floods of {LENGTH} B through as many veth pairs into one capture, on {cpus} CPUs"),
        columns: vec!["Mpps with no capture", "Mpps with it", "rate kept", "% in the file", "out of order"],
        rows,
    })
}

fn measure(senders: usize, rounds: usize) -> Result<Measured> {
    let scene = Scene::set_up().peers(senders).start()?;
    let sniffer = Sniffer::new(&scene.daemon, "veth1")?;
    for number in 2..=senders {
        sniffer.attach(&format!("veth{number}"))?;
    }
    let mut queues = Vec::new();
    for number in 1..=senders {
        let mut flow = Flow::between(scene.peer(number), scene.host(number));
        flow.to.mac = NO_STATION;
        queues.push((Sender::open(scene.peer(number))?, flow.frames(Protocol::Udp, LENGTH, 64)));
    }
    recorded::warm(&scene.daemon.capture_dir(), MOST_FRAMES * LENGTH as u64)?;
    flood(&queues)?;
    let mut measured = Measured::default();
    let mut round = 0;
    while goes_on(round, rounds, std::iter::once(&measured.kept)) {
        let before = flood(&queues)?;
        sniffer.start("ingress", SNAPLEN)?;
        let during = flood(&queues)?;
        thread::sleep(SETTLE);
        let file = sniffer.stop()?;
        let (records, out_of_order) = recorded::count_with_order(&file)?;
        fs::remove_file(&file)?;
        ensure!(records <= during, "{records} records of {during} frames");
        let rate = |frames: u64| frames as f64 / WINDOW.as_secs_f64() / 1e6;
        measured.alone.push(rate(before));
        measured.sent.push(rate(during));
        measured.kept.push(during as f64 / before as f64);
        measured.in_file.push(records as f64 * 100.0 / during as f64);
        measured.out_of_order.push(out_of_order as f64);
        round += 1;
    }
    Ok(measured)
}

/// Has all send at once, for a window, on all CPUs; returns how many frames they sent.
fn flood(queues: &[(Sender, Vec<Vec<u8>>)]) -> Result<u64> {
    let cpus = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        let send = |(number, (sender, frames)): (usize, &(Sender, Vec<Vec<u8>>))| {
            pin_to_core(number % cpus)?;
            Ok(sender.flood(frames, Pace::Flood(WINDOW))?.frames)
        };
        let threads = queues.iter().enumerate().map(|queue| scope.spawn(move || send(queue))).collect::<Vec<_>>();
        let sent = threads.into_iter().map(|thread| {
            let result: Result<u64> = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result
        });
        sent.sum()
    })
}
