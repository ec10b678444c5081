//! Waiting for descriptors, and being woken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;

/// Descriptors of a [`Readiness`] that are looked at in one round.
const ROUND: usize = 64;

/// Wakes one thread from others.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Ends the wait under way, or the next one.
    pub(crate) fn wake(&self) {
        // An eventfd is full only after 2^64 - 2 writes.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Waits to be woken, for `other` to be readable, or until `patience` is over. A signal may end the wait, too.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn wait(&self, other: Option<BorrowedFd<'_>>, patience: Option<Duration>) -> io::Result<()> {
        let mut ready = vec![PollFd::new(&self.0, PollFlags::IN)];
        ready.extend(other.map(|other| PollFd::from_borrowed_fd(other, PollFlags::IN)));
        match poll(&mut ready, timespec(patience).as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !ready[0].revents().is_empty() {
            // It is readable, so there is nothing to wait for.
            let _ = rustix::io::read(&self.0, &mut [0; 8]);
        }
        Ok(())
    }
}

/// A set of descriptors, each with a number, that are waited for together.
#[derive(Debug)]
pub(crate) struct Readiness(OwnedFd);

impl Readiness {
    /// # Errors
    /// What the kernel says.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// # Errors
    /// What the kernel says.
    pub(crate) fn add(&self, fd: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.0, fd, epoll::EventData::new_u64(number), epoll::EventFlags::IN)?)
    }

    pub(crate) fn remove(&self, fd: impl AsFd) {
        // The kernel has forgotten a descriptor whose last copy is closed.
        let _ = epoll::delete(&self.0, fd);
    }

    /// The numbers of descriptors that are readable. Returns none after `patience`, and may after a signal.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn wait(&self, patience: Option<Duration>) -> io::Result<Vec<u64>> {
        let mut events = Vec::with_capacity(ROUND);
        match epoll::wait(&self.0, rustix::buffer::spare_capacity(&mut events), timespec(patience).as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(events.iter().map(|event: &epoll::Event| event.data.u64()).collect()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A time that is too long for the kernel is none at all.
fn timespec(patience: Option<Duration>) -> Option<Timespec> {
    patience.and_then(|patience| Timespec::try_from(patience).ok())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_woken_and_only_once() {
        let wake = Wake::new().unwrap();
        wake.wake();
        wake.wake();
        wake.wait(None, None).unwrap();
        let begin = Instant::now();
        wake.wait(None, Some(Duration::from_millis(20))).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20), "what woke it before is forgotten");
    }

    #[test]
    fn descriptors_that_are_ready_are_known_by_their_numbers() {
        let (first, second) = (Wake::new().unwrap(), Wake::new().unwrap());
        let set = Readiness::new().unwrap();
        set.add(&first.0, 3).unwrap();
        set.add(&second.0, 7).unwrap();
        assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
        second.wake();
        assert_eq!(set.wait(None).unwrap(), [7]);
        set.remove(&second.0);
        assert!(set.wait(Some(Duration::ZERO)).unwrap().is_empty());
    }
}
