//! Cubes as JSON.

mod chains;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use polycube_api::EPHEMERAL;
use polycube_plugin_api::NetdevState;
use serde_json::{Value, json};

pub(super) use self::chains::of_topology as chains_at;
use super::context::Context;
use crate::engine::View;
use crate::model::{CONFIG, PortConfig, SavedCube, SavedPort, Unrestored, from_wire};
use crate::problem::Problem;
use crate::schema::{Model, PORTS};
use crate::sys::netlink::{NetlinkError, Traffic};
use crate::topology::{Cube, CubeName, Ephemeral, Point, Port, PortName, Role};
use crate::wiring::Netdev;

/// What every cube has.
pub(super) fn base(view: &View, name: &CubeName, cube: &Cube) -> Value {
    let mut json = json!({
        "name": name.as_str(),
        "uuid": cube.uuid,
        "service-name": cube.service,
        "type": "TC",
        "loglevel": cube.loglevel,
    });
    match &cube.role {
        Role::Standard(_) => json["ports"] = cube.ports().map(|(each, found)| port(view, name, each, found)).collect(),
        Role::Transparent => {
            let points = view.topology.points(name.as_str());
            let named = points.iter().filter(|(_, point)| view.topology.is_named(name.as_str(), point));
            let points: Vec<String> = named.map(|(_, point)| point.to_string()).collect();
            json["parent"] = points.join(",").into();
            json["parents"] = points.into();
        }
    }
    if let Some(Ephemeral { owner, since, .. }) = &cube.ephemeral {
        // The clock may have been set back.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age = now.saturating_sub(*since).as_secs();
        json[EPHEMERAL] = json!({ "owner": owner, "age": age });
    }
    json
}

/// A cube that could not be brought back, why, and where it is stored to be.
pub(super) fn unrestored(name: &CubeName, unrestored: &Unrestored) -> Value {
    let SavedCube { uuid, service, loglevel, ports, .. } = &unrestored.cube;
    let mut json = json!({
        "name": name.as_str(),
        "uuid": uuid,
        "service-name": service,
        "type": "TC",
        "loglevel": loglevel,
        "failure": format!("could not be brought back: {}", unrestored.reason),
    });
    match ports {
        Some(ports) => {
            let port = |(name, SavedPort { uuid, peer, .. }): (&String, &SavedPort)| {
                let peer = peer.as_deref().unwrap_or_default();
                json!({ "name": name, "uuid": uuid, "status": "DOWN", "reason": NOT_RESTORED, "peer": peer })
            };
            json["ports"] = ports.iter().map(port).collect();
        }
        // Nothing can be said of the role of one that cannot be read.
        None if unrestored.is_unreadable && unrestored.places.is_empty() => {}
        None => {
            let points = unrestored.places.iter().map(|(point, ..)| point.to_string());
            let points: Vec<String> = points.collect();
            json["parent"] = points.join(",").into();
            let at = |point: &String| json!({ "name": point, "status": "DOWN", "reason": NOT_RESTORED });
            json["points"] = points.iter().map(at).collect();
            json["parents"] = points.into();
        }
    }
    json
}

/// The same, with all that is stored of it.
pub(super) fn stored(name: &CubeName, cube: &Unrestored) -> Value {
    let mut json = unrestored(name, cube);
    let SavedCube { config, ports, .. } = &cube.cube;
    let settings = ports.iter().flat_map(|ports| ports.values()).map(|port| &port.settings);
    for (json, settings) in ports_of(&mut json).zip(settings) {
        add(json, settings.clone().into());
    }
    json[CONFIG] = config.clone();
    json
}

/// Why nothing passes a place of a cube that could not be brought back.
const NOT_RESTORED: &str = "not-restored";

/// A port.
pub(super) fn port(view: &View, cube: &CubeName, name: &PortName, port: &Port) -> Value {
    let mut json = json!({ "name": name.as_str(), "uuid": port.uuid });
    add_status(&mut json, view, view.netdevs.of_port(cube, name, port).as_ref());
    json["peer"] = port.peer.as_ref().map(ToString::to_string).unwrap_or_default().into();
    if port.peer.is_none() {
        json["reason"] = "no-peer".into();
    }
    json
}

