//! Netdevs that come, go and get other names, and programs of ours that others take off them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Engine;
use crate::model::{self, Change, Facts, Model, Origin};
use crate::netdev::Table;
use crate::reconcile::Refused;
use crate::sys::netdevs::News;

/// How long netdevs that could not be followed wait.
const FOLLOW_PAUSE: Duration = Duration::from_secs(1);

/// How often hooks are looked at.
const INSPECTION: Duration = Duration::from_secs(2);

/// How often pins are looked at.
const REPINNING: Duration = Duration::from_secs(10);

impl Engine {
    /// Wires the netdevs in use that have come, gone or changed, and tries deferred parts again. Has cubes hear of those
    /// that went down or came up.
    pub(super) fn follow_netdevs(&mut self) {
        match self.present.refresh() {
            Ok(news) => self.news.extend(news),
            Err(error) => tracing::error!("cannot look up netdevs: {error}"),
        }
        let states = std::mem::take(&mut self.news.states);
        self.wire_netdevs();
        self.announce_states(&states);
    }

    fn wire_netdevs(&mut self) {
        let is_any =
            !self.news.is_empty() || self.is_choice_stale || self.reconciler.is_retry_due() || self.has_losses();
        if !is_any || self.follow_again.is_some_and(|due| Instant::now() < due) {
            return;
        }
        let News { names, gone, .. } = std::mem::take(&mut self.news);
        self.is_choice_stale = false;
        let mut present = self.present.table().clone();
        // A netdev that went and is back is another one, even with the same ifindex: its hooks and its mode went along.
        let returned: Vec<u32> = gone
            .iter()
            .copied()
            .filter(|i| present.link(*i).is_some() && self.reconciler.netdevs().is_named(*i))
            .collect();
        let mut is_followed = true;
        if !returned.is_empty() {
            let mut names = names.clone();
            names.extend(returned.iter().flat_map(|ifindex| present.remove(*ifindex)));
            is_followed = self.follow(present, &names);
        }
        let present = self.present.table().clone();
        if is_followed && self.follow(present, &names) {
            self.follow_again = None;
        } else {
            // Nothing of it may be forgotten: a rename is only seen once.
            self.news.extend(News { names, gone, ..News::default() });
            self.is_choice_stale = true;
            self.follow_again = Some(Instant::now() + FOLLOW_PAUSE);
        }
    }

    /// Brings everything to these netdevs, of which `changed` may be others than before. Answers whether it could.
    pub(super) fn follow(&mut self, present: Table, changed: &BTreeSet<String>) -> bool {
        let facts = Facts { present, ..self.facts(&BTreeSet::new()) };
        let renamed = model::renamed(changed, &facts);
        let mut model = self.reconciler.model().clone();
        model.rename_netdevs(&renamed);
        model.choose(&facts);
        self.report_looks(&facts.looks);
        match self.reconciler.reconcile(model, &facts, changed, Origin::Netdevs) {
            Ok(_) => {
                for (old, new) in &renamed {
                    tracing::info!(netdev = old, "is called {new} now");
                }
                self.publish();
                return true;
            }
            Err(Refused::Problems(problems)) => {
                for problem in problems.0 {
                    tracing::error!(path = problem.path, "cannot follow a netdev: {problem}");
                }
            }
            // Whatever netdevs touch is deferred while it is busy.
            Err(Refused::Busy(cubes)) => tracing::error!(?cubes, "cannot follow a netdev: the cubes are busy"),
        }
        false
    }

    /// Whether somebody took something of ours off a netdev. Looks every few seconds, because it asks the kernel once for
    /// each hook.
    pub(super) fn has_losses(&mut self) -> bool {
        if self.inspected.elapsed() < INSPECTION {
            return false;
        }
        self.inspected = Instant::now();
        if self.repinned.elapsed() >= REPINNING {
            self.repinned = Instant::now();
            self.reconciler.repin();
        }
        self.reconciler.find_losses(self.present.table())
    }

    /// Makes the new model once more, where that was refused for want of a name that the kernel did not tell of.
    pub(super) fn change_again(&mut self, change: &Change) -> Option<(Model, Facts)> {
        // Only of a netdev that is down, the kernel keeps a new name to itself.
        if self.present.table().links().all(|link| link.up) {
            return None;
        }
        let news = self.present.reread().ok().filter(|news| !news.is_empty())?;
        self.news.extend(news);
        self.follow_netdevs();
        let facts = self.facts(&change.namespaces());
        let model = model::change(self.reconciler.model(), change.clone(), &facts).ok()?;
        Some((model, facts))
    }
}
