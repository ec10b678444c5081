//! Numbered frames sent in the background.

use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Flow, Protocol, Sender};
use crate::lab::Interface;

/// Frames in a burst, without a pause between them.
const BURST: u32 = 64;
/// The pause that lets a recorder keep up on two busy cores: at most 128,000 frames per second.
const PAUSE: Duration = Duration::from_micros(500);
const PATIENCE: Duration = Duration::from_secs(20);

/// A sender in the background. Dropping it stops it.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Steady {
    /// Sends UDP frames of `len` bytes, numbered from 0, in bursts, until it is stopped or `limit` have been sent.
    ///
    /// # Errors
    /// As [`Sender::open`].
    pub fn start(interface: &Interface, flow: Flow, len: usize, limit: u32) -> Result<Self> {
        let sender = Sender::open(interface)?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::Builder::new().name(format!("steady {interface}")).spawn(move || {
            let mut next = 0;
            while next < limit && !stopped.load(Ordering::Relaxed) {
                let burst: Vec<_> =
                    (next..limit.min(next + BURST)).map(|number| flow.frame(Protocol::Udp, len, number)).collect();
                sender.send(&burst)?;
                next += burst.len() as u32;
                counted.store(next, Ordering::Release);
                thread::sleep(PAUSE);
            }
            Ok(())
        })?;
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    /// Frames sent so far.
    #[must_use]
    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Acquire)
    }

    /// Waits until that many more frames have been sent.
    ///
    /// # Errors
    /// Fails when they are not within 20 s, usually because the limit was reached.
    pub fn wait_for(&self, more: u32) -> Result<()> {
        let (goal, deadline) = (self.sent() + more, Instant::now() + PATIENCE);
        while self.sent() < goal {
            ensure!(Instant::now() < deadline, "{} of {goal} frames were sent in {PATIENCE:?}", self.sent());
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Stops, and returns how many frames were sent.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn stop(mut self) -> Result<u32> {
        self.end()?;
        Ok(self.sent())
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        // A thread that panicked has already reported it.
        if let Some(thread) = self.thread.take() {
            self.stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
    }
}