/// Whether packets can pass where `netdev` is, and why they cannot.
fn add_status(json: &mut Value, view: &View, netdev: Option<&Netdev>) {
    let state = netdev.and_then(|netdev| {
        // A link's ends are wired as soon as they are created, up and with carrier, before the kernel's event is read.
        let is_new = || view.netdevs.link_port(&netdev.name).map(|_| NetdevState::Up);
        view.present.link(netdev.ifindex).map(|link| link.state()).or_else(is_new)
    });
    add_state(json, state);
}

/// What a selector stands for. Packets can come if they can at one of its netdevs.
fn add_stands_for(json: &mut Value, view: &View, netdevs: &[&str]) {
    let states =
        netdevs.iter().filter_map(|name| Some(view.present.link(view.netdevs.of_name(name)?.ifindex)?.state()));
    add_state(json, states.min_by_key(|state| *state != NetdevState::Up));
    json["netdevs"] = netdevs.into();
}

/// The state of a netdev, or that there is none.
pub(super) fn add_state(json: &mut Value, state: Option<NetdevState>) {
    let reason = match state {
        Some(NetdevState::Up) => None,
        Some(NetdevState::NoCarrier) => Some("no-carrier"),
        Some(NetdevState::Down) => Some("netdev-down"),
        None => Some("no-netdev"),
    };
    json["status"] = if reason.is_none() { "UP" } else { "DOWN" }.into();
    if let Some(reason) = reason {
        json["reason"] = reason.into();
    }
}

/// What every cube has, and the chains where it is attached or has ports.
pub(super) fn placed(view: &View, name: &CubeName, cube: &Cube) -> Value {
    let mut json = base(view, name, cube);
    let add_chains = |json: &mut Value, point: &Point| {
        let chains = chains::at(view, point);
        json[chains::INGRESS] = chains.ingress.into();
        json[chains::EGRESS] = chains.egress.into();
    };
    for ((port_name, port), json) in cube.ports().zip(ports_of(&mut json)) {
        let netdev = view.netdevs.of_port(name, port_name, port);
        json["netdev"] = netdev.map(|netdev| netdev.name).unwrap_or_default().into();
        add_chains(json, &Point::Port(name.clone(), port_name.clone()));
    }
    if cube.role == Role::Transparent {
        let points = view.topology.points(name.as_str()).into_iter().map(|(id, point)| {
            let netdev = view.netdevs.of_point(&view.topology, point);
            let mut json = json!({ "name": point.to_string() });
            if let Point::Selector(selector) = point {
                add_stands_for(&mut json, view, &view.topology.stands_for(name, selector));
                return json;
            }
            if let Some(chosen) = view.topology.chosen_at(name, point) {
                json["chosen-by"] = chosen.by.to_string().into();
                json["inside"] = chosen.inside.as_deref().into();
            }
            add_status(&mut json, view, netdev.as_ref());
            if let Some(reason) = view.left_out(name, id) {
                json["status"] = "DOWN".into();
                json["reason"] = format!("left out: {reason}").into();
            }
            let position = from_wire(&view.topology, point).iter().position(|other| other == name);
            json["position"] = position.into();
            add_chains(&mut json, point);
            json
        });
        json["points"] = points.collect();
    }
    json
}

/// The same, with the settings that are not as they would be by default.
pub(super) fn configured(view: &View, name: &CubeName, cube: &Cube) -> Value {
    let mut json = placed(view, name, cube);
    let Ok(service) = view.registry.service(&cube.service) else { return json };
    let settings = service.model.sparse(&cube.config);
    if settings != json!({}) {
        json[CONFIG] = settings;
    }
    if let Some(model) = &service.model.port {
        for ((_, port), json) in cube.ports().zip(ports_of(&mut json)) {
            add(json, model.sparse(&PortConfig::of(port).whole()));
        }
    }
    json
}

