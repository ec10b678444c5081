//! What the service manager hears: that the daemon is ready, what it does, and that its engine lives.

use std::time::Duration;

use crate::engine::{Handle, Pulse};
use crate::sys::notify::{self, Notifier};

/// How often the status text is made new, without a watchdog.
const INTERVAL: Duration = Duration::from_secs(10);

/// The service manager, if one has started the daemon.
pub(super) struct Manager(Option<Notifier>);

impl Manager {
    pub(super) fn from_environment() -> Self {
        Self(Notifier::from_environment().unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot reach the service manager at $NOTIFY_SOCKET");
            None
        }))
    }

    pub(super) fn ready(&self) {
        self.say("READY=1");
    }

    /// Before a reload; [`Manager::ready`] ends it.
    pub(super) fn reloading(&self) {
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={}", notify::now()));
    }

    pub(super) fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=stopping");
    }

    /// Says what the daemon does, and feeds the watchdog while the engine answers. Never returns.
    pub(super) async fn keep_feeding(&self, pulse: Pulse, engine: Handle) {
        let watchdog = notify::watchdog();
        // systemd asks for half of its interval; half of that again leaves room for a slow round.
        let interval = watchdog.map_or(INTERVAL, |interval| interval / 4);
        loop {
            let state = state(watchdog, pulse.silence(), &status(&engine));
            self.say(&state);
            tokio::time::sleep(interval).await;
        }
    }

    fn say(&self, state: &str) {
        if let Some(notifier) = &self.0
            && let Err(error) = notifier.send(state)
        {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

fn status(engine: &Handle) -> String {
    let view = engine.view();
    let attachments: usize = view.topology.chains().map(|(_, chain)| chain.len()).sum();
    let (services, cubes) = (view.registry.services().count(), view.topology.cubes().count());
    format!("services: {services}, cubes: {cubes}, attachments: {attachments}")
}

/// What the manager hears in one round. An engine that is silent for half of the watchdog's interval starves it.
fn state(watchdog: Option<Duration>, silence: Duration, status: &str) -> String {
    let status = match silence > INTERVAL {
        true => format!("STATUS=the engine has not answered for {} s", silence.as_secs()),
        false => format!("STATUS={status}"),
    };
    let is_alive = watchdog.is_some_and(|interval| silence < interval / 2);
    if is_alive { format!("WATCHDOG=1\n{status}") } else { status }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_engine_that_answers_feeds_the_watchdog() {
        let minute = Some(Duration::from_secs(60));
        for (watchdog, silence, expected) in [
            (minute, 0, "WATCHDOG=1\nSTATUS=s"),
            (minute, 5, "WATCHDOG=1\nSTATUS=s"),
            (minute, 29, "WATCHDOG=1\nSTATUS=the engine has not answered for 29 s"),
            (minute, 30, "STATUS=the engine has not answered for 30 s"),
            (None, 0, "STATUS=s"),
        ] {
            assert_eq!(state(watchdog, Duration::from_secs(silence), "s"), expected, "{watchdog:?} {silence}");
        }
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_said() {
        let manager = Manager(None);
        manager.ready();
        manager.reloading();
        manager.stopping();
    }
}
