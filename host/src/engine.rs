//! The one thread that changes things.
//!
//! It takes one message after the other. For a change it looks up the facts, has the model make a new model of the
//! current one, and has the reconciler bring the world there; then it publishes what is in force as one [`View`]. Reads
//! take a view and never wait. Nothing on this thread waits for a file, or for a plugin longer than its patience: a
//! change of cubes whose plugins are in a call is *parked*, and other changes go on.
//!
//! A panic here would leave a daemon that reads and never changes anything. So it ends the process, and everything in
//! the kernel stays as it is for the next daemon.

mod announce;
#[cfg(test)]
pub(crate) mod double;
mod follow;
mod handle;
mod keep;
mod late_maps;
mod looks;
mod missing;
mod observe;
mod parked;
mod pulse;
#[cfg(test)]
mod tests;
mod view;
mod ways;

use std::collections::BTreeSet;
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use polycube_plugin_api::Level;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub(crate) use handle::{Handle, Supervisor};
use keep::{Keeper, not_stored};
use observe::Watch;
use parked::{Parked, Resumed};
pub(crate) use pulse::Pulse;
pub(crate) use view::View;
use view::view;
use ways::{Published, Ways, netdev_at, surroundings};

use crate::containers::Containers;
use crate::model::{self, Change, Facts, Looks, Model, Origin};
use crate::plugins::{Calls, CaptureDirs, Failures, Instance, Instances, LOG_TARGET, keep_ticking};
use crate::problem::{AFTER_PANIC, Problem, Problems};
use crate::reconcile::{Live, Reconciler, Refused};
use crate::registry::Registry;
use crate::schema::Operation;
use crate::store::{Contents, Store};
use crate::sys::netdevs::{Netdevs as Present, News};
use crate::topology::{CubeName, Namespace, Topology};

/// How long taking everything out of the kernel may take in the end: each hook takes it about 10 ms.
const CLEAR: Duration = Duration::from_secs(60);

/// The answer to a change: what an action returned, what applying a configuration changed, else null.
pub(crate) type Answer = Result<Value, Problems>;

/// Decides, when a change's turn has come, whether it is made of the state that it would change.
pub(crate) type Guard = Box<dyn Fn(&View) -> Result<(), Problems> + Send>;

/// What the engine is asked for.
enum Ask {
    /// A client's change. A client that goes before its turn has come does not get it.
    Change { change: Change, guard: Option<Guard>, answer: oneshot::Sender<Answer> },
    /// A plugin asks for a change of its own cube's configuration.
    Request(CubeName, Value),
}

enum Message {
    Ask(Ask),
    /// Something may have happened to netdevs, or something that waits may be due.
    Look,
    /// Something has happened to a container.
    ChooseAgain,
    /// A cube that a change waits for can be called again.
    Freed,
    /// Asks for a sign of life.
    Turn(oneshot::Sender<()>),
    /// A plugin wants a map that its cube's datapath describes as late.
    LateMap(late_maps::Wish),
    Stop(oneshot::Sender<()>),
}

/// What a daemon starts with.
pub(crate) struct Kept {
    /// `None` for a daemon that stores nothing, and leaves nothing in the kernel when it stops.
    pub store: Option<Store>,
    pub contents: Contents,
    /// The services that are loaded at each start.
    pub loaded: BTreeSet<String>,
}

/// The way to the engine for those that it calls itself; weak, so that the engine ends with its last handle.
type Inbox = mpsc::WeakUnboundedSender<Message>;

/// What is needed to start an engine.
pub(crate) struct Parts {
    pub registry: Registry,
    pub kernel: Live,
    pub plugin_dirs: Vec<PathBuf>,
    pub capture_dirs: CaptureDirs,
    pub containers: Arc<Containers>,
    pub kept: Kept,
}

/// The engine, on its thread.
struct Engine {
    view: Arc<RwLock<Arc<View>>>,
    present: Present,
    /// What has changed of netdevs and has not been followed yet.
    news: News,
    /// When to try again what could not be followed.
    follow_again: Option<Instant>,
    containers: Arc<Containers>,
    /// What was known last of the namespaces that selectors name.
    looked: Looks,
    /// Whether selectors may stand for something else, though no netdev has changed.
    is_choice_stale: bool,
    reconciler: Reconciler<Live, Instances>,
    failures: Arc<Failures>,
    parked: Parked,
    /// Whether a message to look is on its way.
    is_looking: Arc<AtomicBool>,
    /// When the hooks were looked at last.
    inspected: Instant,
    /// When the pins were looked at last.
    repinned: Instant,
    keeper: Keeper,
    /// Cubes that have to hear of their netdevs.
    urgent: std_mpsc::Sender<Arc<Instance>>,
    /// Cubes that hear of addresses, neighbours and routes.
    watch: Watch,
}

