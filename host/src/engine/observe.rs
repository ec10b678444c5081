//! Has cubes hear of addresses, neighbours and routes, if their services want to.
//!
//! A thread looks at what they want, and at nothing else. It starts with the first cube that wants anything, and ends with
//! the last one. It only notes for each cube what there is; the thread that calls ticks makes the calls. Nothing here waits
//! for a plugin, and nothing of the engine waits for this.

use std::collections::BTreeSet;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use polycube_plugin_api::Topic;

use crate::plugins::Instance;
use crate::sys::environment::Observer;
use crate::sys::wait::Wake;

/// How long events are collected before cubes hear of them.
const PAUSE: Duration = Duration::from_millis(100);

/// How long what went wrong waits before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the engine has of it.
#[derive(Default)]
pub(super) struct Watch(Option<Arc<Shared>>);

struct Shared {
    /// Wakes the thread when other cubes want something.
    wake: Wake,
    wanted: Mutex<Vec<Arc<Instance>>>,
    urgent: Sender<Arc<Instance>>,
}

impl Watch {
    /// Sets which cubes hear.
    pub(super) fn set(&mut self, cubes: Vec<Arc<Instance>>, urgent: &Sender<Arc<Instance>>) {
        let is_same = |shared: &Arc<Shared>| {
            let wanted = shared.wanted();
            wanted.len() == cubes.len() && wanted.iter().zip(&cubes).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        match &self.0 {
            None if cubes.is_empty() => {}
            None => match Shared::start(cubes, urgent.clone()) {
                Ok(shared) => self.0 = Some(shared),
                Err(error) => tracing::error!(%error, "cannot observe addresses, neighbours and routes"),
            },
            Some(shared) if is_same(shared) => {}
            Some(shared) => {
                let is_over = cubes.is_empty();
                *shared.wanted() = cubes;
                shared.wake.wake();
                if is_over {
                    self.0 = None;
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.wanted().clear();
            shared.wake.wake();
        }
    }
}

impl Shared {
    fn start(cubes: Vec<Arc<Instance>>, urgent: Sender<Arc<Instance>>) -> io::Result<Arc<Self>> {
        let wake = Wake::new()?;
        let shared = Arc::new(Self { wake, wanted: Mutex::new(cubes), urgent });
        let own = Arc::clone(&shared);
        thread::Builder::new().name("environment".to_owned()).spawn(move || own.run())?;
        Ok(shared)
    }

    fn wanted(&self) -> MutexGuard<'_, Vec<Arc<Instance>>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks until no cube wants anything.
    fn run(&self) {
        let mut observer: Option<Observer> = None;
        loop {
            let cubes = self.wanted().clone();
            if cubes.is_empty() {
                return;
            }
            let topics: BTreeSet<Topic> = cubes.iter().flat_map(|cube| cube.observes()).copied().collect();
            observer = observer.filter(|observer| *observer.topics() == topics);
            let looked = match &mut observer {
                Some(observer) => self.look(observer, &cubes),
                None => Observer::open(topics).and_then(|new| self.look(observer.insert(new), &cubes)),
            };
            drop(cubes);
            let waited = match looked {
                Ok(()) => {
                    let events = observer.as_ref().map(Observer::events);
                    self.wake.wait(events, None).and_then(|()| self.wake.wait(None, Some(PAUSE)))
                }
                Err(error) => {
                    tracing::error!(%error, "cannot read addresses, neighbours and routes");
                    self.wake.wait(None, Some(AGAIN))
                }
            };
            if let Err(error) = waited {
                return tracing::error!(%error, "cannot wait for addresses, neighbours and routes");
            }
        }
    }

    /// Notes what there is, and has the cubes hear it that have not.
    fn look(&self, observer: &mut Observer, cubes: &[Arc<Instance>]) -> io::Result<()> {
        let table = observer.refresh()?;
        for cube in cubes {
            if cube.surround(table) {
                // The thread that calls ticks ends with the daemon.
                let _ = self.urgent.send(Arc::clone(cube));
            }
        }
        Ok(())
    }
}
