//! A capture's packets, from the daemon to a file, a pipe or a terminal, as they arrive.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};
use polycube_api::{STREAM_ID, media};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bundle::Bundle;
use crate::client::Client;
use crate::failure::Failure;
use crate::grammar::{Destination, PacketSource, PacketStream, Request};
use crate::keys::Keys;
use crate::records::Records;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::{Sink, Tally};
use crate::terminal::escape;
use crate::watch::Lines;

/// How often the live line is drawn, and the reader of a pipe checked.
pub(crate) const TICK: Duration = Duration::from_millis(500);
/// How long packets may wait for the number of dropped ones.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often the daemon is asked why no packets come, while none do.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

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
        let mut keys = stream.keys.as_deref().map(Keys::open).transpose()?;
        if let Some(keys) = &mut keys {
            keys.begin(client, vec![cube.to_owned()]).await?;
        }
        let accept = [media::PCAP, media::PCAPNG, media::JSON].join(", ");
        let bundle = if stream.bundle { Bundle::fetch(client).await? } else { Bundle::default() };
        let response = client.open(&stream.request(), &accept).await?;
        if !response.status().is_success() {
            let command = if *destination == Destination::Lines { "watch" } else { "dump" };
            let asked = match stream.source {
                PacketSource::Cube(_) => Asked::Packets { cube, command },
                PacketSource::Query { .. } => Asked::Verb,
            };
            let refusal = Refusal::new(&client.answer(response).await?, asked);
            return Err(refusal.into());
        }
        let reader = reader(stream, response.headers());
        // Wireshark takes whatever an extcap program prints for an error.
        let is_silent = matches!(destination, Destination::Pipe(_));
        let idle = (stream.follow && !is_silent).then(|| Idle::new(stream));
        let lines = (*destination == Destination::Lines).then(|| match stream.source {
            PacketSource::Cube(_) => Lines::new(stream.clock),
            PacketSource::Query { .. } => Lines::new(stream.clock).dated(),
        });
        let (sink, tally, bundle) = (Sink::open(destination)?, Tally::begin(), Some(bundle));
        let mut flow = Flow { client, reader, idle, sink, tally, lines, bundle };
        let reason = flow.copy(response.into_body(), keys.as_mut()).await;
        flow.sink.clear();
        if !matches!(reason, Ok(StopReason::ReaderGone)) && !is_silent {
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "{}{}", flow.tally, flow.sink.place());
        }
        reason.map(|_| ())
    })
}

pub(crate) fn reader(stream: &PacketStream, headers: &HeaderMap) -> Option<Request> {
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
    /// Instead of records.
    lines: Option<Lines>,
    /// For the first bytes.
    bundle: Option<Bundle>,
}

impl Flow<'_> {
    async fn copy(&mut self, mut body: Incoming, keys: Option<&mut Keys>) -> Result<StopReason, Failure> {
        let feed = Keys::feed(keys, self.client);
        tokio::pin!(feed);
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
                    self.conclude(&records, &mut stop).await?;
                    return Ok(StopReason::Interrupted);
                }
                never = &mut feed => match never {},
                frame = body.frame() => {
                    let Some(frame) = frame else { break };
                    let frame = frame.map_err(|source| self.client.broken(source))?;
                    // Trailers have no meaning here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    let out = self.render(&mut records, &bytes)?;
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

    fn render(&mut self, records: &mut Records, bytes: &Bytes) -> Result<Vec<u8>, Failure> {
        let mut text = String::new();
        let mut whole = records.feed(bytes, |packet| {
            self.tally.add(packet);
            if let Some(lines) = &self.lines {
                text.push_str(&lines.line(packet, ""));
                text.push('\n');
            }
        })?;
        if let Some(bundle) = self.bundle.take_if(|_| !whole.is_empty()) {
            bundle.insert(&mut whole);
        }
        Ok(if self.lines.is_some() { text.into_bytes() } else { whole })
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

    /// Ends a stream of pcapng that the daemon would go on with as the daemon does, with what became of its packets.
    async fn conclude(&mut self, records: &Records, stop: &mut Stop) -> Result<(), Failure> {
        if self.lines.is_some() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(block) = records.statistics(now, self.tally.packets(), self.tally.dropped) else { return Ok(()) };
        self.write(block, stop).await.map(|_| ())
    }

    /// Reports when the daemon has another reason why no packets come. If it does not say, there is none.
    async fn look(&mut self) {
        let packets = self.tally.packets();
        let Some(idle) = self.idle.as_mut() else { return };
        if let Some(line) = idle.look(self.client, packets).await {
            self.sink.clear();
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "polycubectl: {line}");
        }
    }

    /// Counts the packets that were dropped because we were slow. If the daemon does not say, the stream goes on.
    async fn count_dropped(&mut self) {
        let Some(reader) = &self.reader else { return };
        if let Some(dropped) = dropped(self.client, reader).await {
            self.tally.dropped = Some(dropped);
        }
    }
}

/// How many packets were dropped because a reader was slow, if the daemon says.
pub(crate) async fn dropped(client: &Client, reader: &Request) -> Option<u64> {
    let answer = timeout(COUNT_TIMEOUT, client.send(reader)).await.ok()?.ok()?;
    serde_json::from_slice::<Value>(&answer.body).ok()?.get("dropped")?.as_u64()
}

/// Why no packets come, as far as the user knows.
pub(crate) struct Idle {
    cube: String,
    request: Request,
    /// How many there were when the daemon was asked last.
    packets: u64,
    said: Option<String>,
}

impl Idle {
    pub(crate) fn new(stream: &PacketStream) -> Self {
        Self { cube: stream.name().to_owned(), request: stream.idle(), packets: 0, said: None }
    }

    /// Asks the daemon why no packets come, unless they do; returns what to say if the reason is another one. If the
    /// daemon does not say, there is none.
    pub(crate) async fn look(&mut self, client: &Client, packets: u64) -> Option<String> {
        // The first time there can be no packets yet, and later it needs no question whether they come.
        if std::mem::replace(&mut self.packets, packets) != packets {
            return None;
        }
        let answer = timeout(COUNT_TIMEOUT, client.send(&self.request)).await.ok()?.ok()?;
        let reason: Option<String> = serde_json::from_slice(&answer.body).ok().flatten();
        self.news(reason.filter(|_| answer.status.is_success()))
    }

    /// What to say when the reason is this one now.
    fn news(&mut self, reason: Option<String>) -> Option<String> {
        let former = std::mem::replace(&mut self.said, reason);
        let cube = escape(&self.cube);
        match &self.said {
            reason if *reason == former => None,
            Some(reason) => {
                let advice = match reason.as_str() {
                    "off" => format!("; {cube} set capture=bidirectional switches it on"),
                    "attached nowhere" => format!("; attach {cube} PLACE attaches it"),
                    _ => String::new(),
                };
                Some(format!("no packets come for now: {cube} is {}{advice}", escape(reason)))
            }
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