/// Starts the engine on a thread of its own, and returns when it has brought back what is stored. Must be called in a
/// tokio runtime.
///
/// # Errors
/// A thread or a socket cannot be made.
pub(crate) async fn start(parts: Parts) -> anyhow::Result<(Handle, Supervisor)> {
    let Parts { registry, kernel, plugin_dirs, capture_dirs, containers, kept } = parts;
    let Kept { store, contents, loaded } = kept;
    let (messages, inbox) = mpsc::unbounded_channel();
    let model = Model::new(registry);
    let (calls, failures) = (Arc::new(Calls::default()), Arc::new(Failures::default()));
    let published = Published::default();
    let slow_path = Some(Arc::clone(kernel.datapath.slow_path()));
    let ways = Ways { netdev_at: netdev_at(&published), slow_path };
    let surroundings = surroundings(&messages.downgrade(), (&calls, &failures), capture_dirs, ways);
    let (netlink, runtime) = (kernel.netlink.clone(), kernel.runtime.clone());
    let present = tokio::task::spawn_blocking(move || Present::open(netlink, runtime)).await??;
    let is_kept = store.is_some();
    let keeper = Keeper { store, stored: model.clone(), loaded, tried: Instant::now(), is_lost: false, is_kept };
    let reconciler = Reconciler::new(kernel, Instances::new(surroundings), model);
    let view = Arc::new(RwLock::new(Arc::new(view(&reconciler, present.table()))));
    published.get_or_init(|| Arc::downgrade(&view));
    let (urgent, is_urgent) = std_mpsc::channel();
    let is_looking = Arc::new(AtomicBool::new(false));
    let engine = Engine {
        view: Arc::clone(&view),
        present,
        news: News::default(),
        follow_again: None,
        containers: Arc::clone(&containers),
        looked: Looks::new(),
        is_choice_stale: false,
        reconciler,
        failures,
        parked: Parked::default(),
        is_looking: Arc::clone(&is_looking),
        inspected: Instant::now(),
        repinned: Instant::now(),
        keeper,
        urgent,
        watch: Watch::default(),
    };
    let handle = Handle::new(messages, view, plugin_dirs.into(), is_looking, containers);
    let ticking = handle.for_ticks();
    keep_ticking(calls, ticking, is_urgent)?;
    let (restored, is_restored) = oneshot::channel();
    let supervisor = spawn(engine, inbox, contents, restored)?;
    is_restored.await.context("the engine has panicked while it brought back what is stored")?;
    Ok((handle, supervisor))
}

fn send(inbox: &Inbox, message: Message) {
    if let Some(inbox) = inbox.upgrade() {
        // After the engine has stopped, nothing that plugins do is of interest.
        let _ = inbox.send(message);
    }
}

/// Runs the engine on its thread. The supervisor hears when it panics.
fn spawn(
    engine: Engine,
    mut inbox: mpsc::UnboundedReceiver<Message>,
    contents: Contents,
    restored: oneshot::Sender<()>,
) -> io::Result<Supervisor> {
    let (report, supervisor) = Supervisor::new();
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        // Dropped, it would take its clsact filters out of the kernel.
        let mut engine = ManuallyDrop::new(engine);
        let run = || {
            engine.restore(&contents);
            #[cfg(debug_assertions)]
            crate::fault::restored();
            // The daemon may be ending already.
            let _ = restored.send(());
            engine.run(&mut inbox);
        };
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            report.panicked();
        } else if !engine.keeper.is_kept {
            ManuallyDrop::into_inner(engine);
        }
    })?;
    Ok(supervisor)
}