/// What is set at the ports of a cube, and what `state`, the plugin's, says of them. What it says of others is left out.
pub(super) fn add_settings(json: &mut Value, model: &Model, cube: &Cube, state: Value) {
    let Value::Array(entries) = state else { return add_settings(json, model, cube, json!([])) };
    let named = entries.into_iter().filter_map(|entry| Some((entry["name"].as_str()?.to_owned(), entry)));
    let mut named: BTreeMap<String, Value> = named.collect();
    for ((name, port), json) in cube.ports().zip(ports_of(json)) {
        let mut state = named.remove(name.as_str()).unwrap_or_else(|| json!({}));
        if let Some(state) = state.as_object_mut() {
            state.shift_remove("name");
        }
        let config = PortConfig::of(port).whole();
        add(json, model.present(&config, state));
        if let Some(unseen) = model.unseen(&config)
            && json.get(CONFIG).is_none()
        {
            json[CONFIG] = unseen;
        }
    }
}

fn add(json: &mut Value, members: Value) {
    if let (Some(json), Value::Object(members)) = (json.as_object_mut(), members) {
        json.extend(members);
    }
}

/// What all netdevs have counted, by ifindex.
pub(super) async fn traffic(context: &Context) -> Result<BTreeMap<u32, Traffic>, Problem> {
    context.netlink.traffic().await.map_err(|error| no_counters(&error))
}

/// What the netdevs of a cube's ports have counted, by ifindex.
pub(super) async fn traffic_of(context: &Context, cube: &str) -> Result<BTreeMap<u32, Traffic>, Problem> {
    let view = &context.view;
    let (name, cube) = view.topology.cube(cube)?;
    let ifindex = |(port_name, port)| Some(view.netdevs.of_port(name, port_name, port)?.ifindex);
    let ifindexes: Vec<u32> = cube.ports().filter_map(ifindex).collect();
    context.netlink.traffic_of(&ifindexes).await.map_err(|error| no_counters(&error))
}

fn no_counters(error: &NetlinkError) -> Problem {
    Problem::failed("ports", format!("cannot read the counters of the netdevs: {error}"))
}

/// The ports in a cube's JSON. Indexing it would add a member to that of a cube without ports.
pub(super) fn ports_of(json: &mut Value) -> impl Iterator<Item = &mut Value> {
    json.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten()
}

/// What the netdev of each port has counted, seen from the cube.
fn add_counters(view: &View, name: &CubeName, cube: &Cube, traffic: &BTreeMap<u32, Traffic>, json: &mut Value) {
    for ((port_name, port), json) in cube.ports().zip(ports_of(json)) {
        let netdev = view.netdevs.of_port(name, port_name, port);
        let counted = netdev.and_then(|netdev| traffic.get(&netdev.ifindex));
        json["counters"] = counted.map_or(Value::Null, |counted| {
            json!({
                "in-packets": counted.rx_packets,
                "in-bytes": counted.rx_bytes,
                "out-packets": counted.tx_packets,
                "out-bytes": counted.tx_bytes,
            })
        });
    }
}

