//! Connections whose peers must read what is written.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::sys::socket;

/// Whether the reader of the answer that is being written may pause. Clones share one answer.
#[derive(Clone, Default)]
pub(super) struct Pause(Arc<AtomicBool>);

impl Pause {
    pub(super) fn set(&self, allowed: bool) {
        self.0.store(allowed, Ordering::Relaxed);
    }
}

/// A stream that fails when its peer reads nothing of what is written for `patience`. With nothing to write it waits
/// forever.
pub(super) struct Progress<S> {
    stream: S,
    patience: Duration,
    pause: Pause,
    /// Runs while the kernel has no room.
    stall: Option<Stall>,
}

struct Stall {
    timer: Pin<Box<Sleep>>,
    /// Bytes that the kernel held when the timer began. Where it holds many, it makes room a megabyte at a time (a third
    /// of them over TCP, `sk_stream_min_wspace` in include/net/sock.h), which takes a slow reader longer than `patience`.
    waiting: Option<i32>,
}

impl<S: AsFd> Progress<S> {
    pub(super) fn new(stream: S, patience: Duration, pause: Pause) -> Self {
        Self { stream, patience, pause, stall: None }
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() || self.pause.0.load(Ordering::Relaxed) {
            self.stall = None;
            return written;
        }
        let waiting = || socket::waiting(&self.stream).ok();
        let begin = || Stall { timer: Box::pin(sleep(self.patience)), waiting: waiting() };
        let stall = self.stall.get_or_insert_with(begin);
        while stall.timer.as_mut().poll(context).is_ready() {
            let before = std::mem::replace(&mut stall.waiting, waiting());
            if stall.waiting >= before {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stall.timer.as_mut().reset(Instant::now() + self.patience);
        }
        Poll::Pending
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

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Progress<S> {
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
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::time::timeout;

    use super::*;

    /// Long enough for a machine that has much else to do.
    const PATIENCE: Duration = Duration::from_millis(1500);
    /// More than the kernel holds for a connection.
    const MUCH: usize = 32 << 20;

    async fn tcp() -> io::Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let theirs = TcpStream::connect(listener.local_addr()?).await?;
        Ok((listener.accept().await?.0, theirs))
    }

    fn progress<S: AsFd>(stream: S, patience: Duration, may_pause: bool) -> Progress<S> {
        let pause = Pause::default();
        pause.set(may_pause);
        Progress::new(stream, patience, pause)
    }

    /// Writes more than there is room for, while the peer reads `piece` bytes, if any, eight times in `patience`. `None`
    /// when it does not end.
    async fn write<S>(
        ours: S,
        mut theirs: impl AsyncRead + Unpin,
        patience: Duration,
        may_pause: bool,
        piece: usize,
    ) -> Option<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite + AsFd + Unpin,
    {
        let (mut ours, much) = (progress(ours, patience, may_pause), vec![0; MUCH]);
        let mut taken = vec![0; piece];
        let reading = async {
            loop {
                sleep(patience / 8).await;
                theirs.read_exact(&mut taken).await.expect("there is more");
            }
        };
        tokio::select! {
            written = timeout(patience * 4, ours.write_all(&much)) => written.ok(),
            () = reading => None,
        }
    }

    fn ended(written: Option<io::Result<()>>) -> Option<io::ErrorKind> {
        written.map(|written| written.expect_err("much is left").kind())
    }

    #[tokio::test]
    async fn a_peer_that_reads_nothing_is_dropped() {
        let (unix, peer) = UnixStream::pair().expect("a pair");
        let (tcp, tcp_peer) = tcp().await.expect("a connection");
        let (unix, tcp) = tokio::join!(write(unix, peer, PATIENCE, false, 0), write(tcp, tcp_peer, PATIENCE, false, 0));
        assert_eq!((ended(unix), ended(tcp)), (Some(io::ErrorKind::TimedOut), Some(io::ErrorKind::TimedOut)));
    }

    #[tokio::test]
    async fn a_peer_that_reads_slowly_or_may_pause_is_kept() {
        let (pausing, silent) = UnixStream::pair().expect("a pair");
        let (unix, slow) = UnixStream::pair().expect("a pair");
        let (tcp, tcp_slow) = tcp().await.expect("a connection");
        let (pausing, unix, tcp) = tokio::join!(
            write(pausing, silent, PATIENCE, true, 0),
            write(unix, slow, PATIENCE, false, 32 << 10),
            // The kernel acknowledges up to 0.4 MB at a time, and makes room after 1.5 MB.
            write(tcp, tcp_slow, PATIENCE * 2, false, 96 << 10)
        );
        assert_eq!(ended(pausing), None, "a reader that may pause");
        assert_eq!(ended(unix), None, "a slow reader");
        assert_eq!(ended(tcp), None, "a slow reader, with much in the kernel");
    }

    #[tokio::test]
    async fn with_nothing_to_write_it_waits() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let mut ours = progress(ours, PATIENCE, false);
        for _ in 0..2 {
            ours.write_all(&[0; 64]).await.expect("there is room");
            sleep(PATIENCE * 2).await;
            theirs.read_exact(&mut [0; 64]).await.expect("it is there");
        }
    }
}
