//! The way to the engine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::{Answer, Ask, Guard, Message, View};
use crate::file_type::FileType;
use crate::model::{Change, action_input};
use crate::plugins::{Instance, PATIENCE, load_service};
use crate::problem::{Problem, Problems};
use crate::registry::Service;

/// The way to the engine. Copies lead to the same one.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    view: Arc<RwLock<Arc<View>>>,
    pub(super) plugin_dirs: Arc<[PathBuf]>,
    /// Whether a message to look is on its way: one is enough.
    is_looking: Arc<AtomicBool>,
}

impl Handle {
    pub(super) fn new(
        messages: mpsc::UnboundedSender<Message>,
        view: Arc<RwLock<Arc<View>>>,
        plugin_dirs: Arc<[PathBuf]>,
        is_looking: Arc<AtomicBool>,
    ) -> Self {
        Self { messages, view, plugin_dirs, is_looking }
    }

    /// What is in force now. Does not wait for changes under way.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a change.
    ///
    /// # Errors
    /// Everything that is wrong with it; then nothing has changed.
    pub(crate) async fn change(&self, change: Change) -> Answer {
        self.change_if(None, change).await
    }

    /// Makes a change if `guard` allows it when its turn has come.
    ///
    /// # Errors
    /// As [`Handle::change`], and what the guard says.
    pub(crate) async fn change_if(&self, guard: Option<Guard>, change: Change) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || Problems::from(Problem::failed("", "the daemon is shutting down"));
        self.messages.send(Message::Ask(Ask::Change { change, guard, answer })).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs an action of a cube's plugin, beside the engine: it holds up the changes of this cube alone.
    ///
    /// # Errors
    /// There is no such action, its input is wrong, or what the plugin says.
    pub(crate) async fn act(&self, cube: &str, path: &str, input: Value) -> Answer {
        let view = self.view();
        let input = action_input((&view.topology, &view.registry), cube, path, input)?;
        let (name, _) = view.topology.cube(cube)?;
        let missing = || Problem::missing(cube, format!("cube `{cube}` does not exist"));
        let instance = Arc::clone(view.instances.get(name).ok_or_else(missing)?);
        let (cube, path) = (cube.to_owned(), path.to_owned());
        let acted = spawn_blocking(move || {
            let Some(_turn) = instance.turn().take(PATIENCE) else { return Err(busy(&cube)) };
            instance.action(&path, &input).map_err(|failure| Problem::from_plugin(&cube, failure.into()))
        });
        Ok(acted
            .await
            .unwrap_or_else(|error| Err(Problem::failed("", format!("the action was not finished: {error}"))))?)
    }

    /// Loads the file `uri` of a plugin directory, which has to be service `name`.
    ///
    /// # Errors
    /// The file cannot be loaded, or is not this service.
    pub(crate) async fn load_service(&self, file_type: FileType, name: &str, uri: &str) -> Answer {
        if self.view().registry.service(name).is_ok() {
            return Err(Problem::exists("services/name", format!("service `{name}` is already loaded")).into());
        }
        let service = self.read_service(file_type, name, uri).await?;
        self.change(Change::AddService { name: name.to_owned(), service: Arc::new(service) }).await
    }

    /// Puts the code in the file `uri` of a plugin directory, or in the file of service `name`, in the place of that
    /// service's code.
    ///
    /// # Errors
    /// The file cannot be loaded, or is not this service, or one of its cubes cannot go on with it; then nothing has
    /// changed.
    pub(crate) async fn reload_service(&self, name: &str, uri: &str) -> Answer {
        let (file_type, loaded) = {
            let view = self.view();
            let plugin = &view.registry.service(name)?.plugin;
            (plugin.file_type(), plugin.path.display().to_string())
        };
        let service = self.read_service(file_type, name, if uri.is_empty() { &loaded } else { uri }).await?;
        self.change(Change::ReloadService { name: name.to_owned(), service: Arc::new(service) }).await
    }

    /// What the file `uri` of a plugin directory is as service `name`.
    pub(super) async fn read_service(&self, file_type: FileType, name: &str, uri: &str) -> Result<Service, Problems> {
        let (directories, uri, name) = (Arc::clone(&self.plugin_dirs), uri.to_owned(), name.to_owned());
        // Reading a file may take any time.
        let loaded = spawn_blocking(move || load_service(&directories, file_type, &uri, &name));
        let loaded = loaded.await.map_err(|error| Problem::failed("services/uri", error.to_string()))?;
        let refused = |error: &dyn std::error::Error| Problem::bad("services/uri", error.to_string());
        let plugin = loaded.map_err(|error| refused(&error))?;
        Ok(Service::new(plugin).map_err(|error| refused(&error))?)
    }

    /// Waits until the engine has taken every earlier message. False when there is no engine any more.
    pub(crate) async fn turn(&self) -> bool {
        let (taken, turn) = oneshot::channel();
        self.messages.send(Message::Turn(taken)).is_ok() && turn.await.is_ok()
    }

    /// Has the engine look at the netdevs. Returns at once.
    pub(crate) fn look(&self) {
        look(&self.messages, &self.is_looking);
    }

    /// What the thread that calls ticks asks once a round: the instances, until the engine has ended. Has the engine look
    /// at the netdevs, too.
    pub(super) fn for_ticks(&self) -> impl FnMut() -> Option<Vec<Arc<Instance>>> + Send + 'static {
        let (messages, view, is_looking) =
            (self.messages.downgrade(), Arc::clone(&self.view), Arc::clone(&self.is_looking));
        move || {
            look(&messages.upgrade()?, &is_looking);
            let view = Arc::clone(&view.read().unwrap_or_else(PoisonError::into_inner));
            Some(view.instances.values().cloned().collect())
        }
    }

    /// Takes everything out of the kernel and ends the engine.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.messages.send(Message::Stop(done)).is_ok() {
            // The engine may have ended by itself.
            let _ = stopped.await;
        }
    }
}

fn look(messages: &mpsc::UnboundedSender<Message>, is_looking: &AtomicBool) {
    if !is_looking.swap(true, Ordering::AcqRel) {
        // After the engine has stopped, netdevs are of no interest.
        let _ = messages.send(Message::Look);
    }
}

fn busy(cube: &str) -> Problem {
    let message = format!(
        "the plugin of cube `{cube}` has not returned from an earlier call for {} s: try again later",
        PATIENCE.as_secs()
    );
    Problem::failed(cube, message)
}

/// Hears when the engine panics.
pub(crate) struct Supervisor(oneshot::Receiver<()>);

/// The engine's end of a [`Supervisor`].
pub(super) struct Report(oneshot::Sender<()>);

impl Supervisor {
    pub(super) fn new() -> (Report, Self) {
        let (sender, receiver) = oneshot::channel();
        (Report(sender), Self(receiver))
    }

    /// Returns when the engine has panicked, and only then.
    pub(crate) async fn panicked(self) {
        if self.0.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Report {
    pub(super) fn panicked(self) {
        // The daemon may be ending already.
        let _ = self.0.send(());
    }
}
