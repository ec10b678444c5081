//! Plugins to test with that have no code.

use std::path::PathBuf;

use abi_stable::prefix_type::PrefixTypeTrait as _;
use abi_stable::std_types::{RErr, RStr, RString};
use polycube_plugin_api::abi::{Answer, CubeHandle, HostHandle, Plugin as Exports};
use polycube_plugin_api::{Action, ServiceKind, ServiceSchema};
use serde_json::json;

use super::Plugin;

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
        name: name.to_owned(),
        description: "A double".to_owned(),
        version: "0".to_owned(),
        kind,
        config,
        state: json!({ "type": "object", "properties": {} }),
        actions: if kind == ServiceKind::Transparent { vec![run] } else { Vec::new() },
        streams: Vec::new(),
    };
    Plugin {
        path: PathBuf::from(format!("libpcn_{name}.so")),
        service,
        root: Exports { describe, create }.leak_into_prefix(),
    }
}