/// A cube with its configuration, its plugin's state, and the `traffic` of its ports' netdevs by ifindex. Calls the
/// plugin, so it may take a while.
pub(super) fn whole(
    view: &View,
    name: &CubeName,
    cube: &Arc<Cube>,
    traffic: &BTreeMap<u32, Traffic>,
) -> Result<Value, Problem> {
    let mut json = placed(view, name, cube);
    add_counters(view, name, cube, traffic, &mut json);
    let service = view.registry.service(&cube.service)?;
    let state = view.instances[name].state();
    let (mut state, failure) = match state {
        Ok(state) => (state, view.deferred.of_cube(&view.topology, name, cube)),
        Err(failure) => (json!({}), Some(failure.to_string())),
    };
    if let Some(model) = &service.model.port {
        let of_ports = state.as_object_mut().and_then(|state| state.shift_remove(PORTS));
        add_settings(&mut json, model, cube, of_ports.unwrap_or_default());
    }
    let Value::Object(members) = service.model.present(&cube.config, state) else { return Ok(json) };
    for (key, value) in members {
        json[&key] = value;
    }
    if let Some(failure) = failure {
        json["failure"] = failure.into();
    }
    if let Some(unseen) = service.model.unseen(&cube.config)
        && json.get(CONFIG).is_none()
    {
        json[CONFIG] = unseen;
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netdev::{Link, ethernet};
    use crate::rest::fixture::{facts, model};

    fn view() -> View {
        View::of(model(), &facts())
    }

    /// A cube, as `write` shows it.
    fn shown(view: &View, name: &str, write: impl FnOnce(&View, &CubeName, &Cube) -> Value) -> Value {
        let (name, cube) = view.topology.cube(name).unwrap();
        write(view, name, cube)
    }

    fn keys(json: &Value) -> Vec<&str> {
        json.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn each_role_has_members_of_its_own() {
        let view = view();
        let common = ["name", "uuid", "service-name", "type", "loglevel"];
        let standard = shown(&view, "br1", base);
        assert_eq!(keys(&standard), [common.as_slice(), &["ports"]].concat());
        assert_eq!(keys(&standard["ports"][0]), ["name", "uuid", "status", "peer"]);
        let transparent = shown(&view, "a", base);
        assert_eq!(keys(&transparent), [common.as_slice(), &["parent", "parents"]].concat());
        let free = shown(&view, "b", placed);
        assert_eq!((&free["parent"], &free["parents"], &free["points"]), (&json!(""), &json!([]), &json!([])));
    }

    #[test]
    fn what_is_down_says_why() {
        let shown_with = |up, running| {
            let mut facts = facts();
            facts.present.set(Link { up, running, ..ethernet(1, "veth1") });
            let view = View::of(model(), &facts);
            let [port, idle] = [0, 1].map(|index| shown(&view, "br1", base)["ports"][index].clone());
            let point = shown(&view, "a", placed)["points"][0].clone();
            assert_eq!((&port["status"], &port["reason"]), (&point["status"], &point["reason"]));
            assert_eq!((&idle["status"], &idle["reason"]), (&json!("DOWN"), &json!("no-peer")));
            (port["status"].clone(), port["reason"].clone())
        };
        assert_eq!(shown_with(true, true), (json!("UP"), Value::Null));
        assert_eq!(shown_with(true, false), (json!("DOWN"), json!("no-carrier")));
        assert_eq!(shown_with(false, false), (json!("DOWN"), json!("netdev-down")));
        let mut facts = facts();
        facts.present.remove(1);
        let port = &shown(&View::of(model(), &facts), "br1", base)["ports"][0];
        assert_eq!((&port["status"], &port["reason"]), (&json!("DOWN"), &json!("no-netdev")));
    }

    #[test]
    fn a_cube_at_several_points_lists_each() {
        let mut model = model();
        model.topology.attach("a", Point::parse("veth2").unwrap(), &crate::topology::Place::Auto).unwrap();
        let view = View::of(model, &facts());
        let cube = shown(&view, "a", placed);
        assert_eq!(cube["parents"], json!(["br1:p", "veth2"]));
        assert_eq!(cube["parent"], "br1:p,veth2");
        let points: Vec<_> = cube["points"].as_array().unwrap().iter().map(|point| &point["status"]).collect();
        assert_eq!(points, ["UP", "DOWN"], "veth2 is not wired");
    }

    #[test]
    fn counters_are_seen_from_the_cube_and_null_without_a_netdev() {
        let view = view();
        let counted = Traffic { rx_packets: 1, rx_bytes: 2, tx_packets: 3, tx_bytes: 4 };
        let counters = |traffic: &BTreeMap<u32, Traffic>| {
            let cube = shown(&view, "br1", |view, name, cube| {
                let mut json = base(view, name, cube);
                add_counters(view, name, cube, traffic, &mut json);
                json
            });
            [cube["ports"][0]["counters"].clone(), cube["ports"][1]["counters"].clone()]
        };
        let of_veth1 = json!({ "in-packets": 1, "in-bytes": 2, "out-packets": 3, "out-bytes": 4 });
        assert_eq!(counters(&BTreeMap::from([(1, counted), (2, Traffic::default())])), [of_veth1, Value::Null]);
        assert_eq!(counters(&BTreeMap::new()), [Value::Null, Value::Null], "the netdev is gone by now");
    }

    #[test]
    fn a_cube_without_ports_gets_none_by_looking() {
        let mut json = json!({ "name": "a" });
        assert_eq!(ports_of(&mut json).count(), 0);
        assert_eq!(json, json!({ "name": "a" }));
    }
}
