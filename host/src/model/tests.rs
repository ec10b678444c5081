mod apply;
mod choice;
mod ports;
mod read_back;
mod round_trip;

use std::collections::BTreeMap;
use std::sync::Arc;

use polycube_plugin_api::ServiceKind;
use serde_json::{Value, json};

use super::{Change, Facts, Model, action_input, change, renamed};
use crate::netdev::{Framing, Link, Table, ethernet};
use crate::plugins::double::plugin;
use crate::problem::Problems;
use crate::registry::{Registry, Service};
use crate::schema::Operation;
use crate::topology::{CubeName, Place, Point};
use crate::wiring::{Netdev, Netdevs};

/// A model with the services `bridge` and `tap`, `br1` with the ports `p` and `q`, `br2` with the port `p`, and `a`.
fn lab() -> Model {
    let mut registry = Registry::new().unwrap();
    registry.add(service("bridge", ServiceKind::Standard)).unwrap();
    registry.add(service("tap", ServiceKind::Transparent)).unwrap();
    let model = Model::new(registry);
    let cubes = vec![
        json!({ "name": "br1", "service-name": "bridge", "ports": [{ "name": "p", "peer": "veth1" }, { "name": "q" }] }),
        json!({ "name": "br2", "service-name": "bridge", "ports": [{ "name": "p" }] }),
        json!({ "name": "a", "service-name": "tap", "parent": "br1:p" }),
    ];
    change(&model, Change::CreateCubes { cubes }, &facts()).unwrap()
}

/// `veth1` and `veth2`, which is called `uplink` too, a port of a Linux bridge, the loopback, a tun device, the end of a link,
/// and a tap device of the daemon's.
fn facts() -> Facts {
    let mut present = Table::default();
    present.set(ethernet(1, "veth1"));
    present.set(Link { alt_names: vec!["uplink".to_owned()], ..ethernet(2, "veth2") });
    present.set(ethernet(3, "kbr0"));
    present.set(Link { master: Some(3), ..ethernet(4, "veth4") });
    present.set(Link { framing: Framing::Loopback, ..ethernet(5, "lo") });
    present.set(Link { framing: Framing::Other, ..ethernet(6, "tun0") });
    present.set(ethernet(7, "pcn0a"));
    present.set(ethernet(8, "pcnin0"));
    let mut wired = Netdevs::default();
    wired.name("veth1", Some(1));
    let port = (CubeName::parse("br2").unwrap(), crate::topology::PortName::parse("p").unwrap());
    wired.link(port, Some(Netdev { ifindex: 7, name: "pcn0a".to_owned() }));
    Facts { present, wired, looks: BTreeMap::new(), failed: BTreeMap::new(), seed: [1; 16] }
}

fn service(name: &str, kind: ServiceKind) -> Arc<Service> {
    Arc::new(Service::new(plugin(name, kind)).unwrap())
}

fn configure(cube: &str, path: &[&str], operation: Operation, value: Value) -> Change {
    let path = path.iter().map(|word| (*word).to_owned()).collect();
    Change::Configure { cube: cube.to_owned(), path, operation, value }
}

fn create(service: &str, name: &str, body: Value) -> Change {
    Change::CreateCube { service: service.to_owned(), name: name.to_owned(), body }
}

fn attach(cube: &str, port: &str) -> Change {
    Change::Attach { cube: cube.to_owned(), port: port.to_owned(), place: Place::Auto }
}

fn connect(one: &str, other: &str) -> Change {
    Change::Connect { one: one.to_owned(), other: other.to_owned() }
}

#[track_caller]
fn check(asked: Change, then: impl FnOnce(&Model) -> Value, expected: impl Into<Value>) {
    let model = change(&lab(), asked, &facts()).unwrap();
    assert_eq!(then(&model), expected.into());
}

