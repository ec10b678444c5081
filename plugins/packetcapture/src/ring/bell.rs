//! The doorbell: a small BPF ring buffer whose records carry no meaning.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use polycube_layout::ring::BELL_SIZE;
use rustix::param::page_size;

use super::mapping::{Access, Mapping};

/// The read end of the doorbell. It can be polled, and is readable from the time it rings until [`clear`](Self::clear).
pub(crate) struct Bell {
    fd: OwnedFd,
    consumed: Mapping,
    produced: Mapping,
}

impl Bell {
    /// Bytes of the ring buffer: a page, of which aarch64 has kernels with 4, 16 and 64 KiB.
    pub(crate) fn size() -> u32 {
        u32::try_from(page_size()).unwrap_or(BELL_SIZE)
    }

    /// Maps the positions of the ring buffer: ours in the first page, the kernel's in the second (kernel/bpf/ringbuf.c,
    /// `struct bpf_ringbuf`).
    pub(crate) fn map(fd: OwnedFd) -> io::Result<Self> {
        let page = page_size();
        let consumed = Mapping::new(fd.as_fd(), 0, page, Access::ReadWrite)?;
        let produced = Mapping::new(fd.as_fd(), page as u64, page, Access::Read)?;
        Ok(Self { fd, consumed, produced })
    }

    /// Acknowledges all rings so far.
    pub(crate) fn clear(&self) {
        let position = self.produced.word64(0).load(Ordering::Acquire);
        self.consumed.word64(0).store(position, Ordering::Release);
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
