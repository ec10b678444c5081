//! A capture's packets, from the daemon to a file, a pipe or a terminal, as they arrive.

use std::io::{self, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};
use polycube_api::{STREAM_ID, media};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::client::Client;
use crate::failure::Failure;
use crate::grammar::{Destination, PacketSource, PacketStream, Request};
use crate::records::Records;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::{Sink, Tally};
use crate::terminal::escape;
use crate::watch;

/// How often the live line is drawn, and the reader of a pipe checked.
const TICK: Duration = Duration::from_millis(500);
/// How long packets may wait for the number of dropped ones.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the daemon is asked why no packets come, while none do.
const LOOK: Duration = Duration::from_secs(1);

/// Why no more packets are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum StopReason {
    /// The daemon has no more.
    Ended,
    /// The user has had enough.
    Interrupted,
    /// The reader of the pipe has closed it.
    ReaderGone,
}

/// Passes packets on until the stream ends, the user interrupts it, or the pipe is closed.
///
/// # Errors
///
/// The daemon refuses, the connection breaks, or nothing can be written. What has arrived until then is written.
pub(crate) fn take(session: &Session, stream: &PacketStream) -> Result<(), Failure> {
    let (cube, destination) = (stream.name(), &stream.destination);
    Sink::check(destination)?;
    session.run(async |client| {
        // Refusals are JSON.
        let accept = [media::PCAP, media::PCAPNG, media::JSON].join(", ");
        let response = client.open(&stream.request(), &accept).await?;
        if !response.status().is_success() {
            let command = if *destination == Destination::Lines { "watch" } else { "dump" };
            let asked = match stream.source {
                PacketSource::Cube(_) => Asked::Packets { cube, command },
                PacketSource::Query(_) => Asked::Verb,
            };
            let refusal = Refusal::new(&client.answer(response).await?, asked);
            return Err(refusal.into());
        }
        let reader = reader(stream, response.headers());
        // Wireshark takes whatever an extcap program prints for an error.
        let is_silent = matches!(destination, Destination::Pipe(_));
        let idle = stream.follow && !is_silent;
        let idle = idle.then(|| Idle { cube: cube.to_owned(), request: stream.idle(), packets: 0, said: None });
        let mut flow = Flow { client, reader, idle, sink: Sink::open(destination)?, tally: Tally::begin() };
        let reason = flow.copy(response.into_body(), *destination == Destination::Lines).await;
        flow.sink.clear();
        if !matches!(reason, Ok(StopReason::ReaderGone)) && !is_silent {
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "{}{}", flow.tally, flow.sink.place());
        }
        reason.map(|_| ())
    })
}

fn reader(stream: &PacketStream, headers: &HeaderMap) -> Option<Request> {
    Some(stream.reader(headers.get(STREAM_ID)?.to_str().ok()?))
}

/// Packets between the daemon and a sink.
struct Flow<'a> {
    client: &'a Client,
    /// Asks the daemon for our counters.
    reader: Option<Request>,
    /// Unless nobody wants to know.
    idle: Option<Idle>,
    sink: Sink,
    tally: Tally,
}

impl Flow<'_> {
    async fn copy(&mut self, mut body: Incoming, as_lines: bool) -> Result<StopReason, Failure> {
        let mut stop = Stop::new().map_err(Failure::Runtime)?;
        let mut records = Records::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => {
                    self.count_dropped().await;
                    return Ok(StopReason::Interrupted);
                }
                frame = body.frame() => {
                    let Some(frame) = frame else { break };
                    let frame = frame.map_err(|source| self.client.broken(source))?;
                    // Trailers have no meaning here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    let out = self.render(&mut records, &bytes, as_lines)?;
                    if let Some(reason) = self.write(out, &mut stop).await? {
                        return Ok(reason);
                    }
                }
                _ = tick.tick() => {
                    if self.sink.is_reader_gone() {
                        return Ok(StopReason::ReaderGone);
                    }
                    if self.sink.is_live() {
                        self.count_dropped().await;
                        self.sink.draw(&mut self.tally);
                    }
                }
                _ = look.tick(), if self.idle.is_some() => self.look().await,
            }
        }
        if records.is_cut() { Err(Failure::Cut) } else { Ok(StopReason::Ended) }
    }

    fn render(&mut self, records: &mut Records, bytes: &Bytes, as_lines: bool) -> Result<Vec<u8>, Failure> {
        let mut lines = String::new();
        let whole = records.feed(bytes, |packet| {
            self.tally.add(packet);
            if as_lines {
                lines.push_str(&watch::line(packet));
                lines.push('\n');
            }
        })?;
        Ok(if as_lines { lines.into_bytes() } else { whole })
    }

    /// Writes. When the user has had enough, a pipe with a slow reader is not waited for.
    async fn write(&mut self, out: Vec<u8>, stop: &mut Stop) -> Result<Option<StopReason>, Failure> {
        let may_wait = !self.sink.is_file();
        let written = tokio::select! {
            biased;
            () = stop.wait(), if may_wait => return Ok(Some(StopReason::Interrupted)),
            written = self.sink.write(&out) => written,
        };
        match written {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(StopReason::ReaderGone)),
            Err(error) => Err(self.sink.failure(error)),
        }
    }

    /// Reports when the daemon has another reason why no packets come. If it does not say, there is none.
    async fn look(&mut self) {
        let packets = self.tally.packets();
        let Some(idle) = self.idle.as_mut() else { return };
        // The first time there can be no packets yet, and later it needs no question whether they come.
        if std::mem::replace(&mut idle.packets, packets) != packets {
            return;
        }
        let Ok(Ok(answer)) = timeout(COUNT_TIMEOUT, self.client.send(&idle.request)).await else { return };
        let reason: Option<String> = serde_json::from_slice(&answer.body).ok().flatten();
        let reason = reason.filter(|_| answer.status.is_success());
        if let Some(line) = idle.news(reason) {
            self.sink.clear();
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "polycubectl: {line}");
        }
    }

    /// Counts the packets that were dropped because we were slow. If the daemon does not say, the stream goes on.
    async fn count_dropped(&mut self) {
        let Some(reader) = &self.reader else { return };
        let Ok(Ok(answer)) = timeout(COUNT_TIMEOUT, self.client.send(reader)).await else { return };
        let state: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if let Some(dropped) = state.and_then(|state| state.get("dropped")?.as_u64()) {
            self.tally.dropped = Some(dropped);
        }
    }
}

/// Why no packets come, as far as the user knows.
struct Idle {
    cube: String,
    request: Request,
    /// How many there were when the daemon was asked last.
    packets: u64,
    said: Option<String>,
}

impl Idle {
    /// What to say when the reason is this one now.
    fn news(&mut self, reason: Option<String>) -> Option<String> {
        let former = std::mem::replace(&mut self.said, reason);
        let cube = escape(&self.cube);
        match &self.said {
            reason if *reason == former => None,
            Some(reason) => Some(format!("no packets come for now: {cube} is {}", escape(reason))),
            None => Some(format!("packets can come again from {cube}")),
        }
    }
}

/// Ctrl-C, and what service managers send.
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
