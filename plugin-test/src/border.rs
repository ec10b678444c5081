//! Calls across the plugin border, which a plugin under test is behind as it is behind the daemon's.

use std::cell::Cell;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};

use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RStr};
use polycube_loader::CubeMap;
use polycube_plugin_api::abi::{Answer, CubeHandle, HostAbi_TO, MapHandle};
use polycube_plugin_api::{__private as sdk, Refusal, Service, ServiceSchema, Tag};
use serde_json::{Value, json};

use crate::Failure;
use crate::host::Heard;

/// Cubes that exist.
static CUBES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is in a call of a plugin.
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

/// Has the SDK see panics of plugins, as it does in the daemon. Those of the test itself are printed as ever.
fn watch_panics() {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        let own = std::panic::take_hook();
        sdk::install_hook();
        let of_sdk = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_CALL.try_with(Cell::get).unwrap_or(false) {
                of_sdk(info);
            } else {
                own(info);
                if CUBES.load(Ordering::Relaxed) > 0 {
                    of_sdk(info);
                }
            }
        }));
    });
}

fn enter<T>(call: impl FnOnce() -> Answer<T>) -> Result<T, Failure> {
    watch_panics();
    IN_CALL.set(true);
    let answer = call();
    IN_CALL.set(false);
    match answer {
        ROk(value) => Ok(value),
        RErr(text) => Err(match serde_json::from_str::<Refusal>(&text) {
            Ok(refusal) if refusal.tag == Tag::Panic => Failure::Panicked(refusal.message),
            Ok(refusal) => Failure::Refused(refusal),
            Err(error) => Failure::Malformed(error.to_string()),
        }),
    }
}

/// What a service says of itself.
pub(crate) fn describe<S: Service>() -> Result<ServiceSchema, Failure> {
    let text = enter(|| sdk::describe::<S>("test")).map_err(|failure| Failure::Description(failure.to_string()))?;
    serde_json::from_str(&text).map_err(|error| Failure::Description(error.to_string()))
}

/// A plugin's side of a cube.
pub(crate) struct Instance {
    handle: Option<CubeHandle>,
    failed: OnceLock<String>,
}

impl Instance {
    pub(crate) fn create<S: Service>(info: &Value, heard: Heard) -> Result<Self, Failure> {
        let host = HostAbi_TO::from_value(heard, TD_Opaque);
        let info = info.to_string();
        let handle = enter(|| sdk::instantiate::<S>(RStr::from(info.as_str()), host))?;
        CUBES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { handle: Some(handle), failed: OnceLock::new() })
    }

    fn call<T>(&self, call: impl FnOnce(&CubeHandle) -> Answer<T>) -> Result<T, Failure> {
        if let Some(message) = self.failed.get() {
            return Err(Failure::Panicked(message.clone()));
        }
        let Some(handle) = &self.handle else { return Err(Failure::Panicked("the cube is gone".to_owned())) };
        let result = enter(|| call(handle));
        if let Err(Failure::Panicked(message)) = &result {
            let _ = self.failed.set(message.clone());
        }
        result
    }

    /// What the plugin describes, and its objects.
    pub(crate) fn datapath(&self, wanted: &str) -> Result<(polycube_plugin_api::Datapath, Vec<Vec<u8>>), Failure> {
        let answer = self.call(|cube| cube.datapath(wanted.into()))?;
        let datapath = serde_json::from_str(&answer.spec).map_err(malformed)?;
        Ok((datapath, answer.objects.into_iter().map(Vec::from).collect()))
    }

    pub(crate) fn prepare(&self, wanted: &str, maps: &[(String, &CubeMap)]) -> Result<(), Failure> {
        let copy = |(name, map): &(String, &CubeMap)| {
            let CubeMap { key_size, value_size, max_entries, .. } = map;
            let info =
                json!({ "name": name, "key_size": key_size, "value_size": value_size, "max_entries": max_entries });
            Ok((info.to_string(), map.fd.try_clone()?))
        };
        let copies: Vec<(String, OwnedFd)> = maps
            .iter()
            .map(copy)
            .collect::<std::io::Result<_>>()
            .map_err(|source| Failure::Kernel { what: "copy the descriptor of a map", source })?;
        // From here on the plugin owns the descriptors. A plugin that is not called any more gets none.
        self.call(|cube| {
            let handle = |(info, fd): (String, OwnedFd)| MapHandle { info: info.into(), fd: fd.into_raw_fd() };
            cube.prepare(wanted.into(), copies.into_iter().map(handle).collect())
        })
    }

    pub(crate) fn commit(&self) -> Result<(), Failure> {
        self.call(CubeHandle::commit)
    }

    pub(crate) fn abort(&self) -> Result<(), Failure> {
        self.call(CubeHandle::abort)
    }

    pub(crate) fn state(&self) -> Result<Value, Failure> {
        let text = self.call(CubeHandle::state)?;
        serde_json::from_str(&text).map_err(malformed)
    }

    /// Calls an action; `call` is what the SDK's `ActionCall` is read from.
    pub(crate) fn act(&self, call: &Value) -> Result<Value, Failure> {
        let text = self.call(|cube| cube.act(call.to_string().as_str().into()))?;
        serde_json::from_str(&text).map_err(malformed)
    }

    pub(crate) fn tick(&self) -> Result<(), Failure> {
        self.call(CubeHandle::tick)
    }

    pub(crate) fn netdevs(&self, netdevs: &str) -> Result<(), Failure> {
        self.call(|cube| cube.netdevs(netdevs.into()))
    }

    pub(crate) fn environment(&self, news: &str) -> Result<(), Failure> {
        self.call(|cube| cube.environment(news.into()))
    }

    /// Opens a stream: what the plugin says of it, and what to read.
    pub(crate) fn open(&self, path: &str, query: &Value) -> Result<(Value, OwnedFd), Failure> {
        let handle = self.call(|cube| cube.open(path.into(), query.to_string().as_str().into()))?;
        // SAFETY: the plugin passes ownership of an open descriptor with every handle, once.
        let fd = unsafe { OwnedFd::from_raw_fd(handle.fd) };
        Ok((serde_json::from_str(&handle.info).map_err(malformed)?, fd))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let handle = self.handle.take();
        IN_CALL.set(true);
        drop(handle);
        IN_CALL.set(false);
        CUBES.fetch_sub(1, Ordering::Relaxed);
    }
}

// A parse error's own type says nothing more.
#[allow(clippy::needless_pass_by_value)]
fn malformed(error: serde_json::Error) -> Failure {
    Failure::Malformed(error.to_string())
}
