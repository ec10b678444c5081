//! Attaching to a bridge's port, and detaching, while traffic passes: how long it takes compared with the kernel's own
//! part of it, which is putting a program on a hook, and what it does to the traffic. And how long the daemon takes to
//! start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Recorder;
use polycube_tests::daemon::Daemon;
use polycube_tests::hook::{Bystander, Hook, Verdict};
use polycube_tests::lab::Interface;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Protocol, Sender, sequence_of};
use serde_json::json;

use crate::figures::Samples;
use crate::report::{Cell, Row, Table};

/// Sequence numbers in use: far more than can be in flight.
const NUMBERS: u32 = 1 << 16;
const BATCH: usize = 64;
/// The pause between batches: about 100,000 packets per second, which the recorder at the far end keeps up with.
const PAUSE: Duration = Duration::from_micros(600);
const STARTS: usize = 5;

/// What is timed. Beside another capture, a new one finds programs on the hooks, so nothing waits for the kernel.
const METHODS: [&str; 4] = ["the kernel alone", "polycubectl", "REST", "REST, beside another"];

/// Milliseconds by each method, and their ratio to the kernel's of the same round.
#[derive(Default)]
struct Times {
    attach: [Samples; 4],
    detach: [Samples; 4],
    attach_ratio: [Samples; 4],
    detach_ratio: [Samples; 4],
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let commands = [
        "simplebridge add br1",
        "br1 ports add p1 peer=veth1",
        "br1 ports add p2 peer=veth2",
        "packetcapture add sniffer capture=bidirectional snaplen=96",
        "packetcapture add newcomer capture=bidirectional snaplen=96",
    ];
    let mut scene = Scene::set_up().peers(2).commands(commands).start()?;
    let flow = Flow::between(scene.peer(1), scene.peer(2));
    Sender::open(scene.peer(2))?.send(&flow.reversed().frames(Protocol::Udp, 64, 1))?;
    let sender = Sender::open(scene.peer(1))?;
    let frames = flow.frames(Protocol::Udp, 64, NUMBERS);

    let far = Recorder::start(scene.peer(2))?;
    let over = AtomicBool::new(false);
    let (times, sent) = thread::scope(|scope| {
        let sending = scope.spawn(|| send_until(&sender, &frames, &over));
        let times = splice(&scene.daemon, scene.host(1), rounds);
        over.store(true, Ordering::Release);
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        anyhow::Ok((times?, sent?))
    })?;
    thread::sleep(Duration::from_millis(100));
    let recording = far.stop()?;
    ensure!(recording.drops == 0, "the far end's recorder lost {} packets", recording.drops);
    let numbers = recording.frames.iter().filter_map(|seen| sequence_of(&seen.bytes)).collect::<Vec<_>>();
    let (lost, reordered) = (sent - numbers.len() as u64, disorder(&numbers));

    let mut start = Samples::default();
    for _ in 0..STARTS {
        scene.daemon.terminate()?;
        let begin = Instant::now();
        scene.daemon.restart()?;
        start.push(milliseconds(begin));
    }
    let rows = |what: &str, times: &[Samples; 4], ratios: &[Samples; 4]| {
        let cells = |at: usize| vec![Cell::of(&times[at], 1), Cell::of(&ratios[at], 2), Cell::none()];
        let row = |at: usize| Row { name: format!("{what}, {}", METHODS[at]), cells: cells(at) };
        (0..METHODS.len()).map(row).collect::<Vec<_>>()
    };
    let count = |name: &str, count: u64| Row {
        name: name.to_owned(),
        cells: vec![Cell::none(), Cell::none(), Cell::number(count as f64, 0)],
    };
    let started = Row {
        name: String::from("daemon start to first answer"),
        cells: vec![Cell::of(&start, 1), Cell::none(), Cell::none()],
    };
    let counts = [count("sent meanwhile", sent), count("lost", lost), count("out of order", reordered)];
    Ok(Table {
        bench: "splice",
        what: format!("{} attachments to a bridge's port under traffic", 3 * rounds),
        columns: vec!["ms", "÷ the kernel's", "packets"],
        rows: rows("attach", &times.attach, &times.attach_ratio)
            .into_iter()
            .chain(rows("detach", &times.detach, &times.detach_ratio))
            .chain([started])
            .chain(counts)
            .collect(),
    })
}

/// Each round attaches and detaches by every method.
fn splice(daemon: &Daemon, netdev: &Interface, rounds: usize) -> Result<Times> {
    let mut times = Times::default();
    for _ in 0..rounds {
        let (mut attached, mut detached) = ([0.0; 4], [0.0; 4]);
        let bystander;
        (attached[0], bystander) = timed(|| Bystander::attach(netdev, Hook::Egress, Verdict::Next))?;
        (detached[0], ()) = timed(|| {
            drop(bystander);
            Ok(())
        })?;
        for (word, times) in [("attach", &mut attached), ("detach", &mut detached)] {
            (times[1], ()) = timed(|| ctl(daemon, &format!("{word} sniffer br1:p1")))?;
        }
        (attached[2], ()) = timed(|| post(daemon, "attach", "sniffer"))?;
        (attached[3], ()) = timed(|| post(daemon, "attach", "newcomer"))?;
        (detached[3], ()) = timed(|| post(daemon, "detach", "newcomer"))?;
        (detached[2], ()) = timed(|| post(daemon, "detach", "sniffer"))?;
        for at in 0..METHODS.len() {
            times.attach[at].push(attached[at]);
            times.detach[at].push(detached[at]);
            times.attach_ratio[at].push(attached[at] / attached[0]);
            times.detach_ratio[at].push(detached[at] / detached[0]);
        }
    }
    Ok(times)
}

/// How many milliseconds some work takes.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let begin = Instant::now();
    let done = work()?;
    Ok((milliseconds(begin), done))
}

fn post(daemon: &Daemon, word: &str, cube: &str) -> Result<()> {
    let body = json!({"cube": cube, "port": "br1:p1"});
    let answer = daemon.http("POST", &format!("/polycube/v1/{word}"), Some(&body))?;
    ensure!((200..300).contains(&answer.status), "{word}: {} {}", answer.status, answer.text());
    Ok(())
}

fn ctl(daemon: &Daemon, line: &str) -> Result<()> {
    let output = daemon.ctl(line);
    ensure!(output.code == Some(0), "{output}");
    Ok(())
}

/// Sends the frames in turn until told to stop; returns how many.
fn send_until(sender: &Sender, frames: &[Vec<u8>], over: &AtomicBool) -> Result<u64> {
    let mut sent = 0;
    for batch in frames.chunks(BATCH).cycle() {
        if over.load(Ordering::Acquire) {
            break;
        }
        sent += sender.send(batch).context("sending")?.frames;
        thread::sleep(PAUSE);
    }
    Ok(sent)
}

/// Counts packets that arrive after one with a higher number.
fn disorder(numbers: &[u32]) -> u64 {
    let backwards = |pair: &&[u32]| {
        let step = pair[1].wrapping_sub(pair[0]) % NUMBERS;
        step == 0 || step > NUMBERS / 2
    };
    numbers.windows(2).filter(backwards).count() as u64
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_wrap_are_in_order_and_steps_back_are_not() {
        assert_eq!(disorder(&[1, 2, 3, 5]), 0);
        assert_eq!(disorder(&[NUMBERS - 1, 0, 1]), 0);
        assert_eq!(disorder(&[1, 3, 2, 4]), 1);
        assert_eq!(disorder(&[1, 1]), 1);
    }
}