/// Asserts the problems' paths, and a part of each one's message.
#[track_caller]
fn check_refused(asked: Change, facts: &Facts, expected: &[(&str, &str)]) {
    let name = format!("{asked:?}");
    let Err(Problems(problems)) = change(&lab(), asked, facts) else { panic!("{name} is not refused") };
    let found: Vec<(String, String)> = problems.iter().map(|found| (found.path.clone(), found.to_string())).collect();
    assert_eq!(found.len(), expected.len(), "{name}: {found:?}");
    for ((path, message), (wanted_path, wanted)) in found.iter().zip(expected) {
        assert_eq!(path, wanted_path, "{name}: {message}");
        assert!(message.contains(wanted), "{name}: {message:?} says nothing of {wanted:?}");
    }
}

fn config<'a>(cube: &'a str, key: &'a str) -> impl FnOnce(&Model) -> Value + use<'a> {
    move |model| model.topology.get(cube).unwrap().1.config[key].clone()
}

fn peer<'a>(cube: &'a str, port: &'a str) -> impl FnOnce(&Model) -> Value + use<'a> {
    move |model| {
        let found = model.topology.port(cube, port).unwrap();
        found.peer.as_ref().map(|peer| Value::from(peer.to_string())).unwrap_or_default()
    }
}

#[test]
fn a_cube_has_its_configuration_with_defaults() {
    check(create("tap", "b", Value::Null), config("b", "size"), 3);
    check(create("tap", "b", json!({ "size": 4 })), config("b", "size"), 4);
    check(configure("a", &[], Operation::Merge, json!({ "word": "x" })), config("a", "word"), "x");
    check(configure("a", &["size"], Operation::Replace, 7.into()), config("a", "size"), 7);
    check(
        configure("a", &["loglevel"], Operation::Replace, "DEBUG".into()),
        |model| serde_json::to_value(model.topology.get("a").unwrap().1.loglevel).unwrap(),
        "DEBUG",
    );
}

#[test]
fn a_wrong_cube_is_refused_with_everything_that_is_wrong() {
    let facts = facts();
    check_refused(create("tapp", "b", Value::Null), &facts, &[("tapp", "did you mean `tap`")]);
    check_refused(create("tap", "a", Value::Null), &facts, &[("a", "already exists")]);
    check_refused(create("tap", "bridge", Value::Null), &facts, &[("bridge", "is the name of a service")]);
    check_refused(create("tap", "b/c", Value::Null), &facts, &[("b/c", "'/'")]);
    check_refused(
        create("tap", "b", json!({ "size": 10, "wird": "", "uuid": "", "name": "c" })),
        &facts,
        &[("b/wird", "did you mean `word`"), ("b/uuid", "is a UUID"), ("b/name", "in the path"), ("b/size", "9")],
    );
    check_refused(
        configure("br1", &[], Operation::Merge, json!({ "ports": [] })),
        &facts,
        &[("br1/ports", "one by one")],
    );
}

#[test]
fn cubes_that_refer_to_each_other_are_created_in_any_order() {
    let cubes = |peer: &str, parent: &str| {
        let tap = json!({ "name": "t", "service-name": "tap", "parents": [parent, "veth2"] });
        let ports = json!([{ "name": "p", "peer": peer }]);
        let bridge = json!({ "name": "br3", "service-name": "bridge", "ports": ports });
        Change::CreateCubes { cubes: vec![tap, bridge] }
    };
    let points = |model: &Model| {
        let points = model.topology.points("t");
        points.into_iter().map(|(_, point)| Value::from(point.to_string())).collect()
    };
    check(cubes("br2:p", "br3:p"), points, json!(["br3:p", "veth2"]));
    check_refused(
        cubes("br9:p", "br3:q"),
        &facts(),
        &[("br3/ports/p/peer", "br9"), ("t/parents", "port `q` of cube `br3` does not exist")],
    );
    let twice = json!({ "name": "c", "service-name": "tap", "parent": "veth2", "parents": ["veth1"] });
    check_refused(Change::CreateCubes { cubes: vec![twice] }, &facts(), &[("c/parents", "say different things")]);
}

