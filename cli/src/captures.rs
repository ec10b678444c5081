//! `captures get`: a file from the daemon's machine, as it is.

use std::io::{self, Write};

use http_body_util::BodyExt;
use polycube_api::media;

use crate::failure::Failure;
use crate::grammar::{Destination, Request};
use crate::quantity;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::sink::Sink;
use crate::stream::Stop;

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
