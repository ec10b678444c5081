//! Files that clients hand over with their requests.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// What the client of a connection has handed over, and no request has taken. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Handed(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot(Option<OwnedFd>);

impl Handed {
    /// The last descriptor that came, for one request.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.take()
    }

    /// Keeps a descriptor until it is taken, replaced, or the connection ends.
    pub(super) fn put(&self, descriptor: OwnedFd) {
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
