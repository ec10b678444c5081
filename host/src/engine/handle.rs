//! The way to the engine.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::{Answer, Ask, Guard, Message, View};
use crate::containers::Containers;
use crate::file_type::FileType;
use crate::model::{ActionInput, Change, action_input};
use crate::plugins::{Acted, Instance, PATIENCE, load_service};
use crate::problem::{Problem, Problems};
use crate::registry::Service;
use crate::topology::Cube;

/// The way to the engine. Copies lead to the same one.
#[derive(Clone)]
pub(crate) struct Handle {
    messages: mpsc::UnboundedSender<Message>,
    view: Arc<RwLock<Arc<View>>>,
    pub(super) plugin_dirs: Arc<[PathBuf]>,
    /// Whether a message to look is on its way: one is enough.
    is_looking: Arc<AtomicBool>,
    pub(super) containers: Arc<Containers>,
}

impl Handle {
    pub(super) fn new(
        messages: mpsc::UnboundedSender<Message>,
        view: Arc<RwLock<Arc<View>>>,
        plugin_dirs: Arc<[PathBuf]>,
        is_looking: Arc<AtomicBool>,
        containers: Arc<Containers>,
    ) -> Self {
        Self { messages, view, plugin_dirs, is_looking, containers }
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
        // The engine does not wait for container runtimes.
        self.containers.look_up(&change.namespaces()).await;
        let (answer, answered) = oneshot::channel();
        let gone = || Problems::from(Problem::failed("", "the daemon is shutting down"));
        self.messages.send(Message::Ask(Ask::Change { change, guard, answer })).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// Runs an action of a cube's plugin, beside the engine: it holds up the changes of this cube alone. If the plugin
    /// answers with a configuration, the cube gets that as one change, which replaces exactly the configuration that the
    /// plugin was called with: where another change came first, the plugin is called again. `guard` makes the condition of
    /// each try.
    ///
    /// # Errors
    /// There is no such action, its input is wrong, what the plugin says, or why its cube cannot have the configuration;
    /// then nothing has changed.
    pub(crate) async fn act(
        &self,
        guard: impl Fn() -> Option<Guard>,
        cube: &str,
        path: &[String],
        input: Value,
    ) -> Answer {
        let begin = Instant::now();
        loop {
            let view = self.view();
            if let Some(guard) = guard() {
                guard(&view)?;
            }
            // What is wrong is said without a turn: the plugin may be in a call for a while.
            action_input((&view.topology, &view.registry), cube, path, input.clone())?;
            let Tried { output, config, found } = self.call(&view, cube, path, input.clone()).await?;
            let Some(config) = config else { return Ok(output) };
            let was_stale = Arc::new(AtomicBool::new(false));
            let condition = unchanged(guard(), cube.to_owned(), found, Arc::clone(&was_stale));
            let change = Change::Become { cube: cube.to_owned(), config };
            match self.change_if(Some(condition), change).await {
                Err(_) if was_stale.load(Ordering::Acquire) && begin.elapsed() < PATIENCE => {}
                changed => return changed.map(|_| output),
            }
        }
    }

    /// Calls an action once, in the cube's turn.
    async fn call(&self, view: &View, cube: &str, path: &[String], input: Value) -> Result<Tried, Problems> {
        let (name, _) = view.topology.cube(cube)?;
        let missing = || Problem::missing(cube, format!("cube `{cube}` does not exist"));
        let instance = Arc::clone(view.instances.get(name).ok_or_else(missing)?);
        let (handle, cube, path) = (self.clone(), cube.to_owned(), path.to_vec());
        let tried = spawn_blocking(move || {
            let Some(_turn) = instance.turn().take(PATIENCE) else { return Err(busy(&cube).into()) };
            // What a change that had the turn before has made of the cube.
            let view = handle.view();
            let asked = (&view.topology, &view.registry);
            let ActionInput { call, place, action } = action_input(asked, &cube, &path, input)?;
            let (_, found) = view.topology.cube(&cube)?;
            let acted = instance.act(&call).map_err(|failure| Problem::from_plugin(&cube, failure.into()))?;
            let model = &view.registry.service(&found.service)?.model;
            model.check_output(&action, &acted.output).map_err(|problem| problem.at(place))?;
            let Acted { output, config } = acted;
            Ok(Tried { output, config, found: Arc::clone(found) })
        });
        tried
            .await
            .unwrap_or_else(|error| Err(Problem::failed("", format!("the action was not finished: {error}")).into()))
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
        let plugin = loaded.map_err(|error| Problem::bad("services/uri", error.to_string()))?;
        let place = |is_of_name| if is_of_name { "services/name" } else { "services/uri" };
        Ok(Service::new(plugin).map_err(|error| Problem::bad(place(error.reason.is_of_name()), error.to_string()))?)
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

    /// Has the engine find out again which netdevs selectors stand for. Returns at once.
    pub(super) fn choose_again(&self) {
        // After the engine has stopped, containers are of no interest.
        let _ = self.messages.send(Message::ChooseAgain);
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

/// What an action answered, and the cube that it was called for, as it was.
struct Tried {
    output: Value,
    config: Option<Value>,
    found: Arc<Cube>,
}

/// The condition that a cube is as an action found it, besides the client's own.
fn unchanged(guard: Option<Guard>, cube: String, found: Arc<Cube>, was_stale: Arc<AtomicBool>) -> Guard {
    Box::new(move |view| {
        if let Some(guard) = &guard {
            guard(view)?;
        }
        let settings = |cube: &Cube| cube.ports().map(|(name, port)| (name.clone(), port.settings.clone())).collect();
        let is_same = |now: &Cube| {
            let ports: [Vec<_>; 2] = [settings(now), settings(&found)];
            now.uuid == found.uuid && now.config == found.config && ports[0] == ports[1]
        };
        if view.topology.get(&cube).is_some_and(|(_, now)| is_same(now)) {
            return Ok(());
        }
        was_stale.store(true, Ordering::Release);
        let message = format!("cube `{cube}` was changed again and again meanwhile, so nothing was changed: try again");
        Err(Problem::failed(cube.as_str(), message).into())
    })
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
