//! Connections whose clients can hand over files, with their requests over a Unix socket (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::UnixStream;

use crate::rest::handed::Handed;
use crate::sys::socket;

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
        let (count, descriptors) = socket::receive(&self.stream, bytes)?;
        descriptors.into_iter().for_each(|descriptor| self.handed.put(descriptor));
        Ok(count)
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
    use std::mem::MaybeUninit;

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
