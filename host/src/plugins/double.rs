//! Plugins to test with: those that have no code, and those that a test scripts.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use abi_stable::prefix_type::PrefixTypeTrait as _;
use abi_stable::sabi_trait::prelude::TD_Opaque;
use abi_stable::std_types::{RErr, ROk, RStr, RString, RVec};
use polycube_plugin_api::abi::{
    Answer, CubeAbi, CubeAbi_TO, CubeHandle, DatapathText, HostHandle, MapHandle, Plugin as Exports, StreamHandle,
};
use polycube_plugin_api::{Action, Refusal, ServiceKind, ServiceSchema, Tag};
use serde_json::{Value, json};

use super::Plugin;
use super::calls::Calls;
use super::failures::Failures;
use super::instance::{Connections, Instance};
use super::loader::{Code, Common};
use crate::topology::LogLevel;

extern "C" fn describe() -> Answer<RString> {
    RErr("a double has no code".into())
}

extern "C" fn create(_: RStr<'_>, _: HostHandle) -> Answer<CubeHandle> {
    RErr("a double has no code".into())
}

/// A service with a number, a word and, if it is transparent, an action.
pub(crate) fn plugin(name: &str, kind: ServiceKind) -> Plugin {
    let config = json!({
        "type": "object",
        "properties": {
            "size": { "type": "integer", "minimum": 0, "maximum": 9, "default": 3 },
            "word": { "type": "string", "default": "" },
        },
    });
    let times = json!({
        "type": "object",
        "properties": { "times": { "type": "integer", "minimum": 1, "default": 1 } },
    });
    let run = Action { input: Some(times), ..Action::new("run", "Runs") };
    let service = ServiceSchema {
        description: "A double".to_owned(),
        version: "0".to_owned(),
        actions: if kind == ServiceKind::Transparent { vec![run] } else { Vec::new() },
        ..ServiceSchema::new(name, kind, config, json!({ "type": "object", "properties": {} }))
    };
    Plugin {
        path: PathBuf::from(format!("libpcn_{name}.so")),
        manifest: None,
        service: Common::new(service),
        sdk: Some("0.1.0".to_owned()),
        abi: Some("1.1".to_owned()),
        since: "2026-01-31T12:00:00Z".to_owned(),
        code: Code::Library(Exports { describe, create }.leak_into_prefix()),
        objects: Arc::default(),
    }
}

/// What a scripted plugin answers to a call, of which it gets the name, the arguments and the host: JSON, or the JSON of a
/// refusal.
pub(crate) type Script = Box<dyn Fn(&str, &str, &HostHandle) -> Result<String, String> + Send + Sync>;

/// Scripts of cubes that are not created yet. The border hands functions over, which capture nothing.
static SCRIPTS: Mutex<BTreeMap<String, Script>> = Mutex::new(BTreeMap::new());

/// A cube that does what its script says.
struct Scripted {
    script: Script,
    host: HostHandle,
}

impl Scripted {
    fn call(&self, call: &str, arguments: &str) -> Answer<RString> {
        (self.script)(call, arguments, &self.host).map(RString::from).map_err(RString::from).into()
    }
}

impl CubeAbi for Scripted {
    fn datapath(&self, wanted: RStr<'_>) -> Answer<DatapathText> {
        self.call("datapath", wanted.as_str())
            .map(|spec| DatapathText { spec, objects: RVec::from(vec![RVec::from(vec![1, 2])]) })
    }

    fn prepare(&self, wanted: RStr<'_>, maps: RVec<MapHandle>) -> Answer<()> {
        let mut arguments = wanted.to_string();
        for map in maps {
            // SAFETY: the host passes ownership of an open descriptor with every handle.
            drop(unsafe { OwnedFd::from_raw_fd(map.fd) });
            arguments.push(' ');
            arguments.push_str(&map.info);
        }
        self.call("prepare", &arguments).map(drop)
    }

    fn commit(&self) -> Answer<()> {
        self.call("commit", "").map(drop)
    }

    fn abort(&self) -> Answer<()> {
        self.call("abort", "").map(drop)
    }

    fn state(&self) -> Answer<RString> {
        self.call("state", "")
    }

    fn action(&self, path: RStr<'_>, input: RStr<'_>) -> Answer<RString> {
        self.call("action", &format!("{path} {input}"))
    }

    fn tick(&self) -> Answer<()> {
        self.call("tick", "").map(drop)
    }

    fn netdevs(&self, netdevs: RStr<'_>) -> Answer<()> {
        self.call("netdevs", netdevs.as_str()).map(drop)
    }

    /// A stream without content.
    fn open(&self, path: RStr<'_>, query: RStr<'_>) -> Answer<StreamHandle> {
        let info = self.call("open", &format!("{path} {query}"));
        info.map(|info| StreamHandle { info, fd: File::open("/dev/null").unwrap().into_raw_fd() })
    }
}

extern "C" fn create_scripted(cube: RStr<'_>, host: HostHandle) -> Answer<CubeHandle> {
    let info: Value = serde_json::from_str(cube.as_str()).unwrap();
    let script = SCRIPTS.lock().unwrap().remove(info["name"].as_str().unwrap()).unwrap();
    match script("create", cube.as_str(), &host) {
        Ok(_) => ROk(CubeAbi_TO::from_value(Scripted { script, host }, TD_Opaque)),
        Err(refusal) => RErr(refusal.into()),
    }
}

/// A plugin whose next cube called `cube` follows the script. Tests run side by side, so each needs names of its own.
pub(crate) fn scripted(
    cube: &str,
    script: impl Fn(&str, &str, &HostHandle) -> Result<String, String> + Send + Sync + 'static,
) -> Plugin {
    SCRIPTS.lock().unwrap().insert(cube.to_owned(), Box::new(script));
    let code = Code::Library(Exports { describe, create: create_scripted }.leak_into_prefix());
    Plugin { code, ..plugin("scripted", ServiceKind::Standard) }
}

/// The instance of a scripted cube, without its surroundings.
pub(crate) fn instance(
    cube: &str,
    script: impl Fn(&str, &str, &HostHandle) -> Result<String, String> + Send + Sync + 'static,
) -> Instance {
    let connections = Connections {
        calls: Arc::new(Calls::default()),
        failures: Arc::new(Failures::default()),
        configure: Box::new(|_| {}),
        make_map: Box::new(|_| Err(Refusal::failed("no maps"))),
        netdev_at: Arc::new(|_| None),
        freed: Box::new(|| {}),
        slow_path: None,
    };
    let plugin = scripted(cube, script);
    Instance::create(&plugin, cube, &json!({ "name": cube }), LogLevel::Info, connections).unwrap()
}

/// An instance and how often its tick was called.
pub(crate) fn ticking(cube: &str) -> (Arc<Instance>, Arc<AtomicUsize>) {
    let ticks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ticks);
    let script = move |call: &str, _: &str, _: &HostHandle| {
        counted.fetch_add(usize::from(call == "tick"), Ordering::SeqCst);
        Ok("null".to_owned())
    };
    (Arc::new(instance(cube, script)), ticks)
}

/// What the SDK answers for a plugin that panicked.
pub(crate) fn panicked(message: &str) -> String {
    serde_json::to_string(&Refusal::new(Tag::Panic, message)).unwrap()
}
