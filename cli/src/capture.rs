//! `capture`: packets in one line, from a cube that goes with its stream.
//!
//! One request creates the cube and is answered with its packets. However this program ends, the daemon then removes the
//! cube: there is nothing to tidy up. Where it ends in good order, it has the cube deleted first and reads on: so it gets
//! what the rings still held, and the counters. Where no daemon runs, `private` starts one for as long as this takes.

mod files;
mod output;
mod prologue;
mod reports;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, LOCATION};
use hyper::{HeaderMap, Response};
use polycube_api::{IDLE, media};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use self::output::Output;
use crate::bundle::Bundle;
use crate::client::{Client, ClientError};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::grammar::{Capture, RecordFormat};
use crate::keys::Keys;
use crate::private::{self, PrivateDaemon, PrivateError};
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::CLEAR;
use crate::stream::Stop;
use crate::terminal::escape;

/// How often the daemon is asked how the capture is doing.
const LOOK: Duration = Duration::from_secs(1);
/// How often the live line is drawn, and the reader of a pipe checked.
const TICK: Duration = Duration::from_millis(500);
/// How long packets may wait for an answer that is only of interest.
const ASIDE: Duration = Duration::from_secs(1);
/// How long the rest of the stream may take once the capture is over.
const REST: Duration = Duration::from_secs(5);
/// Later than anything: 30 years.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// The daemon has ended the stream.
    Stream,
    /// The user has had enough, or a limit is reached.
    Enough,
    /// The reader of the pipe has closed it.
    ReaderGone,
}

/// Captures until a limit is reached, the user interrupts it, or the pipe is closed.
///
/// # Errors
///
/// The daemon refuses or ends, the connection breaks, or nothing can be written. What has arrived until then is written.
pub(crate) fn run(endpoint: Endpoint, capture: &Capture, verbose: bool) -> Result<(), Failure> {
    Output::check(capture)?;
    // Before a capture is made for a file that cannot be read.
    capture.keys.as_deref().map(Keys::open).transpose()?;
    let session = Session::new(endpoint)?;
    let recorded = session.run(async |client| {
        // Before a pipe is opened: its reader would see its end when a private daemon is tried afterwards.
        if session.is_default() {
            client.reach().await?;
        }
        record(client, capture, verbose).await
    });
    match recorded {
        Err(Failure::Client(ClientError::Unreachable { .. })) if session.is_default() => {
            if let Some(place) = capture.port() {
                return Err(PrivateError::NoCubes { place: escape(place) }.into());
            }
            if !private::is_allowed() {
                return Err(PrivateError::NotRoot.into());
            }
            let daemon = PrivateDaemon::start(&capture.container_sockets)?;
            let session = Session::with_private(daemon.endpoint())?;
            let recorded = session.run(async |client| record(client, capture, verbose).await);
            daemon.end();
            recorded
        }
        recorded => recorded,
    }
}

