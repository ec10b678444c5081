//! The kit's own capture, to compare the daemon's with: a packet socket and kernel timestamps. It shares nothing with
//! the code under test.

mod message;
mod stamps;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::lab::Interface;
use crate::packet_socket::{PacketSocket, Purpose};
use message::Receiver;

/// Holds a second of small frames at full rate; the recorder's thread shares two cores with everything else.
const RECEIVE_BUFFER: i32 = 256 << 20;

/// The direction in which a frame crossed the recorded interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The interface received it.
    In,
    /// The interface sent it.
    Out,
}

impl Direction {
    /// The same crossing seen from the other end of the wire.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// One recorded frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The kernel's timestamp, in nanoseconds of UTC since 1970.
    pub time_ns: u64,
    /// Its direction.
    pub direction: Direction,
    /// The frame, with its VLAN tag put back in place.
    pub bytes: Vec<u8>,
    /// Length of the frame on the wire, tag included.
    pub orig_len: u32,
}

/// A recording in progress.
#[derive(Debug)]
pub struct Recorder {
    interface: Interface,
    socket: Arc<PacketSocket>,
    frames: Arc<Mutex<Vec<Seen>>>,
    count: Arc<AtomicUsize>,
    stop: OwnedFd,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// A finished recording.
#[derive(Debug, Clone)]
pub struct Recording {
    /// What crossed the interface, in the order in which the kernel delivered it.
    pub frames: Vec<Seen>,
    /// Frames that found the buffer full: the recording is useless unless this is 0.
    pub drops: u32,
}

impl Recorder {
    /// Records everything that crosses the interface, in both directions, from the moment this returns. A frame that
    /// the recorded interface sends with queueing bypassed ([`crate::traffic::Sender::flood`]) is not recorded.
    ///
    /// # Errors
    /// Fails without root, or when the interface is gone.
    pub fn start(interface: &Interface) -> Result<Self> {
        let socket = PacketSocket::open(interface, Purpose::Capture, |socket| {
            socket.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, RECEIVE_BUFFER)?;
            socket.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
            socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)
        })?;
        stamps::wait(interface.namespace())?;
        let socket = Arc::new(socket);
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("cannot create an eventfd")?;
        let stopped = stop.try_clone().context("cannot clone an eventfd")?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let count = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (socket, frames, count) = (Arc::clone(&socket), Arc::clone(&frames), Arc::clone(&count));
            thread::Builder::new()
                .name(format!("recorder {interface}"))
                .spawn(move || record(&socket, &stopped, &frames, &count))?
        };
        Ok(Self { interface: interface.clone(), socket, frames, count, stop, thread: Some(thread) })
    }

    /// Frames recorded so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until that many frames have been recorded.
    ///
    /// # Errors
    /// Fails when they have not arrived in time; the message says how many have.
    pub fn wait_for(&self, frames: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        while self.count() < frames {
            let come = self.count();
            ensure!(Instant::now() < deadline, "{}: {come} of {frames} frames arrived in {patience:?}", self.interface);
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends the recording, once it includes everything that has crossed the interface by now.
    ///
    /// # Errors
    /// Fails when the socket did, for instance because the interface was deleted.
    pub fn stop(mut self) -> Result<Recording> {
        self.end().with_context(|| format!("recording of {} failed", self.interface))?;
        let frames = std::mem::take(&mut *self.frames.lock().unwrap_or_else(PoisonError::into_inner));
        let drops = self.socket.drops().context("cannot read drops")?;
        Ok(Recording { frames, drops })
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        rustix::io::write(&self.stop, &1_u64.to_ne_bytes())?;
        thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Recording {
    /// The frames of one direction.
    #[must_use]
    pub fn going(&self, direction: Direction) -> Vec<Seen> {
        self.frames.iter().filter(|seen| seen.direction == direction).cloned().collect()
    }

    /// The same frames as the other end of the wire sees them.
    #[must_use]
    pub fn reversed(mut self) -> Self {
        for seen in &mut self.frames {
            seen.direction = seen.direction.reversed();
        }
        self
    }
}

fn record(socket: &PacketSocket, stop: &OwnedFd, frames: &Mutex<Vec<Seen>>, count: &AtomicUsize) -> io::Result<()> {
    let mut receiver = Receiver::default();
    let mut stopping = false;
    loop {
        while let Some(seen) = receiver.receive(socket.as_fd())? {
            let mut frames = frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.push(seen);
            count.store(frames.len(), Ordering::Release);
        }
        if stopping {
            return Ok(());
        }
        let mut ready = [PollFd::new(socket, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        // One more round empties the buffer of what arrived before the stop.
        stopping = ready[1].revents().contains(PollFlags::IN);
    }
}
