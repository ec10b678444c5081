//! An engine to test with: it makes changes of the model, with neither kernel nor plugins.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

use imbl::OrdMap;
use tokio::sync::mpsc;

use super::{Answer, Ask, Handle, Message, View};
use crate::containers::Containers;
use crate::model::{self, Facts, Model};

impl View {
    /// What readers see of `model` when no plugin runs.
    pub(crate) fn of(model: Model, facts: &Facts) -> Self {
        let Model { topology, registry, deferred, unrestored } = model;
        let (netdevs, present) = (facts.wired.clone(), facts.present.clone());
        Self {
            topology,
            registry,
            deferred,
            netdevs,
            present,
            instances: OrdMap::new(),
            unrestored,
            datapaths: OrdMap::new(),
        }
    }
}

/// Starts an engine on `model`. It ends with the last handle.
pub(crate) fn start(model: Model, facts: Facts) -> Handle {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let view = Arc::new(RwLock::new(Arc::new(View::of(model, &facts))));
    let containers = Arc::new(Containers::new(&[], &[]));
    let handle = Handle::new(messages, Arc::clone(&view), Arc::from([]), Arc::new(AtomicBool::new(false)), containers);
    tokio::spawn(async move {
        while let Some(message) = inbox.recv().await {
            let Message::Ask(Ask::Change { change, guard, answer }) = message else { continue };
            let before = Arc::clone(&view.read().unwrap());
            let model = before.model();
            let allowed = guard.map_or(Ok(()), |guard| guard(&before));
            let made: Answer = allowed.and_then(|()| model::change(&model, change.clone(), &facts)).map(|after| {
                let answer = model::answer(&model, &after, &change, &facts);
                if !change.is_comparison() {
                    *view.write().unwrap() = Arc::new(View::of(after, &facts));
                }
                answer
            });
            // A test that is over does not wait for its answer.
            let _ = answer.send(made);
        }
    });
    handle
}