#[test]
fn a_netdev_is_known_by_its_own_name_whichever_was_given() {
    check(connect("br1:q", "uplink"), peer("br1", "q"), "veth2");
    check(
        attach("a", "uplink"),
        |model| model.topology.points("a").into_iter().map(|(_, point)| Value::from(point.to_string())).collect(),
        json!(["br1:p", "veth2"]),
    );
    let model = change(&lab(), connect("br1:q", "uplink"), &facts()).unwrap();
    let again = change(&model, connect("br2:p", "veth2"), &facts()).err().unwrap();
    assert!(again.0[0].to_string().contains("`veth2` is already the peer of br1:q"), "{:?}", again.0);
    let off = Change::Disconnect { one: "uplink".to_owned(), other: "br1:q".to_owned() };
    assert_eq!(peer("br1", "q")(&change(&model, off, &facts()).unwrap()), Value::Null);
}

#[test]
fn netdevs_that_no_cube_can_work_on_are_refused() {
    for (netdev, why) in [
        ("veth4", "is a port of `kbr0`"),
        ("lo", "loopback"),
        ("tun0", "no Ethernet headers"),
        ("pcn0a", "the link at br2:p"),
        ("pcnin0", "the daemon's own, by which plugins send packets"),
        ("br2", "is a cube: name one of its ports, br2:PORT"),
        ("veth3", "does not exist"),
    ] {
        check_refused(connect("br1:q", netdev), &facts(), &[("br1/ports/q/peer", why)]);
    }
    for netdev in ["veth4", "lo"] {
        check(attach("a", netdev), |model| model.topology.points("a").len().into(), 2);
    }
    check_refused(attach("a", "tun0"), &facts(), &[("attach/port", "no Ethernet headers")]);
    check_refused(attach("a", "pcnin0"), &facts(), &[("attach/port", "the daemon's own")]);
}

#[test]
fn links_have_two_ends_and_each_peer_is_set_once() {
    check(connect("br1:q", "br2:p"), peer("br1", "q"), "br2:p");
    check(connect("br1:q", "br2:p"), peer("br2", "p"), "br1:q");
    check_refused(connect("br1:p", "veth2"), &facts(), &[("connect", "already has a peer, veth1")]);
    check_refused(connect("veth1", "veth2"), &facts(), &[("connect", "is a port")]);
    check_refused(connect("br1:p", "br1:q"), &facts(), &[("connect", "already has a peer")]);
    let off = |one: &str, other: &str| Change::Disconnect { one: one.to_owned(), other: other.to_owned() };
    check(off("veth1", "br1:p"), peer("br1", "p"), Value::Null);
    check_refused(off("br1:q", "veth1"), &facts(), &[("disconnect", "is not connected")]);
}

#[test]
fn ports_come_go_and_change_their_peers() {
    let port = |body| Change::CreatePort { cube: "br2".to_owned(), port: "q".to_owned(), body };
    check(port(Value::Null), peer("br2", "q"), Value::Null);
    check(port(json!({ "peer": "veth2" })), peer("br2", "q"), "veth2");
    check_refused(port(json!({ "name": "r" })), &facts(), &[("br2/ports/q/name", "in the path")]);
    let set = |body| {
        let (cube, port) = ("br1".to_owned(), "p".to_owned());
        Change::ConfigurePort { cube, port, path: Vec::new(), operation: Operation::Merge, body }
    };
    check(set(json!({ "peer": "" })), peer("br1", "p"), Value::Null);
    let mut gone = facts();
    gone.present.remove(1);
    assert!(change(&lab(), set(json!({ "peer": "veth1" })), &gone).is_ok(), "the peer that it has may be gone");
    check_refused(set(json!({ "peer": "veth9" })), &gone, &[("br1/ports/p/peer", "does not exist")]);
    let gone = change(&lab(), Change::DeletePort { cube: "br1".to_owned(), port: "p".to_owned() }, &facts()).unwrap();
    assert_eq!(gone.topology.points("a"), [], "what is attached to a port goes with it");
    let none = change(&lab(), Change::DeletePorts { cube: "br1".to_owned() }, &facts()).unwrap();
    assert_eq!(none.topology.get("br1").unwrap().1.ports().count(), 0);
}

