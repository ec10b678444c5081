//! `captures get`: a file from the daemon's machine, as it is. `captures query`: packets of all of them.

use std::io::{self, Write};

use http_body_util::BodyExt;
use polycube_api::media;

use crate::clock::Clock;
use crate::failure::Failure;
use crate::grammar::{Destination, PacketSource, PacketStream, Request};
use crate::quantity;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::Sink;
use crate::stream::{self, Stop};

/// Downloads the file that `request` asks for. What has arrived when it is interrupted is kept.
///
/// # Errors
///
/// There is no such file, the connection breaks, or nothing can be written.
pub(crate) fn get(session: &Session, request: &Request, destination: &Destination) -> Result<(), Failure> {
    Sink::check(destination)?;
    session.run(async |client| {
        let mut stop = Stop::new().map_err(Failure::Runtime)?;
        let accept = [media::PCAP, media::PCAPNG, "application/zstd", media::JSON].join(", ");
        let response = client.open(request, &accept).await?;
        if !response.status().is_success() {
            return Err(Refusal::new(&client.answer(response).await?, Asked::Verb).into());
        }
        let mut sink = Sink::open(destination)?;
        let (mut body, mut size) = (response.into_body(), 0);
        loop {
            let frame = tokio::select! {
                biased;
                () = stop.wait() => return Err(Failure::Cut),
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else {
                if sink.is_file() {
                    // There is nowhere to report that stderr is closed.
                    let _ = writeln!(io::stderr(), "{}{}", quantity::size(size), sink.place());
                }
                return Ok(());
            };
            let Ok(bytes) = frame.map_err(|source| client.broken(source))?.into_data() else { continue };
            size += bytes.len() as u64;
            match sink.write(&bytes).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(sink.failure(error)),
            }
        }
    })
}

/// Takes packets of all files. Times without an offset are on the clock that times are shown on.
///
/// # Errors
///
/// As [`stream::take`].
pub(crate) fn query(session: &Session, mut asked: PacketStream) -> Result<(), Failure> {
    if let PacketSource::Query { expression, .. } = &mut asked.source {
        *expression = with_offsets(expression, &Clock::new(asked.clock));
    }
    stream::take(session, &asked)
}

/// An expression whose times have their offset to UTC, which is how the daemon takes those without one.
fn with_offsets(expression: &str, clock: &Clock) -> String {
    let pieces: Vec<&str> = expression.split_inclusive(|c: char| c.is_ascii_whitespace()).collect();
    let is_before_time = |piece: &str| matches!(piece.trim_ascii_end(), "after" | "since" | "before");
    // The daemon says how `2026-11-29 10:20` is written.
    let is_clock = |piece: &&str| piece.starts_with(|c: char| c.is_ascii_digit()) && piece.contains(':');
    let written = pieces.iter().enumerate().map(|(at, piece)| {
        let word = piece.trim_ascii_end();
        let is_time = at > 0 && is_before_time(pieces[at - 1]) && !pieces.get(at + 1).is_some_and(is_clock);
        match is_time.then(|| clock.offset_of(word)).flatten() {
            Some(with_offset) => with_offset + &piece[word.len()..],
            None => (*piece).to_owned(),
        }
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_without_an_offset_get_one() {
        let berlin = Clock::zone("CET-1CEST,M3.5.0,M10.5.0/3");
        for (given, expected) in [
            (
                "udp and after 2026-07-15 and before 2026-12-01T10:20",
                "udp and after 2026-07-15T00:00:00+02:00 and before 2026-12-01T10:20:00+01:00",
            ),
            ("since 2026-12-01T10:20:30.25", "since 2026-12-01T10:20:30.25+01:00"),
            ("since 2026-12-01T10:20Z", "since 2026-12-01T10:20Z"),
            ("since 2026-12-01T10:20-05:00 and port 53", "since 2026-12-01T10:20-05:00 and port 53"),
            ("after 3h ago and before now", "after 3h ago and before now"),
            ("before 1784116800", "before 1784116800"),
            ("host 2026-12-01", "host 2026-12-01"),
            ("before 2026-13-01", "before 2026-13-01"),
            ("before", "before"),
            ("after 2026-11-29 14:46", "after 2026-11-29 14:46"),
        ] {
            assert_eq!(with_offsets(given, &berlin), expected);
            assert_eq!(with_offsets(given, &Clock::Utc), given);
        }
    }
}
