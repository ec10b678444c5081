//! What a cube's plugin hears unasked, with its ticks: of its netdevs, and of what its service observes.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use polycube_plugin_api::abi::CubeHandle;
use polycube_plugin_api::{Level, Topic};

use super::Instance;
use crate::environment::{Table, Told};

/// How long news of netdevs waits for a cube's turn.
const HEAR: Duration = Duration::from_millis(100);

/// How long a cube may take for reports of what it observes, before its turn is free for others.
const PARTS: Duration = Duration::from_millis(150);

impl Instance {
    /// Keeps what the plugin is to hear of its cube's netdevs, JSON. Answers whether it has not heard that yet.
    pub(crate) fn report(&self, netdevs: &str) -> bool {
        self.netdevs.set(netdevs)
    }

    /// What the service wants to hear of the daemon's network namespace.
    pub(crate) fn observes(&self) -> &[Topic] {
        &self.observes
    }

    /// Notes what there is in the daemon's network namespace. Answers whether the plugin has not heard that yet.
    pub(crate) fn surround(&self, table: &Table) -> bool {
        self.environment().set(table.of(&self.observes))
    }

    fn environment(&self) -> MutexGuard<'_, Told> {
        self.environment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the plugin hear of its cube's netdevs, and of what it observes. If it is in a call for longer, it hears with the
    /// next tick.
    pub(crate) fn hear(&self) {
        if let Some(_turn) = self.turn.take(HEAR) {
            self.pass_report();
            self.pass_environment();
        }
    }

    /// Reports part after part, as many as there is time for: the rest comes with the next tick.
    fn pass_environment(&self) {
        let begin = Instant::now();
        while begin.elapsed() < PARTS {
            let Some(news) = self.environment().next() else { return };
            let text = match serde_json::to_string(&news) {
                Ok(text) => text,
                Err(error) => return tracing::error!(%error, "cannot report what a cube observes"),
            };
            self.log.write(Level::Trace, &format!("hears of what it observes: {text}"));
            // A panic is already logged, and nothing depends on the other refusals.
            let _ = self.call_claimed("environment", |cube| cube.environment(text.as_str().into()));
        }
    }

    fn pass_report(&self) {
        if let Some(netdevs) = self.netdevs.take() {
            self.log.write(Level::Trace, &format!("hears of its netdevs: {netdevs}"));
            // A panic is already logged, and nothing depends on the other refusals.
            let _ = self.call_claimed("netdevs", |cube| cube.netdevs((&*netdevs).into()));
        }
    }

    /// Calls the plugin's tick, unless something else calls it at the moment.
    pub(crate) fn tick(&self) {
        if let Some(_turn) = self.turn.take_if_idle() {
            self.pass_report();
            self.pass_environment();
            // A panic is already logged, and nothing depends on the other refusals.
            let _ = self.call("tick", CubeHandle::tick);
        }
    }
}
