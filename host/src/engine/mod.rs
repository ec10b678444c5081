//! The one owner of the model: takes changes one after the other, and carries each out whole or not at all.

mod apply;
mod bulk;
mod change;
mod left;
mod links;
mod netdevs;
mod services;
mod split;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use polycube_plugin_api::Level;
use serde_json::Value;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

pub use change::Change;
pub use left::Left;
use left::Wish;

use crate::datapath::Datapath;
use crate::options::CaptureDirs;
use crate::plugins::{Instance, LOG_TARGET, Request};
use crate::problem::{Problem, Problems};
use crate::registry::Registry;
use crate::schema::Operation;
use crate::sys::netlink::{Event, Netlink};
use crate::sys::packet::Promiscuous;
use crate::topology::{CubeName, Topology};
use crate::wiring::{CubeDatapath, Netdevs, Wiring};

/// How often plugins get their tick.
const TICK: Duration = Duration::from_secs(1);

/// What readers see: the model after the last change.
#[derive(Clone, Default)]
pub struct View {
    pub topology: Topology,
    pub instances: BTreeMap<CubeName, Arc<Instance>>,
    pub netdevs: Netdevs,
    pub left: Left,
}

/// A change's answer: what an action returned, else null.
pub type Answer = Result<Value, Problems>;

/// Decides at a change's turn, on the model that it would change, whether it is made.
pub type Guard = Box<dyn FnOnce(&View) -> Result<(), Problems> + Send>;

enum Message {
    Change(Change, Option<Guard>, oneshot::Sender<Answer>),
    Netdev(Event),
    /// A cube asks for a change of its own configuration.
    Request(CubeName, Value),
    Tick,
    Stop(oneshot::Sender<()>),
}

/// The way to the engine. Clones lead to the same one.
#[derive(Clone)]
pub struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    view: Arc<RwLock<Arc<View>>>,
    services: Arc<RwLock<Arc<Registry>>>,
    /// The services as this handle found them.
    pub registry: Arc<Registry>,
}

impl Handle {
    /// Carries out a change.
    ///
    /// # Errors
    /// Everything that is wrong with it; then nothing has changed.
    pub async fn change(&self, change: Change) -> Answer {
        self.change_if(None, change).await
    }

    /// Carries out a change if `guard` lets it.
    ///
    /// # Errors
    /// As [`Handle::change`], and what the guard says.
    pub async fn change_if(&self, guard: Option<Guard>, change: Change) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || Problems::from(Problem::failed("", "the daemon is shutting down"));
        self.messages.send(Message::Change(change, guard, answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The same way, with the services as they are now.
    #[must_use]
    pub fn now(self) -> Self {
        let registry = Arc::clone(&self.services.read().unwrap_or_else(PoisonError::into_inner));
        Self { registry, ..self }
    }

    /// The model as it is now. Does not wait for changes under way.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the engine of a netdev's coming or going.
    pub fn netdev(&self, event: Event) {
        // After the engine has stopped, nobody cares.
        let _ = self.messages.send(Message::Netdev(event));
    }

    /// Calls every plugin's tick from now on.
    pub async fn keep_ticking(self) {
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
            if self.messages.send(Message::Tick).is_err() {
                return;
            }
        }
    }

    /// Takes everything out of the kernel and ends the engine.
    pub async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(done)).is_ok() {
            let _ = stopped.await;
        }
    }
}

/// What the engine works with.
pub struct Engine {
    /// The way to ourselves, for plugins; weak, so that it keeps nobody waiting for messages.
    messages: mpsc::WeakUnboundedSender<Message>,
    registry: Arc<Registry>,
    /// Where others find it.
    services: Arc<RwLock<Arc<Registry>>>,
    plugin_dirs: Vec<PathBuf>,
    datapath: Datapath,
    netlink: Netlink,
    runtime: runtime::Handle,
    capture_dirs: CaptureDirs,
    view: Arc<RwLock<Arc<View>>>,
    current: View,
    wiring: Wiring,
    promiscuous: Promiscuous,
    /// What the names of our ends of links begin with.
    link_prefix: String,
    /// What each cube asked for, and the text of what it was asked with.
    asked: BTreeMap<CubeName, (String, Arc<CubeDatapath>)>,
}

