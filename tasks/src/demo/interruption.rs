//! Ctrl-C, noticed between two steps, so that the demo cleans up as it does at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

pub(super) struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// From now on SIGINT and SIGTERM end the demo at its next step.
    pub(super) fn watch() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot wait for signals")?;
        let (mut interrupted, mut terminated) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let flag = Arc::new(AtomicBool::new(false));
        let raised = Arc::clone(&flag);
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupted.recv() => {}
                    _ = terminated.recv() => {}
                }
            });
            raised.store(true, Ordering::Relaxed);
        });
        Ok(Self(flag))
    }

    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// A failure after a signal is most likely its consequence.
    pub(super) fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.or_else(|error| self.check().and(Err(error)))
    }
}
