//! Connections whose peers have to take what is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Marks, as an extension, an answer whose reader may pause for as long as it likes.
#[derive(Clone, Copy)]
pub struct MayPause;

/// Whether the reader of the answer that is being written may pause. Clones tell the same.
#[derive(Clone, Default)]
pub struct Pause(Arc<AtomicBool>);

impl Pause {
    pub fn set(&self, allowed: bool) {
        self.0.store(allowed, Ordering::Relaxed);
    }
}

/// A stream that fails when its peer takes nothing of what is written for as long as `patience`. Without anything to
/// write it waits for ever.
pub struct Progress<S> {
    stream: S,
    patience: Duration,
    pause: Pause,
    /// Runs while the peer takes nothing.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Progress<S> {
    pub fn new(stream: S, patience: Duration, pause: Pause) -> Self {
        Self { stream, patience, pause, timer: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.pause.0.load(Ordering::Relaxed) {
            self.timer = None;
            return written;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);
    const ROOM: usize = 64;

    /// Writes more than there is room for, while the peer takes a byte, if any, each time that so much has passed.
    async fn write(pause: bool, each: Option<Duration>) -> Option<io::Result<()>> {
        let (ours, mut theirs) = duplex(ROOM);
        let pausing = Pause::default();
        pausing.set(pause);
        let mut ours = Progress::new(ours, PATIENCE, pausing);
        let reader = tokio::spawn(async move {
            while let Some(each) = each {
                sleep(each).await;
                if theirs.read_u8().await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        });
        let written = timeout(PATIENCE * 4, ours.write_all(&[0; 1024])).await.ok();
        reader.abort();
        written
    }

    #[tokio::test]
    async fn only_a_peer_that_takes_nothing_is_given_up() {
        let stalled = write(false, None).await.expect("it ends");
        assert_eq!(stalled.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        assert!(write(false, Some(PATIENCE / 4)).await.is_none(), "a slow reader");
        assert!(write(true, None).await.is_none(), "a reader that may pause");
    }

    #[tokio::test]
    async fn what_has_nothing_to_write_waits() {
        let (ours, mut theirs) = duplex(ROOM);
        let mut ours = Progress::new(ours, PATIENCE, Pause::default());
        ours.write_all(&[0; ROOM]).await.expect("there is room");
        sleep(PATIENCE * 2).await;
        theirs.read_exact(&mut [0; ROOM]).await.expect("it is there");
        ours.write_all(&[0; ROOM]).await.expect("there is room again");
    }
}
