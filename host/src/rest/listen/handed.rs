//! Files that clients hand over with their requests, over a Unix socket (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

/// What the client of a connection has handed over, and no request has taken. Clones share it.
#[derive(Clone, Default)]
pub(in crate::rest) struct Handed(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot(Option<OwnedFd>);

impl Handed {
    /// The last descriptor that came, for one request.
    pub(in crate::rest) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Keeps a descriptor until it is taken, replaced, or the connection ends.
    pub(in crate::rest) fn put(&self, descriptor: OwnedFd) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Slot(Some(descriptor));
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(descriptor) = self.0.take() {
            // To close a file of a client's file system can take as long as that likes.
            drop(tokio::task::spawn_blocking(move || drop(descriptor)));
        }
    }
}

/// A connection whose client can hand over descriptors.
pub(super) struct Receiving {
    stream: UnixStream,
    handed: Handed,
}

impl Receiving {
    pub(super) fn new(stream: UnixStream, handed: Handed) -> Self {
        Self { stream, handed }
    }

    fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // The kernel closes what there is no room for.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = recvmsg(&self.stream, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                descriptors.for_each(|descriptor| self.handed.put(descriptor));
            }
        }
        Ok(received.bytes)
    }
}

impl AsyncRead for Receiving {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let read = || self.receive(buffer.initialize_unfilled());
            match self.stream.try_io(Interest::READABLE, read) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsFd for Receiving {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsyncWrite for Receiving {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
    use std::io::Write as _;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn send(stream: &UnixStream, bytes: &[u8], files: &[std::fs::File]) {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
        let sent = sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty());
        assert_eq!(sent, Ok(bytes.len()));
    }

    fn file(text: &str) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn text(handed: &Handed) -> Option<String> {
        use std::os::unix::fs::FileExt as _;
        let mut text = [0; 3];
        std::fs::File::from(handed.take()?).read_exact_at(&mut text, 0).unwrap();
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test]
    async fn a_file_comes_with_the_bytes_and_is_taken_once() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let handed = Handed::default();
        let mut ours = Receiving::new(ours, handed.clone());
        let mut bytes = [0; 4];
        theirs.write_all(b"none").await.unwrap();
        ours.read_exact(&mut bytes).await.unwrap();
        assert!(handed.take().is_none());
        send(&theirs, b"with", &[file("abc")]);
        ours.read_exact(&mut bytes).await.unwrap();
        assert_eq!((&bytes, text(&handed).as_deref()), (b"with", Some("abc")));
        assert!(handed.take().is_none());
        ours.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn of_several_descriptors_one_stays_open() {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let handed = Handed::default();
        let mut ours = Receiving::new(ours, handed.clone());
        let mut bytes = [0; 4];
        let before = open();
        for _ in 0..50 {
            send(&theirs, b"many", &[file("abc"), file("def"), file("ghi")]);
            ours.read_exact(&mut bytes).await.unwrap();
        }
        assert!(text(&handed).is_some());
        // Others run beside this, and what is replaced is closed a little later.
        for _ in 0..500 {
            if open() < before + 20 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{} descriptors, {before} before", open());
    }
}