#[test]
fn a_failed_plugin_takes_no_change_and_its_cube_can_go() {
    let mut facts = facts();
    facts.failed.insert(CubeName::parse("a").unwrap(), "panicked".to_owned());
    let failed = "the plugin of cube `a` failed (panicked): fix the plugin and run `services reload SERVICE`, or delete the \
                  cube and create it again";
    check_refused(configure("a", &["size"], Operation::Replace, 1.into()), &facts, &[("a", failed)]);
    check_refused(attach("a", "veth2"), &facts, &[("a", failed)]);
    let detached = Change::Detach { cube: "a".to_owned(), port: "br1:p".to_owned() };
    assert!(change(&lab(), detached, &facts).is_ok());
    assert!(change(&lab(), Change::DeleteCube { cube: "a".to_owned() }, &facts).is_ok());
}

#[test]
fn services_come_and_go_with_their_cubes() {
    let add =
        |name: &str| Change::AddService { name: name.to_owned(), service: service("third", ServiceKind::Transparent) };
    check(add("third"), |model| model.registry.service("third").is_ok().into(), true);
    check_refused(add("other"), &facts(), &[("services/name", "is service `third`, not `other`")]);
    check_refused(add("a"), &facts(), &[("services/name", "is the name of a cube")]);
    check_refused(add("tap"), &facts(), &[("services/name", "already loaded")]);
    let remove = |name: &str| Change::RemoveService { name: name.to_owned() };
    check_refused(remove("bridge"), &facts(), &[("services/bridge", "delete br1, br2 first")]);
    let without = change(&lab(), Change::DeleteCube { cube: "a".to_owned() }, &facts()).unwrap();
    assert!(change(&without, remove("tap"), &facts()).unwrap().registry.service("tap").is_err());
}

#[test]
fn the_input_of_an_action_is_checked_and_filled_in() {
    let Model { topology, registry, .. } = lab();
    let input = |cube: &str, path: &str, input: Value| {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let asked = action_input((&topology, &registry), cube, &path, input);
        asked
            .map(|asked| asked.call["input"].clone())
            .map_err(|Problems(problems)| format!("{}: {}", problems[0].path, problems[0]))
    };
    assert_eq!(input("a", "run", Value::Null), Ok(json!({ "times": 1 })));
    assert_eq!(input("a", "run", json!({ "times": 2 })), Ok(json!({ "times": 2 })));
    for (cube, path, given, expected) in [
        ("a", "run", json!({ "times": 0 }), "a/run/times: "),
        ("a", "rum", Value::Null, "a/rum: `rum` is not an action of service `tap`; did you mean `run`?"),
        ("br1", "run", Value::Null, "br1/run: `run` is not an action of service `bridge`"),
        ("x", "run", Value::Null, "x: cube `x` does not exist"),
    ] {
        let message = input(cube, path, given).unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn a_netdev_in_use_that_has_another_name_is_found() {
    let mut facts = facts();
    let changed = facts.present.set(ethernet(1, "lan0")).names;
    assert_eq!(renamed(&changed, &facts), BTreeMap::from([("veth1".to_owned(), "lan0".to_owned())]));
    let changed = facts.present.set(ethernet(2, "lan1")).names;
    assert_eq!(renamed(&changed, &facts), BTreeMap::new(), "veth2 is not in use");
    let mut topology = lab().topology;
    topology.rename_netdevs([("veth1".to_owned(), "lan0".to_owned())].into());
    assert_eq!(topology.port("br1", "p").unwrap().peer, Some(Point::Netdev("lan0".to_owned())));
}
