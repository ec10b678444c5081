//! What outlives the daemon: brings it back at start, and has each change stored before it is answered.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Engine;
use crate::model::{self, Model, Origin};
use crate::problem::{Problem, Problems};
use crate::reconcile::Refused;
use crate::store::{Contents, NotStored, Store};
use crate::topology::CubeName;

/// How long a cube that could not be brought back waits.
const PAUSE: Duration = Duration::from_secs(5);

/// Where changes go, and what is there.
pub(super) struct Keeper {
    /// `None` where nothing is to outlive the daemon.
    pub store: Option<Store>,
    /// The model that was handed to the store last.
    pub stored: Model,
    /// The services that are loaded at each start.
    pub loaded: BTreeSet<String>,
    /// When cubes were tried again last.
    pub tried: Instant,
    /// Whether nothing that an earlier daemon left is removed: the store that said what it was for is damaged.
    pub is_lost: bool,
    /// Whether everything outlives the daemon.
    pub is_kept: bool,
}

impl Engine {
    /// Brings back what is stored, and takes over what an earlier daemon left in the kernel. What is left there and not
    /// asked for goes, unless the store is lost: then nothing says what is asked for.
    pub(super) fn restore(&mut self, Contents { saved, damaged, is_new }: &Contents) {
        let is_lost = self.reconciler.has_found() && (damaged.is_some() || (self.keeper.is_kept && *is_new));
        let registry = self.reconciler.model().registry.clone();
        let mut model = model::restore(saved, registry.clone());
        self.keeper.stored = model.clone();
        let facts = self.facts(&model.namespaces());
        model.choose(&facts);
        if let Err(refused) = self.reconciler.reconcile(model.clone(), &facts, &BTreeSet::new(), Origin::Restore) {
            // No single part is to blame: all of it waits, and what is in the kernel goes on.
            let reason = reason(&refused);
            tracing::error!("cannot bring back what is stored: {reason}");
            for name in model.topology.cubes().map(|(name, _)| name.clone()).collect::<Vec<_>>() {
                model.set_aside(&name, &reason);
            }
            let set_aside = self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Restore);
            if let Err(refused) = set_aside {
                tracing::error!(?refused, "nothing is brought back");
            }
        }
        for (name, unrestored) in &self.reconciler.model().unrestored {
            tracing::error!(cube = %name, "cannot be brought back, and is tried again: {}", unrestored.reason);
        }
        self.keeper.is_lost = is_lost;
        if is_lost {
            tracing::warn!(
                "there is no store that says what the programs of an earlier daemon are for: they go on as they are, until \
                 polycubed cleanup removes them"
            );
        } else {
            self.reconciler.release_found();
        }
        self.publish();
    }

    /// Has what is in force stored. `done` is called when it is, or with the reason why it is not; at once where there is
    /// nothing to store.
    pub(super) fn keep(&mut self, done: impl FnOnce(Result<(), NotStored>) + Send + 'static) {
        let Keeper { store, stored, loaded, .. } = &mut self.keeper;
        let Some(store) = store else { return done(Ok(())) };
        let now = self.reconciler.model();
        let rows = model::rows(stored, now, loaded);
        if rows.is_empty() {
            return done(Ok(()));
        }
        *stored = now.clone();
        store.write(rows, Box::new(done));
    }

    /// Has stored what has changed without anybody asking for it: names of netdevs, what plugins configure.
    pub(super) fn keep_unasked(&mut self) {
        // The thread that writes logs why it cannot, and tries again.
        self.keep(|_| {});
    }

    /// # Errors
    /// Earlier changes are not on disk yet: another one would not be, either.
    pub(super) fn require_store(&self) -> Result<(), Problem> {
        let Some(why) = self.keeper.store.as_ref().and_then(Store::failure) else { return Ok(()) };
        let message = format!("changes cannot be stored, so nothing was changed: {why}; it is tried again every 2 s");
        Err(Problem::failed("", message))
    }

    /// Tries to bring back what could not be, when it is time.
    pub(super) fn restore_again(&mut self) {
        if self.keeper.tried.elapsed() >= PAUSE {
            self.restore_at_once();
        }
    }

    /// The same without a pause: what was in the way may be gone.
    pub(super) fn restore_at_once(&mut self) {
        self.keeper.tried = Instant::now();
        let waiting: Vec<CubeName> = self.reconciler.model().unrestored.keys().cloned().collect();
        for name in waiting {
            let facts = self.facts(&BTreeSet::new());
            let made = model::restore_again(self.reconciler.model(), &name).map_err(Refused::from);
            let made =
                made.and_then(|model| self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request));
            match made {
                Ok(_) => tracing::info!(cube = %name, "is back"),
                Err(refused) => self.reconciler.set_reason(&name, reason(&refused)),
            }
            self.publish();
        }
        // What waited may have been taken over, or is not wanted any more.
        if !self.keeper.is_lost {
            self.reconciler.release_found();
        }
    }
}

fn reason(refused: &Refused) -> String {
    match refused {
        Refused::Problems(Problems(problems)) => {
            problems.iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("; ")
        }
        Refused::Busy(_) => "its plugin is busy".to_owned(),
    }
}

/// What to say when a change is in force and not on disk.
pub(super) fn not_stored(why: &NotStored) -> Problem {
    let message = format!(
        "the change is in force, but it could not be stored: {why}; it is tried again every 2 s, and is lost if the daemon ends before"
    );
    Problem::failed("", message)
}
