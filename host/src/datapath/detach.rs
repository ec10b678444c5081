//! Takes roots off their netdevs in the background.
//!
//! The kernel waits for its readers each time that a TCX link goes, and holds the lock of all netdevs meanwhile
//! (`tcx_link_release()` in kernel/bpf/tcx.c): two hundred hooks take it close to two seconds, however
//! many threads ask. So the slot of such a root gets a program that ends the chain, which takes no wait, and packets have
//! left the chain when the next grace period is over. The link itself is detached in a thread of its own.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use super::hook::wait_for;
use crate::sys::bpf;

/// A link that is to go.
pub(super) enum Leaving {
    Link(OwnedFd),
    /// One that is still being made.
    Pending(mpsc::Receiver<io::Result<OwnedFd>>),
}

/// The thread, and how many links it still has.
pub(super) struct Detacher {
    links: mpsc::Sender<Leaving>,
    left: Arc<(Mutex<usize>, Condvar)>,
}

impl Detacher {
    /// Starts the thread. It ends with the value.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start() -> io::Result<Self> {
        let (links, inbox) = mpsc::channel::<Leaving>();
        let left = Arc::new((Mutex::new(0), Condvar::new()));
        let counted = Arc::clone(&left);
        thread::Builder::new().name("detach".to_owned()).spawn(move || {
            for link in inbox {
                detach(link);
                *counted.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
                counted.1.notify_all();
            }
        })?;
        Ok(Self { links, left })
    }

    pub(super) fn detach(&self, link: Leaving) {
        *self.left.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        if let Err(mpsc::SendError(link)) = self.links.send(link) {
            // The thread does not end before this value does.
            detach(link);
            *self.left.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        }
    }

    /// Waits until every link is gone, at most for `patience`.
    pub(super) fn wait(&self, patience: Duration) {
        let left = self.left.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What is left afterwards goes on in the thread.
        drop(self.left.1.wait_timeout_while(left, patience, |left| *left > 0));
    }
}

fn detach(link: Leaving) {
    let link = match link {
        Leaving::Link(link) => Ok(link),
        Leaving::Pending(link) => wait_for(&link),
    };
    if let Err(error) = link.and_then(|link| bpf::link_detach(link.as_fd())) {
        // A netdev that is gone has taken its hooks along.
        tracing::debug!(%error, "detaching");
    }
}
