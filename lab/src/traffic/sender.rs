//! Sending raw frames through a packet socket.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libc::{iovec, mmsghdr};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::Segments;
use crate::lab::Interface;
use crate::packet_socket::{PacketSocket, Purpose};

/// Messages per sendmmsg: enough to make the call's cost negligible, few enough to check the clock often.
const BATCH: usize = 64;
const SEND_BUFFER: i32 = 16 << 20;

/// When to stop sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// After this time, at the highest rate of one core.
    Flood(Duration),
    /// After this many frames, at the highest rate of one core.
    Count(u64),
}

/// The result of sending frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Frames that the kernel accepted.
    pub frames: u64,
    /// From the first call to the end of the last.
    pub elapsed: Duration,
}

impl Sent {
    /// Frames per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }
}

/// Sends raw frames on one interface, from any thread.
#[derive(Debug)]
pub struct Sender {
    interface: Interface,
    socket: PacketSocket,
}

impl Sender {
    /// Opens a socket in the interface's namespace.
    ///
    /// # Errors
    /// Fails without root, or when the interface is gone.
    pub fn open(interface: &Interface) -> Result<Self> {
        let socket = PacketSocket::open(interface, Purpose::Send, |socket| {
            socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER)
        })?;
        Ok(Self { interface: interface.clone(), socket })
    }

    /// Sends every frame once, in order, by the normal path: captures on the sending interface see them too.
    ///
    /// # Errors
    /// Fails at the first frame that the kernel refuses, with its index: it exceeds the MTU, or the interface is down.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<Sent> {
        let begin = Instant::now();
        let mut sent = 0;
        while sent < frames.len() {
            let vectors = iovecs(frames[sent..].iter().take(BATCH).map(Vec::as_slice));
            let mut batch = messages(&vectors);
            let taken = self.send_batch(&mut batch);
            sent += taken
                .with_context(|| format!("{} refuses frame {sent} of {} bytes", self.interface, frames[sent].len()))?;
        }
        Ok(Sent { frames: sent as u64, elapsed: begin.elapsed() })
    }

    /// Sends the frames over and over at the highest rate. The queueing discipline is bypassed, and with it any capture
    /// on the sending interface: the frames appear only at its peer.
    ///
    /// # Errors
    /// As [`Sender::send`]; and when `frames` is empty.
    pub fn flood(&self, frames: &[Vec<u8>], pace: Pace) -> Result<Sent> {
        ensure!(!frames.is_empty(), "nothing to send");
        self.socket.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 1).context("cannot bypass queueing")?;
        let length = BATCH.next_multiple_of(frames.len());
        let vectors = iovecs(frames.iter().cycle().take(length).map(Vec::as_slice));
        let mut batch = messages(&vectors);
        let run = self.repeat(&mut batch, pace);
        self.socket.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, 0).context("cannot restore queueing")?;
        run.with_context(|| format!("{} refuses a frame", self.interface))
    }

    fn repeat(&self, batch: &mut [mmsghdr], pace: Pace) -> io::Result<Sent> {
        let begin = Instant::now();
        let (mut sent, mut next) = (0_u64, 0);
        loop {
            let elapsed = begin.elapsed();
            let left = match pace {
                Pace::Flood(duration) if elapsed >= duration => 0,
                Pace::Flood(_) => u64::MAX,
                Pace::Count(count) => count - sent,
            };
            if left == 0 {
                return Ok(Sent { frames: sent, elapsed });
            }
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH).min(batch.len() - next);
            let taken = self.send_batch(&mut batch[next..next + length])?;
            sent += taken as u64;
            next = (next + taken) % batch.len();
        }
    }

    /// Sends TCP super-packets unsegmented.
    ///
    /// # Errors
    /// Fails when the kernel refuses a header.
    pub fn send_segments(&self, packets: &[Segments]) -> Result<Sent> {
        let socket = PacketSocket::open(&self.interface, Purpose::Send, |socket| {
            socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
            socket.set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, SEND_BUFFER)
        })?;
        let vnet = Self { interface: self.interface.clone(), socket };
        let wires: Vec<Vec<u8>> = packets.iter().map(|packet| packet.with_vnet_header().to_vec()).collect();
        vnet.send(&wires)
    }

    fn send_batch(&self, batch: &mut [mmsghdr]) -> io::Result<usize> {
        loop {
            let count = batch.len() as u32;
            // SAFETY: `batch` holds `count` headers, each pointing at one iovec of a frame; `messages` borrows both for
            // as long as its result lives. The kernel writes the headers' `msg_len` only.
            let sent = unsafe { libc::sendmmsg(self.socket.as_fd().as_raw_fd(), batch.as_mut_ptr(), count, 0) };
            if sent >= 0 {
                return Ok(sent.cast_unsigned() as usize);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::ENOBUFS | libc::EAGAIN) => {
                    poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None)?;
                }
                _ => return Err(error),
            }
        }
    }
}

/// Pins the calling thread to one core, so that a bench knows what shares it with the sender.
///
/// # Errors
/// Fails when there is no such core.
pub fn pin_to_core(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot run on core {core}"))
}

fn iovecs<'a>(frames: impl Iterator<Item = &'a [u8]>) -> Vec<iovec> {
    frames.map(|frame| iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() }).collect()
}

fn messages(vectors: &[iovec]) -> Vec<mmsghdr> {
    let message = |vector: &iovec| {
        // SAFETY: an mmsghdr of zero bytes is valid: no name, no vectors, no control data.
        let mut message: mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_iov = (&raw const *vector).cast_mut();
        message.msg_hdr.msg_iovlen = 1;
        message
    };
    vectors.iter().map(message).collect()
}
