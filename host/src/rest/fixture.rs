//! An API to ask in tests, of services without code.

use std::collections::BTreeMap;
use std::sync::Arc;

use polycube_plugin_api::{ServiceKind, Stream};
use serde_json::json;

use super::context::Api;
use super::statistics::Statistics;
use crate::engine::{Pulse, double};
use crate::model::{Change, Facts, Model, change};
use crate::netdev::{Table, ethernet};
use crate::plugins::double::plugin;
use crate::registry::{Registry, Service};
use crate::sys::netlink::Netlink;
use crate::wiring::Netdevs;

/// `veth1` and `veth2`. The first is wired.
pub(super) fn facts() -> Facts {
    let mut present = Table::default();
    present.set(ethernet(1, "veth1"));
    present.set(ethernet(2, "veth2"));
    let mut wired = Netdevs::default();
    wired.name("veth1", Some(1));
    Facts { present, wired, looks: BTreeMap::new(), failed: BTreeMap::new(), seed: [1; 16] }
}

/// A service `tap` that has more than the double: a container, a list, a leaf of the state, and streams.
fn tap() -> Service {
    let mut tap = plugin("tap", ServiceKind::Transparent);
    tap.service.config["properties"]["hook"] =
        json!({ "type": "string", "enum": ["TC", "XDP"], "default": "TC", "x-create-only": true });
    tap.service.config["properties"]["filter"] =
        json!({ "type": "object", "properties": { "source": { "type": ["string", "null"] } } });
    let items = json!({
        "type": "object",
        "properties": { "address": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["address"],
    });
    tap.service.config["properties"]["host"] = json!({ "type": "array", "x-list-key": "address", "items": items });
    tap.service.state["properties"]["seen"] = json!({ "type": "integer" });
    let packets = Stream::new("packets", "Packets", &["application/x-pcapng"]);
    tap.service.streams.push(packets.parameter("format", "Format", &["pcap", "pcapng"]));
    tap.service.streams.push(Stream::new("files/{name}", "A file", &["application/x-pcapng"]));
    Service::new(tap).unwrap()
}

/// The services `bridge` and `tap`, `br1` with the ports `p`, whose peer is `veth1`, and `q`, and the cubes `a`, which is
/// attached to `br1:p`, and `b`, which is not attached.
pub(super) fn model() -> Model {
    let mut registry = Registry::new().unwrap();
    registry.add(Arc::new(Service::new(plugin("bridge", ServiceKind::Standard)).unwrap())).unwrap();
    registry.add(Arc::new(tap())).unwrap();
    let model = Model::new(registry);
    let cubes = vec![
        json!({ "name": "br1", "service-name": "bridge", "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q" }] }),
        json!({ "name": "a", "service-name": "tap", "parent": "br1:p", "host": [{ "address": "x", "age": 1 }] }),
        json!({ "name": "b", "service-name": "tap" }),
    ];
    change(&model, Change::CreateCubes { cubes }, &facts()).unwrap()
}

/// The API of [`model`]. Has to be called in a tokio runtime.
pub(super) fn api() -> Api {
    let engine = double::start(model(), facts());
    let pulse = Pulse::of(&engine);
    let (statistics, capture_dirs) = (Arc::new(Statistics::new()), Arc::default());
    Api { engine, netlink: Netlink::open().unwrap(), pulse, statistics, capture_dirs }
}
