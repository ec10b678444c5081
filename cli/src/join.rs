//! `dump a b c`: the packets of several captures as one stream of pcapng, in order of time.

mod merge;

use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Bytes, Incoming};
use polycube_api::media;
use tokio::time::{MissedTickBehavior, interval};

use self::merge::Merge;
use crate::bundle::Bundle;
use crate::client::Client;
use crate::failure::Failure;
use crate::grammar::{Joined, Request};
use crate::keys::Keys;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::{Sink, Tally};
use crate::stream::{Idle, LOOK, Stop, TICK, dropped, reader};

/// How often packets are looked for that have waited long enough.
const STEP: Duration = Duration::from_millis(50);

/// Passes packets on until the streams end, there are enough, the user interrupts it, or the pipe is closed.
///
/// # Errors
/// The daemon refuses, a connection breaks, or nothing can be written. What has arrived until then is written.
pub(crate) fn take(session: &Session, joined: &Joined) -> Result<(), Failure> {
    Sink::check(&joined.destination)?;
    session.run(async |client| {
        let bundle = if joined.bundle { Bundle::fetch(client).await? } else { Bundle::default() };
        let mut keys = joined.keys.as_deref().map(Keys::open).transpose()?;
        if let Some(keys) = &mut keys {
            keys.begin(client, joined.cubes.clone()).await?;
        }
        let (mut bodies, mut readers) = (Vec::new(), Vec::new());
        for stream in joined.streams() {
            let accept = [media::PCAPNG, media::JSON].join(", ");
            let response = client.open(&stream.request(), &accept).await?;
            if !response.status().is_success() {
                let asked = Asked::Packets { cube: stream.name(), command: "dump" };
                return Err(Refusal::new(&client.answer(response).await?, asked).into());
            }
            readers.extend(reader(&stream, response.headers()));
            bodies.push(Some(response.into_body()));
        }
        let hold = joined.follow.then_some(merge::HOLD);
        let idle = joined.streams().filter(|stream| stream.follow).map(|stream| (Idle::new(&stream), 0)).collect();
        let merge = Merge::new(bodies.len(), hold, joined.packets);
        let (sink, tally) = (Sink::open(&joined.destination)?, Tally::begin());
        let mut flow = Flow { client, readers, idle, merge, sink, tally, bundle: Some(bundle) };
        let copied = flow.copy(&mut bodies, keys.as_mut()).await;
        flow.sink.clear();
        if !matches!(copied, Ok(End::ReaderGone)) {
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "{}{}", flow.tally, flow.sink.place());
        }
        copied.map(|_| ())
    })
}

/// Why no more packets are taken.
enum End {
    Enough,
    ReaderGone,
}

/// Packets between the daemon and a sink.
struct Flow<'a> {
    client: &'a Client,
    /// Each asks the daemon for our counters.
    readers: Vec<Request>,
    /// Why no packets come from each of those that are followed, and how many have come.
    idle: Vec<(Idle, u64)>,
    merge: Merge,
    sink: Sink,
    tally: Tally,
    /// For the first bytes.
    bundle: Option<Bundle>,
}

impl Flow<'_> {
    async fn copy(&mut self, bodies: &mut [Option<Incoming>], keys: Option<&mut Keys>) -> Result<End, Failure> {
        let feed = Keys::feed(keys, self.client);
        tokio::pin!(feed);
        let mut stop = Stop::new().map_err(Failure::Runtime)?;
        let [mut tick, mut look, mut step] = [TICK, LOOK, STEP].map(interval);
        for timer in [&mut tick, &mut look, &mut step] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        // The first one has the first turn.
        let mut last = bodies.len() - 1;
        while bodies.iter().any(Option::is_some) && !self.merge.is_enough() {
            tokio::select! {
                biased;
                () = stop.wait() => {
                    self.count_dropped().await;
                    break;
                }
                never = &mut feed => match never {},
                (index, piece) = next(bodies, last, |index| self.merge.has_room(index)) => {
                    last = index;
                    match piece {
                        Some(piece) => {
                            let bytes = piece.map_err(|source| self.client.broken(source))?;
                            self.merge.feed(index, &bytes, Instant::now())?;
                            if let Some((_, packets)) = self.idle.get_mut(index) {
                                *packets = self.merge.packets(index);
                            }
                        }
                        None => {
                            bodies[index] = None;
                            self.merge.end(index)?;
                        }
                    }
                    if self.write(&mut stop).await? {
                        return Ok(End::ReaderGone);
                    }
                }
                _ = step.tick() => if self.write(&mut stop).await? { return Ok(End::ReaderGone) },
                _ = tick.tick() => {
                    if self.sink.is_reader_gone() {
                        return Ok(End::ReaderGone);
                    }
                    if self.sink.is_live() {
                        self.count_dropped().await;
                        self.sink.draw(&mut self.tally);
                    }
                }
                _ = look.tick() => self.look().await,
            }
        }
        self.merge.end_all();
        let is_gone = self.write(&mut stop).await?;
        Ok(if is_gone { End::ReaderGone } else { End::Enough })
    }

    /// Writes what has its place; true if nobody reads it any more. When the user has had enough, a pipe with a slow
    /// reader is not waited for.
    async fn write(&mut self, stop: &mut Stop) -> Result<bool, Failure> {
        let mut out = self.merge.release(Instant::now(), |packet| self.tally.add(packet));
        if out.is_empty() {
            return Ok(false);
        }
        if let Some(bundle) = self.bundle.take() {
            bundle.insert(&mut out);
        }
        let may_wait = !self.sink.is_file();
        let written = tokio::select! {
            biased;
            () = stop.wait(), if may_wait => return Ok(true),
            written = self.sink.write(&out) => written,
        };
        match written {
            Ok(()) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
            Err(error) => Err(self.sink.failure(error)),
        }
    }

    async fn look(&mut self) {
        for (idle, packets) in &mut self.idle {
            if let Some(line) = idle.look(self.client, *packets).await {
                self.sink.clear();
                // There is nowhere to report that stderr is closed.
                let _ = writeln!(io::stderr(), "polycubectl: {line}");
            }
        }
    }

    /// If the daemon does not say, the streams go on.
    async fn count_dropped(&mut self) {
        let mut sum = None;
        for reader in &self.readers {
            if let Some(dropped) = dropped(self.client, reader).await {
                *sum.get_or_insert(0) += dropped;
            }
        }
        self.tally.dropped = sum.or(self.tally.dropped);
    }
}

/// The next piece of any stream that there is room for, and whose it is; without a piece, that stream has ended. The turn
/// goes round, from the one after `last`.
async fn next(
    bodies: &mut [Option<Incoming>],
    last: usize,
    has_room: impl Fn(usize) -> bool,
) -> (usize, Option<Result<Bytes, hyper::Error>>) {
    let count = bodies.len();
    poll_fn(|context| {
        for index in (0..count).map(|at| (last + 1 + at) % count).filter(|index| has_room(*index)) {
            let Some(body) = &mut bodies[index] else { continue };
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => {}
                Poll::Ready(None) => return Poll::Ready((index, None)),
                // Trailers have no meaning here.
                Poll::Ready(Some(frame)) => {
                    return Poll::Ready((index, Some(frame.map(|frame| frame.into_data().unwrap_or_default()))));
                }
            }
        }
        Poll::Pending
    })
    .await
}
