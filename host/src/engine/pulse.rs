//! Whether the engine still works: for the watchdog and for probes.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Handle;

/// How often the engine is asked. A message costs it nothing, and waits for its turn like a change.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the engine answered last. Copies share it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<RwLock<Instant>>);

impl Pulse {
    /// Begins to ask. Must be called in a tokio runtime; ends with the engine.
    pub(crate) fn of(engine: &Handle) -> Self {
        let pulse = Self(Arc::new(RwLock::new(Instant::now())));
        let (engine, answered) = (engine.clone(), Arc::clone(&pulse.0));
        tokio::spawn(async move {
            while engine.turn().await {
                *answered.write().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                sleep(INTERVAL).await;
            }
        });
        pulse
    }

    /// Since when the engine has not answered.
    pub(crate) fn silence(&self) -> Duration {
        self.0.read().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}
