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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_instance_that_goes_takes_no_failure_of_a_new_one_along() {
        let failures = Failures::default();
        let (old, new) = (failures.next_id(), failures.next_id());
        assert_ne!(old, new);
        let all = |failures: &Failures| -> Vec<String> {
            failures.all().into_iter().map(|(cube, why)| format!("{cube}: {why}")).collect()
        };
        failures.add(old, "br1", "first");
        failures.add(new, "br1", "second");
        failures.remove(old);
        assert_eq!(all(&failures), ["br1: second"]);
        failures.add(old, "a", "third");
        assert_eq!(all(&failures), ["a: third", "br1: second"]);
        failures.remove(new);
        failures.remove(old);
        assert!(all(&failures).is_empty());
    }
}
