//! A capture's packets, from the daemon to a file, a pipe or a reader, as they come.

mod records;

use std::io::{self, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

pub(crate) use self::records::{Direction, Packet, RecordError, Records};
use crate::client::Client;
use crate::dump::{Sink, Tally};
use crate::failure::Failure;
use crate::grammar::{Form, Request, Tap};
use crate::refusal::Refusal;
use crate::session::Session;
use crate::watch;

/// What the daemon's streams are; refusals are JSON.
const CAPTURES: &str = "application/vnd.tcpdump.pcap, application/x-pcapng, application/json";
/// Tells which of the readers in the cube's state we are.
const ID: &str = "polycube-stream";
/// How often the live line is drawn, and the reader of a pipe looked after.
const TICK: Duration = Duration::from_millis(500);
/// The packets do not wait longer for the number of dropped ones.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why no more packets are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// The daemon has no more.
    Stream,
    /// The user has had enough.
    Asked,
    /// Whoever read the pipe has.
    ReaderGone,
}

/// Takes packets until there are no more, or somebody has had enough.
///
/// # Errors
///
/// The daemon refuses or breaks off, or nothing can be written. What has come until then is written.
pub(crate) fn take(session: &Session, tap: &Tap) -> Result<(), Failure> {
    Sink::check(&tap.form)?;
    session.run(async |client| {
        let response = client.open(&tap.request(), CAPTURES).await?;
        if !response.status().is_success() {
            return Err(Failure::Refused(Refusal::of_tap(&client.answer(response).await?, tap)));
        }
        let reader = reader(tap, response.headers());
        let mut flow = Flow { client, reader, sink: Sink::open(&tap.form)?, tally: Tally::begin() };
        let end = flow.copy(response.into_body(), tap.form == Form::Lines).await;
        flow.sink.clear();
        // Wireshark takes whatever an extcap program says for an error.
        if !matches!(end, Ok(End::ReaderGone)) && !matches!(tap.form, Form::Pipe(_)) {
            // Nobody is left to hear that stderr is closed.
            let _ = writeln!(io::stderr(), "{}{}", flow.tally, flow.sink.place());
        }
        end.map(|_| ())
    })
}

fn reader(tap: &Tap, headers: &HeaderMap) -> Option<Request> {
    Some(tap.reader(headers.get(ID)?.to_str().ok()?))
}

/// Packets on their way.
struct Flow<'a> {
    client: &'a Client,
    /// Where the daemon tells how we fare.
    reader: Option<Request>,
    sink: Sink,
    tally: Tally,
}

impl Flow<'_> {
    async fn copy(&mut self, mut body: Incoming, as_lines: bool) -> Result<End, Failure> {
        let mut stop = Stop::new().map_err(Failure::Runtime)?;
        let mut records = Records::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => {
                    self.count_dropped().await;
                    return Ok(End::Asked);
                }
                frame = body.frame() => {
                    let Some(frame) = frame else { break };
                    let frame = frame.map_err(|source| self.client.broken(source))?;
                    // Trailers say nothing here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    let out = self.render(&mut records, &bytes, as_lines)?;
                    if let Some(end) = self.write(out, &mut stop).await? {
                        return Ok(end);
                    }
                }
                _ = tick.tick() => {
                    if self.sink.is_reader_gone() {
                        return Ok(End::ReaderGone);
                    }
                    if self.sink.is_live() {
                        self.count_dropped().await;
                        self.sink.draw(&mut self.tally);
                    }
                }
            }
        }
        if records.is_cut() { Err(Failure::Cut) } else { Ok(End::Stream) }
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

    /// A pipe whose reader takes its time is not waited for when the user has had enough.
    async fn write(&mut self, out: Vec<u8>, stop: &mut Stop) -> Result<Option<End>, Failure> {
        let may_wait = !self.sink.is_file();
        let written = tokio::select! {
            biased;
            () = stop.wait(), if may_wait => return Ok(Some(End::Asked)),
            written = self.sink.write(&out) => written,
        };
        match written {
            Ok(()) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Some(End::ReaderGone)),
            Err(error) => Err(self.sink.failure(error)),
        }
    }

    /// Packets that were dropped because we were slow. That the daemon does not tell is no reason to stop.
    async fn count_dropped(&mut self) {
        let Some(reader) = &self.reader else { return };
        let Ok(Ok(answer)) = timeout(COUNT_TIMEOUT, self.client.send(reader)).await else { return };
        let state: Option<Value> = serde_json::from_slice(&answer.body).ok();
        if let Some(dropped) = state.and_then(|state| state.get("dropped")?.as_u64()) {
            self.tally.dropped = Some(dropped);
        }
    }
}

/// Ctrl-C, and what service managers send.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