async fn record(client: &Client, capture: &Capture, verbose: bool) -> Result<(), Failure> {
    // Before anything is started, so that no signal is lost.
    let mut stop = Stop::new().map_err(Failure::Runtime)?;
    let bundle = if capture.bundle { Bundle::fetch(client).await? } else { Bundle::default() };
    let mut output = Output::open(capture, bundle)?;
    let response = tokio::select! {
        biased;
        () = stop.wait() => {
            output.abandon();
            return Ok(());
        }
        response = request(client, capture, &output, verbose) => response.inspect_err(|_| output.abandon())?,
    };
    let media = response.headers().get(CONTENT_TYPE);
    output.begin(media.is_some_and(|media| media == media::REPORTS))?;
    let cube = cube(response.headers());
    let mut keys = capture.keys.as_deref().map(Keys::open).transpose()?;
    if let (Some(keys), Some(cube)) = (&mut keys, &cube) {
        keys.begin(client, vec![cube.clone()]).await.inspect_err(|_| output.abandon())?;
    }
    let mut flow = Flow { client, capture, cube, output, said: None, looked: 0 };
    if !capture.quiet {
        say(&format!("polycubectl: capturing at {}", escape(&capture.places.join(", "))));
    }
    let end = flow.copy(response, &mut stop, keys.as_mut()).await;
    flow.clear();
    let end = match (end, flow.output.failure()) {
        (Ok(_), Some(failure)) => Err(failure),
        (Ok(end), None) => flow.output.end().await.map(|()| end),
        (Err(failure), _) => {
            // Otherwise the daemon is still there, and what writes the file.
            if matches!(failure, Failure::Client(_)) {
                flow.output.mend();
            }
            Err(failure)
        }
    };
    // A file without packets was removed.
    let is_nothing = matches!(end, Err(Failure::RawIp { .. })) && flow.output.packets() == 0;
    if !capture.quiet && !is_nothing && !matches!(end, Ok(End::ReaderGone)) {
        say(&flow.output.summary());
    }
    match end? {
        End::Stream if !flow.output.is_enough() => Err(Failure::CaptureEnded),
        _ => Ok(()),
    }
}

/// Asks for the capture, whose packets the daemon writes into the file by itself if it can.
async fn request(
    client: &Client,
    capture: &Capture,
    output: &Output,
    verbose: bool,
) -> Result<Response<Incoming>, Failure> {
    let accept = [media::PCAPNG, media::JSON].join(", ");
    let mut response = match output.file().filter(|_| client.is_local()) {
        Some(file) => client.open_into(&capture.request(true), &accept, file).await?,
        None => client.open(&capture.request(false), &accept).await?,
    };
    let is_pcap = response.headers().get(CONTENT_TYPE).is_some_and(|media| media == media::PCAP);
    if is_pcap || (capture.format != RecordFormat::Pcapng && !response.status().is_success()) {
        // The file has not reached the daemon, which then sends what it would have written, or pcap cannot have all places,
        // which is said here. Only pcapng can be made into what is wanted.
        response = client.open(&capture.request(false), &accept).await?;
    }
    if response.status().is_success() {
        return Ok(response);
    }
    let answer = client.answer(response).await?;
    if Refusal::lacks(&answer, Capture::SERVICE) {
        return Err(Failure::NoPlugin);
    }
    let refusal = Refusal::new(&answer, Asked::Capture);
    Err(if verbose { refusal.with_log(&answer) } else { refusal }.into())
}

/// The cube's name.
fn cube(headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION)?.to_str().ok()?;
    location.trim_end_matches('/').rsplit('/').next().map(str::to_owned)
}

/// There is nowhere to report that stderr is closed.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A capture on its way.
struct Flow<'a> {
    client: &'a Client,
    capture: &'a Capture,
    cube: Option<String>,
    output: Output,
    /// What was said last of why no packets come.
    said: Option<String>,
    /// How many packets there were when the daemon was asked last.
    looked: u64,
}

