//! Ten readers of a live stream at once, plus one that stalls; and how soon a reader sees a packet.

use std::io::{ErrorKind, Read as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::http;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Protocol, Sender};

use crate::figures::Samples;
use crate::recorded;
use crate::report::{Cell, Row, Table};
use crate::sniffer::Sniffer;

/// Besides the one that stalls.
const READERS: usize = 9;
const WINDOW: Duration = Duration::from_secs(1);
/// Packets per second.
const RATES: [u64; 3] = [50_000, 100_000, 200_000];
const FRAME: usize = 64;
const FILE_HEADER: u64 = 24;
const RECORD_HEADER: u64 = 16;
/// A reader that gets nothing for this long has everything.
const SILENCE: Duration = Duration::from_millis(300);
const STREAM: &str = "/polycube/v1/sniffer/stream?format=pcap";

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let scene = Scene::set_up().peers(1).start()?;
    let daemon = &scene.daemon;
    let sender = Sender::open(scene.peer(1))?;
    let frames = Flow::between(scene.peer(1), scene.host(1)).frames(Protocol::Udp, FRAME, 64);
    let sniffer = Sniffer::new(daemon, "veth1")?;
    // Less than a window's packets, so that the stalled reader loses some.
    ensure!(daemon.ctl("sniffer set stream-buffer=2").code == Some(0), "cannot set the streams' buffer");
    let site = Site { daemon, sniffer, sender, frames };
    let mut rows = Vec::new();
    for rate in RATES {
        let (mut file, mut readers, mut stalled) = (Samples::default(), Samples::default(), Samples::default());
        for _ in 0..rounds {
            let found = site.round(rate)?;
            let part = |packets: u64| packets as f64 * 100.0 / found.sent as f64;
            file.push(part(found.in_file));
            readers.push(part(found.least));
            stalled.push(part(found.dropped));
        }
        let name = format!("{} kpps to a file, {READERS} readers and one that stalls", rate / 1000);
        let cells = vec![Cell::of(&file, 2), Cell::of(&readers, 2), Cell::of(&stalled, 1), Cell::none(), Cell::none()];
        rows.push(Row { name, cells });
    }
    let (mut first, mut packet) = (Samples::default(), Samples::default());
    for _ in 0..rounds * 4 {
        let (header, latency) = site.latency()?;
        first.push(header.as_secs_f64() * 1e3);
        packet.push(latency.as_secs_f64() * 1e3);
    }
    let cells = vec![Cell::none(), Cell::none(), Cell::none(), Cell::of(&first, 1), Cell::of(&packet, 1)];
    rows.push(Row { name: String::from("an idle capture"), cells });
    Ok(Table {
        bench: "live",
        what: format!("Live streams of a capture of {FRAME}-byte frames, {} s per window", WINDOW.as_secs()),
        columns: vec![
            "% in the file",
            "% with the slowest reader",
            "% dropped for the stalled",
            "ms to the first byte",
            "ms to a packet",
        ],
        rows,
    })
}

struct Site<'a> {
    daemon: &'a Daemon,
    sniffer: Sniffer<'a>,
    sender: Sender,
    frames: Vec<Vec<u8>>,
}

struct Found {
    sent: u64,
    in_file: u64,
    /// Packets of the reader that got the fewest.
    least: u64,
    /// Packets dropped for the stalled reader.
    dropped: u64,
}

impl Site<'_> {
    fn round(&self, rate: u64) -> Result<Found> {
        self.sniffer.start("ingress", 262_144)?;
        // It has the answer's headers, and reads no more.
        let stalled = self.open()?;
        let is_over = AtomicBool::new(false);
        let (sent, counts) = thread::scope(|scope| -> Result<_> {
            let readers = (0..READERS).map(|_| scope.spawn(|| self.read(&is_over))).collect::<Vec<_>>();
            while self.streams()?.len() <= READERS {
                thread::sleep(Duration::from_millis(5));
            }
            let sent = self.send(rate);
            is_over.store(true, Ordering::Release);
            let counts = readers
                .into_iter()
                .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            Ok((sent?, counts.collect::<Result<Vec<_>>>()?))
        })?;
        let streams = self.streams()?;
        let dropped = streams.iter().filter_map(|stream| stream["dropped"].as_u64()).max().unwrap_or_default();
        drop(stalled);
        let file = self.sniffer.stop()?;
        let in_file = recorded::count(&file)?;
        std::fs::remove_file(file)?;
        let least = counts.into_iter().min().context("no readers")?;
        Ok(Found { sent, in_file, least, dropped })
    }

    fn send(&self, rate: u64) -> Result<u64> {
        let (begin, mut sent) = (Instant::now(), 0);
        while begin.elapsed() < WINDOW {
            let due = (begin.elapsed().as_secs_f64() * rate as f64) as u64;
            if due < sent + self.frames.len() as u64 {
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            sent += self.sender.send(&self.frames)?.frames;
        }
        Ok(sent)
    }

    /// Counts the packets of one reader, from the first to the last.
    fn read(&self, is_over: &AtomicBool) -> Result<u64> {
        let mut reply = self.open()?;
        reply.body.stream().set_read_timeout(Some(SILENCE))?;
        let (mut bytes, mut piece) = (0, vec![0; 1 << 16]);
        loop {
            match reply.body.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => bytes += count as u64,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if is_over.load(Ordering::Acquire) {
                        break;
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok((bytes - FILE_HEADER) / (RECORD_HEADER + FRAME as u64))
    }

    /// The time to the first byte of a stream, and to a packet after a pause.
    fn latency(&self) -> Result<(Duration, Duration)> {
        self.sniffer.start("ingress", 262_144)?;
        let asked = Instant::now();
        let mut reply = self.open()?;
        let mut header = [0; FILE_HEADER as usize];
        reply.body.read_exact(&mut header)?;
        let first = asked.elapsed();
        // Longer than the consumer's slow timer, so that only the doorbell wakes it.
        thread::sleep(Duration::from_millis(150));
        let sent = Instant::now();
        self.sender.send(&self.frames[..1])?;
        reply.body.read_exact(&mut [0; RECORD_HEADER as usize])?;
        let latency = sent.elapsed();
        drop(reply);
        std::fs::remove_file(self.sniffer.stop()?)?;
        Ok((first, latency))
    }

    fn open(&self) -> Result<http::Reply<std::os::unix::net::UnixStream>> {
        let reply = http::open(&self.daemon.socket(), "GET", STREAM, None)?;
        ensure!(reply.status == 200, "{STREAM}: {}", reply.status);
        Ok(reply)
    }

    fn streams(&self) -> Result<Vec<serde_json::Value>> {
        let streams = self.daemon.http("GET", "/polycube/v1/sniffer/streams/", None)?.ok().json()?;
        streams.as_array().cloned().context("no list of streams")
    }
}