impl Engine {
    fn run(&mut self, inbox: &mut mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = inbox.blocking_recv() {
            match message {
                Message::Ask(ask) => {
                    self.ask(ask, Instant::now());
                    let topology = &self.reconciler.model().topology;
                    if self.parked.waits_for_missing(|cube| topology.get(cube.as_str()).is_some()) {
                        self.resume();
                    }
                }
                Message::Look => {
                    self.is_looking.store(false, Ordering::Release);
                    self.follow_netdevs();
                    self.restore_again();
                    self.keep_unasked();
                    self.refuse_overdue();
                }
                Message::ChooseAgain => {
                    self.is_choice_stale = true;
                    self.follow_netdevs();
                    self.keep_unasked();
                }
                Message::Freed => {
                    self.reconciler.retry_deferred();
                    self.follow_netdevs();
                    self.resume();
                }
                // The one that asks may have given up.
                Message::Turn(taken) => drop(taken.send(())),
                // The plugin may have given up.
                Message::LateMap(wish) => self.late_map(wish),
                Message::Stop(done) => {
                    self.stop();
                    // The daemon may have given up waiting.
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// Makes a change, or parks it. `since` is when it was parked first, or now.
    fn ask(&mut self, ask: Ask, since: Instant) {
        match ask {
            Ask::Change { change, guard, answer } => {
                if answer.is_closed() {
                    return;
                }
                match self.change(&change, guard.as_ref()) {
                    Ok(made) => self.keep(move |stored| {
                        let stored = stored.map_err(|why| Problems::from(not_stored(&why)));
                        // The client may have gone; the change stands all the same.
                        drop(answer.send(stored.and(made)));
                    }),
                    Err(busy) => self.parked.add(Ask::Change { change, guard, answer }, busy, since),
                }
            }
            Ask::Request(cube, patch) => {
                if let Err(busy) = self.request(&cube, &patch) {
                    self.parked.add(Ask::Request(cube, patch), busy, since);
                }
            }
        }
    }

    /// Answers those whose cubes have been busy for too long.
    fn refuse_overdue(&mut self) {
        let overdue = self.parked.take_overdue();
        let is_any = !overdue.is_empty();
        for (ask, why) in overdue {
            match ask {
                // The client may have gone.
                Ask::Change { answer, .. } => drop(answer.send(Err(why.into()))),
                Ask::Request(cube, patch) => self.report_request(&cube, &patch, &Err(why.into())),
            }
        }
        // Others may have waited for these alone.
        if is_any {
            self.resume();
        }
    }

    /// Tries the parked changes again, in the order in which they came.
    fn resume(&mut self) {
        for Resumed { ask, since } in self.parked.take_all() {
            self.ask(ask, since);
        }
    }

    /// # Errors
    /// The cubes that are busy; then nothing has changed.
    fn change(&mut self, change: &Change, guard: Option<&Guard>) -> Result<Answer, BTreeSet<CubeName>> {
        tracing::debug!(?change, "change");
        if !change.is_ephemeral(&self.reconciler.model().topology)
            && let Err(problem) = self.require_store()
        {
            return Ok(Err(problem.into()));
        }
        let named = change.namespaces();
        if !named.is_empty() {
            // The kernel does not report each netdev whose other end moves to another namespace.
            match self.present.reread() {
                Ok(news) => self.news.extend(news),
                Err(error) => tracing::error!("cannot look up netdevs: {error}"),
            }
        }
        // A change made for the netdevs of a moment ago would forget which of them were renamed.
        self.follow_netdevs();
        if let Some(Err(problems)) = guard.map(|guard| guard(&self.view())) {
            return Ok(Err(problems));
        }
        #[cfg(debug_assertions)]
        if let Change::DeleteCube { cube } = change {
            crate::fault::point(&format!("delete {cube}"));
        }
        let facts = self.facts(&named);
        let (model, facts) = match model::change(self.reconciler.model(), change.clone(), &facts) {
            Ok(model) => (model, facts),
            Err(problems) => match self.change_again(change) {
                Some(changed) => changed,
                None => return Ok(Err(problems)),
            },
        };
        let answer = model::answer(self.reconciler.model(), &model, change, &facts);
        if change.is_comparison() {
            return Ok(Ok(answer));
        }
        let touched = self.reconciler.model().topology.difference(&model.topology);
        // What deletes a cube needs no plugin, and may overtake what waits for it.
        let kept = touched.cubes.into_iter().filter(|cube| model.topology.get(cube.as_str()).is_some()).collect();
        if let Some(busy) = self.parked.before(&kept) {
            return Err(busy);
        }
        match self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request) {
            Ok(failed) => {
                self.publish();
                if matches!(change, Change::AddService { .. } | Change::ReloadService { .. }) {
                    self.restore_at_once();
                }
                let failed: Vec<Problem> = failed.iter().map(|(cube, why)| in_force(cube, why)).collect();
                Ok(if failed.is_empty() { Ok(answer) } else { Err(Problems(failed)) })
            }
            Err(Refused::Problems(problems)) => Ok(Err(problems)),
            Err(Refused::Busy(busy)) => Err(busy),
        }
    }

    /// `named` are the namespaces that the change is about.
    fn facts(&self, named: &BTreeSet<Namespace>) -> Facts {
        Facts {
            looks: self.looks(named),
            present: self.present.table().clone(),
            wired: self.reconciler.netdevs().clone(),
            failed: self.failures.all(),
            seed: uuid::Uuid::new_v4().into_bytes(),
        }
    }

    /// Makes a change that a plugin asks for.
    ///
    /// # Errors
    /// The cubes that are busy; then nothing has changed.
    fn request(&mut self, cube: &CubeName, patch: &Value) -> Result<(), BTreeSet<CubeName>> {
        let change = Change::Configure {
            cube: cube.to_string(),
            path: Vec::new(),
            operation: Operation::Merge,
            value: patch.clone(),
        };
        let answer = self.change(&change, None)?;
        self.report_request(cube, patch, &answer);
        self.keep_unasked();
        Ok(())
    }

    fn report_request(&self, cube: &CubeName, patch: &Value, answer: &Answer) {
        let instance = self.reconciler.cubes().get(cube);
        let admits = |level| instance.is_some_and(|instance| instance.admits(level));
        match answer {
            Ok(_) if admits(Level::Info) => {
                tracing::info!(target: LOG_TARGET, %cube, %patch, "changed by the plugin itself");
            }
            Err(problems) if admits(Level::Warn) => {
                let message = "the plugin cannot have the change it asks for";
                tracing::warn!(target: LOG_TARGET, %cube, %patch, ?problems, message);
            }
            _ => {}
        }
    }

    /// Leaves everything in the kernel for the next daemon, or takes it out where nothing is stored.
    fn stop(&mut self) {
        if self.keeper.store.is_some() {
            self.end_ephemeral();
            self.keep_unasked();
            self.reconciler.leave();
            // What is on its way to the disk gets there before the process ends.
            self.keeper.store = None;
        } else {
            self.clear();
        }
    }

    /// Removes the cubes whose streams end with the daemon.
    fn end_ephemeral(&mut self) {
        let ephemeral = self.reconciler.model().topology.ephemeral();
        if ephemeral.is_empty() {
            return;
        }
        let facts = self.facts(&BTreeSet::new());
        let mut model = self.reconciler.model().clone();
        for name in &ephemeral {
            // It is there, which is all that could be wrong.
            let _ = model.topology.remove_cube(name.as_str());
        }
        if let Err(refused) = self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request) {
            tracing::error!(?refused, "cannot remove the cubes of streams: the next daemon does");
        }
        self.publish();
    }

    /// Takes everything out of the kernel.
    fn clear(&mut self) {
        let facts = self.facts(&BTreeSet::new());
        let model = Model { topology: Topology::default(), ..self.reconciler.model().clone() };
        if let Err(refused) = self.reconciler.reconcile(model, &facts, &BTreeSet::new(), Origin::Request) {
            tracing::error!(?refused, "cannot take everything out of the kernel");
        }
        self.publish();
        self.reconciler.finish(CLEAR);
        self.publish();
    }

    /// What is in force.
    fn view(&self) -> View {
        view(&self.reconciler, self.present.table())
    }

    fn publish(&mut self) {
        let now = Arc::new(self.view());
        let before = {
            let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::clone(&now))
        };
        self.announce_difference(&before, &now);
        let observing = now.instances.values().filter(|instance| !instance.observes().is_empty());
        self.watch.set(observing.cloned().collect(), &self.urgent);
        // What only the old view still has is dropped after readers can go on.
        drop(before);
        self.reconciler.drop_removed();
    }
}

/// What to say about a plugin that failed when its programs were already in the path.
fn in_force(cube: &CubeName, failure: &str) -> Problem {
    let message = format!(
        "the change is in force, but the plugin of cube `{cube}` failed when it heard so ({failure}): {AFTER_PANIC}"
    );
    Problem::failed(cube.as_str(), message)
}