impl Engine {
    /// Starts the engine on a thread of its own: it makes blocking calls. Has to be called in a tokio runtime.
    ///
    /// # Errors
    /// No thread or socket to be had.
    pub fn start(
        registry: Registry,
        plugin_dirs: Vec<PathBuf>,
        datapath: Datapath,
        netlink: Netlink,
        capture_dirs: CaptureDirs,
        link_prefix: String,
    ) -> std::io::Result<Handle> {
        let (messages, inbox) = mpsc::unbounded_channel();
        let view: Arc<RwLock<Arc<View>>> = Arc::default();
        let own = messages.downgrade();
        let registry = Arc::new(registry);
        let services = Arc::new(RwLock::new(Arc::clone(&registry)));
        let handle = Handle {
            messages,
            view: Arc::clone(&view),
            services: Arc::clone(&services),
            registry: Arc::clone(&registry),
        };
        let engine = Self {
            messages: own,
            registry,
            services,
            plugin_dirs,
            datapath,
            netlink,
            runtime: runtime::Handle::current(),
            capture_dirs,
            view,
            current: View::default(),
            wiring: Wiring::default(),
            promiscuous: Promiscuous::new()?,
            link_prefix,
            asked: BTreeMap::new(),
        };
        std::thread::Builder::new().name("engine".to_owned()).spawn(move || engine.run(inbox))?;
        Ok(handle)
    }

    fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        while let Some(message) = inbox.blocking_recv() {
            match message {
                Message::Change(change, guard, answer) => {
                    // A change made for the netdevs of a moment ago would forget which of them were renamed.
                    self.follow_netdevs();
                    let passed = guard.map_or(Ok(()), |guard| guard(&self.current));
                    // Whoever asked may have hung up; the change stands all the same.
                    let _ = answer.send(passed.and_then(|()| self.change(change)));
                }
                Message::Netdev(event) => self.netdev_event(&event),
                Message::Request(cube, patch) => self.request(&cube, &patch),
                Message::Tick => {
                    self.follow_netdevs();
                    self.current.instances.values().for_each(|instance| instance.tick());
                }
                Message::Stop(done) => {
                    self.clear();
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    /// The way for the plugin of `cube` to ask for changes. It returns at once: the engine may be waiting for the plugin.
    fn requests(&self, cube: &CubeName) -> Request {
        let (messages, cube) = (self.messages.clone(), cube.clone());
        Box::new(move |patch| {
            if let Some(messages) = messages.upgrade() {
                // After the engine has stopped, nobody cares.
                let _ = messages.send(Message::Request(cube.clone(), patch));
            }
        })
    }

    fn request(&mut self, cube: &CubeName, patch: &Value) {
        let change = Change::Configure {
            cube: cube.to_string(),
            path: Vec::new(),
            operation: Operation::Merge,
            value: patch.clone(),
        };
        match self.change(change) {
            Ok(_) if self.admits(cube, Level::Info) => {
                tracing::info!(target: LOG_TARGET, %cube, %patch, "changed by the plugin itself");
            }
            Err(problems) if self.admits(cube, Level::Warn) => {
                let message = "the plugin cannot have the change it asks for";
                tracing::warn!(target: LOG_TARGET, %cube, %patch, ?problems, message);
            }
            _ => {}
        }
    }

    /// Whether a cube's `loglevel` lets a line about it pass.
    fn admits(&self, cube: &CubeName, level: Level) -> bool {
        self.current.instances.get(cube).is_some_and(|instance| instance.admits(level))
    }

    fn clear(&mut self) {
        if let Err(problems) = self.apply(View::default(), Wish::Asked) {
            tracing::error!(?problems, "cannot take everything out of the kernel");
        }
    }

    fn publish(&self) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(self.current.clone());
    }
}
