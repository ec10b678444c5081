//! Connections whose peers may answer and stop reading before they have read everything.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream on which writing does not fail: when the peer no longer reads, its answer says why, or that there is none.
pub(super) struct HalfClosed<S>(pub(super) S);

/// Counts what the peer no longer reads as written.
fn written(polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
    polled.map(|result| match result {
        Err(error) if is_closed(&error) => Ok(length),
        result => result,
    })
}

fn done(polled: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    polled.map(|result| result.or_else(|error| if is_closed(&error) { Ok(()) } else { Err(error) }))
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected)
}

impl<S: AsyncRead + Unpin> AsyncRead for HalfClosed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HalfClosed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        written(Pin::new(&mut self.0).poll_write(context, bytes), bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        written(Pin::new(&mut self.0).poll_write_vectored(context, slices), length)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        done(Pin::new(&mut self.0).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        done(Pin::new(&mut self.0).poll_shutdown(context))
    }
}
