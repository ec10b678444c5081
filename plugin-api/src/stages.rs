//! What follows the phases of a cube's changes.
//!
//! A change is prepared, and then committed or aborted. Values that belong to a configuration follow it: the next one waits
//! beside the one in force. They enlist with their cube when they are made, and the SDK commits or aborts all of them
//! before it calls the plugin, so that no plugin can forget one.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Something that follows the phases of a change.
pub(crate) trait Stage: Send + Sync {
    fn commit(&self);
    fn abort(&self);
}

/// What follows the phases of a cube.
#[derive(Default)]
pub(crate) struct Stages(Mutex<Vec<Weak<dyn Stage>>>);

impl Stages {
    pub(crate) fn enlist(&self, stage: Weak<dyn Stage>) {
        let mut stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.retain(|stage| stage.strong_count() > 0);
        stages.push(stage);
    }

    pub(crate) fn commit(&self) {
        self.all().iter().for_each(|stage| stage.commit());
    }

    pub(crate) fn abort(&self) {
        self.all().iter().for_each(|stage| stage.abort());
    }

    fn all(&self) -> Vec<Arc<dyn Stage>> {
        let stages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stages.iter().filter_map(Weak::upgrade).collect()
    }
}