impl Flow<'_> {
    async fn copy(
        &mut self,
        response: Response<Incoming>,
        stop: &mut Stop,
        mut keys: Option<&mut Keys>,
    ) -> Result<End, Failure> {
        let mut body = response.into_body();
        if let Some(end) = self.pass_on(&mut body, stop, keys.as_deref_mut()).await? {
            return Ok(end);
        }
        Keys::end(keys, self.client).await;
        self.finish(&mut body, stop).await
    }

    /// Passes packets on until there are enough; returns why the capture has ended.
    async fn pass_on(
        &mut self,
        body: &mut Incoming,
        stop: &mut Stop,
        keys: Option<&mut Keys>,
    ) -> Result<Option<End>, Failure> {
        let feed = Keys::feed(keys, self.client);
        tokio::pin!(feed);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let deadline = Instant::now() + self.capture.limits.time.unwrap_or(NEVER);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Ok(None),
                () = sleep_until(deadline) => return Ok(None),
                never = &mut feed => match never {},
                frame = body.frame() => {
                    let Some(frame) = frame else { return self.ended().map(Some) };
                    let frame = frame.map_err(|source| self.client.broken(source))?;
                    // Trailers have no meaning here.
                    let Ok(bytes) = frame.into_data() else { continue };
                    tokio::select! {
                        biased;
                        // A pipe with a slow reader is not waited for.
                        () = stop.wait(), if !self.output.is_file() => return Ok(Some(End::Enough)),
                        written = self.output.take(&bytes) => if written? { return Ok(Some(End::ReaderGone)) },
                    }
                    if self.output.has_had_bytes() {
                        return Ok(None);
                    }
                }
                _ = tick.tick() => {
                    if self.output.is_reader_gone() {
                        return Ok(Some(End::ReaderGone));
                    }
                    self.output.rotate_by_time()?;
                    if self.is_live() {
                        self.output.draw();
                    }
                }
                _ = look.tick(), if !self.capture.quiet => self.look().await,
            }
        }
    }

    /// Ends the capture, and takes what it still had.
    async fn finish(&mut self, body: &mut Incoming, stop: &mut Stop) -> Result<End, Failure> {
        let Some(cube) = &self.cube else { return Ok(End::Enough) };
        // If the daemon does not answer, the end of the connection ends the capture.
        let _ = timeout(ASIDE, self.client.send(&Capture::end(cube))).await;
        let mut deadline = Instant::now() + REST;
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return self.output.unfinished().map_or(Ok(End::Enough), Err),
                () = sleep_until(deadline) => match self.output.unfinished() {
                    None => return Ok(End::Enough),
                    Some(_) => {
                        say("polycubectl: the file is not complete yet: waiting for its disk, until Ctrl-C");
                        deadline += NEVER;
                    }
                },
                frame = body.frame() => {
                    let Some(Ok(frame)) = frame else { return Ok(End::Enough) };
                    let Ok(bytes) = frame.into_data() else { continue };
                    tokio::select! {
                        biased;
                        () = stop.wait(), if !self.output.is_file() => return Ok(End::Enough),
                        written = self.output.take(&bytes) => if written? { return Ok(End::ReaderGone) },
                    }
                }
            }
        }
    }

    fn ended(&self) -> Result<End, Failure> {
        if self.output.is_cut() { Err(Failure::Cut) } else { Ok(End::Stream) }
    }

    /// Whether there is a terminal to show a live line on.
    fn is_live(&self) -> bool {
        self.output.is_file() && !self.capture.quiet && io::stderr().is_terminal()
    }

    /// Removes the live line.
    fn clear(&self) {
        if self.is_live() {
            let _ = write!(io::stderr(), "{CLEAR}");
        }
    }

    /// Asks how the capture is doing, if that is of interest: there is a live line, or no packets come. If the daemon does
    /// not say, packets are what matters.
    async fn look(&mut self) {
        let packets = self.output.packets();
        let has_more = std::mem::replace(&mut self.looked, packets) != packets;
        let Some(cube) = self.cube.as_ref().filter(|_| self.is_live() || !has_more) else { return };
        let Ok(Ok(answer)) = timeout(ASIDE, self.client.send(&Capture::state(cube))).await else { return };
        let Ok(state) = serde_json::from_slice::<Value>(&answer.body) else { return };
        if !answer.status.is_success() {
            return;
        }
        let readers = state["streams"].as_array().into_iter().flatten();
        let missed: u64 = readers.filter_map(|reader| reader["dropped"].as_u64()).sum();
        self.output.dropped = state["counters"]["dropped"].as_u64().map(|dropped| dropped + missed);
        let reason = state[IDLE].as_str().map(str::to_owned);
        if reason == self.said {
            return;
        }
        self.clear();
        match &reason {
            Some(reason) => say(&format!("polycubectl: no packets come for now: the capture is {}", escape(reason))),
            None => say("polycubectl: packets can come again"),
        }
        self.said = reason;
    }
}
