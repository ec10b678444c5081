//! The cubes whose plugins have panicked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::topology::CubeName;

/// The failed instances by their ids: a cube that is created again is another instance of the same name.
#[derive(Default)]
pub(crate) struct Failures {
    last: AtomicU64,
    failed: Mutex<BTreeMap<u64, (String, String)>>,
}

impl Failures {
    pub(crate) fn next_id(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn add(&self, id: u64, cube: &str, message: &str) {
        self.failed().insert(id, (cube.to_owned(), message.to_owned()));
    }

    pub(crate) fn remove(&self, id: u64) {
        self.failed().remove(&id);
    }

    /// Each failed cube with its panic's message.
    pub(crate) fn all(&self) -> BTreeMap<CubeName, String> {
        let failed = self.failed();
        failed.values().filter_map(|(cube, why)| Some((CubeName::parse(cube).ok()?, why.clone()))).collect()
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<u64, (String, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
