//! The two phases of a change, for the values that plugins hold.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::stages::Stage;
use crate::{Cube, Refusal};

/// A value that belongs to a cube's configuration: the one in force, and the one that a change has prepared.
///
/// [`Service::prepare`](crate::Service::prepare) makes the next value and hands it over with [`prepare`](Self::prepare). At
/// the commit it replaces the one in force; at an abort it is dropped. The SDK does both before it calls the plugin's own
/// `commit` or `abort`, of which most plugins need neither.
///
/// ```
/// use polycube_plugin_api::maps::PerCpuArray;
/// use polycube_plugin_api::{Cube, Maps, Refusal, Staged};
///
/// struct Hello(Staged<PerCpuArray<u64>>);
///
/// impl Hello {
///     fn create(cube: Cube) -> Self {
///         Self(Staged::new(&cube))
///     }
///     fn prepare(&self, mut maps: Maps) -> Result<(), Refusal> {
///         self.0.prepare(maps.open("counter")?);
///         Ok(())
///     }
///     fn packets(&self) -> Result<u64, Refusal> {
///         self.0.read(|counter| counter.sum(0))
///     }
/// }
/// ```
pub struct Staged<T>(Arc<Inner<T>>);

struct Inner<T>(Mutex<Phases<T>>);

struct Phases<T> {
    prepared: Option<T>,
    in_force: Option<Arc<T>>,
}

impl<T: Send + Sync + 'static> Staged<T> {
    /// Nothing is in force yet. The value follows the changes of `cube`.
    pub fn new(cube: &Cube) -> Self {
        let inner = Arc::new(Inner(Mutex::new(Phases { prepared: None, in_force: None })));
        cube.enlist(&inner);
        Self(inner)
    }

    /// Sets what the next commit puts in force. Without a call, the value in force stays.
    pub fn prepare(&self, next: T) {
        let before = self.0.phases().prepared.replace(next);
        drop(before);
    }

    /// The value in force; `None` before the first commit. It stays alive while the caller holds it, even if a change puts
    /// another in force meanwhile.
    pub fn now(&self) -> Option<Arc<T>> {
        self.0.phases().in_force.clone()
    }

    /// Reads from the value in force; before the first commit, the answer is the default.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read<R: Default, E>(&self, read: impl FnOnce(&T) -> Result<R, E>) -> Result<R, Refusal>
    where
        Refusal: From<E>,
    {
        Ok(self.now().map(|now| read(&now)).transpose()?.unwrap_or_default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Staged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Phases { prepared, in_force } = &*self.0.phases();
        f.debug_struct("Staged").field("prepared", prepared).field("in_force", in_force).finish()
    }
}

impl<T> Inner<T> {
    fn phases(&self) -> MutexGuard<'_, Phases<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + Sync> Stage for Inner<T> {
    fn commit(&self) {
        let mut phases = self.phases();
        let Some(next) = phases.prepared.take() else { return };
        let before = phases.in_force.replace(Arc::new(next));
        // What a value does when it is dropped must not find it locked.
        drop(phases);
        drop(before);
    }

    fn abort(&self) {
        let prepared = self.phases().prepared.take();
        drop(prepared);
    }
}

#[cfg(test)]
mod tests {
    use abi_stable::std_types::RVec;
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::abi::CubeHandle;
    use crate::export::instantiate;
    use crate::testing::{Host, handle};
    use crate::{Datapath, Maps, Service, ServiceKind, Wanted};

    #[derive(Default, Serialize, Deserialize, JsonSchema)]
    struct Config {
        number: u32,
        is_refused: bool,
    }

    #[derive(Serialize, JsonSchema)]
    struct State {
        number: u32,
    }

    struct Plugin(Staged<u32>);

    impl Service for Plugin {
        const NAME: &'static str = "plugin";
        const DESCRIPTION: &'static str = "Shows its number";
        const KIND: ServiceKind = ServiceKind::Transparent;
        type Config = Config;
        type State = State;

        fn create(cube: Cube) -> Result<Self, Refusal> {
            Ok(Self(Staged::new(&cube)))
        }

        fn datapath(&self, _: &Wanted<Config>) -> Result<Datapath, Refusal> {
            Ok(Datapath::default())
        }

        fn prepare(&self, wanted: &Wanted<Config>, _: Maps) -> Result<(), Refusal> {
            self.0.prepare(wanted.config.number);
            if wanted.config.is_refused { Err(Refusal::failed("refused")) } else { Ok(()) }
        }

        fn state(&self) -> Result<State, Refusal> {
            Ok(State { number: self.0.read(|number| Ok::<_, Refusal>(*number))? })
        }
    }

    struct Border(CubeHandle);

    impl Border {
        fn prepare(&self, number: u32, is_refused: bool) -> bool {
            let wanted = format!(r#"{{ "config": {{ "number": {number}, "is_refused": {is_refused} }} }}"#);
            self.0.prepare(wanted.as_str().into(), RVec::new()).is_ok()
        }

        #[track_caller]
        fn check(&self, number: u32) {
            assert_eq!(self.0.state().into_result().unwrap().as_str(), format!(r#"{{"number":{number}}}"#));
        }
    }

    #[test]
    fn a_plugin_that_only_prepares_has_both_phases() {
        let birth = r#"{ "name": "c", "uuid": "", "capture-dir": "/" }"#;
        let border = Border(instantiate::<Plugin>(birth.into(), handle().0).into_result().unwrap());
        border.check(0);
        assert!(border.prepare(1, false));
        border.check(0);
        border.0.commit().into_result().unwrap();
        border.check(1);
        assert!(border.prepare(2, false));
        border.0.abort().into_result().unwrap();
        border.0.commit().into_result().unwrap();
        border.check(1);
        assert!(!border.prepare(3, true));
        border.0.commit().into_result().unwrap();
        border.check(1);
    }

    #[test]
    fn a_value_in_use_outlives_the_change_that_replaces_it() {
        let host = Host::new("c");
        let staged = Staged::new(&host.cube);
        assert!(staged.now().is_none());
        staged.prepare(String::from("first"));
        host.cube.stages().commit();
        let first = staged.now().unwrap();
        staged.prepare(String::from("next"));
        staged.prepare(String::from("second"));
        host.cube.stages().commit();
        assert_eq!((first.as_str(), staged.now().unwrap().as_str()), ("first", "second"));
        drop(staged);
        host.cube.stages().commit();
    }
}
