//! Which part a step is about, and what a plugin is asked with.

use serde_json::{Value, json};

use super::super::{part_of, request};
use super::*;
use crate::plan::Step;
use crate::wiring::fixture::Model as Fixture;
use crate::wiring::{MapId, NodeId, NodeKey, Source};

fn node(cube: &str) -> NodeId {
    let key = NodeKey { cube: name(cube), point: 0, direction: Direction::Ingress, stage: 0 };
    NodeId { key, revision: 1 }
}

fn map(cube: &str) -> MapId {
    MapId { cube: name(cube), name: "data".to_owned(), revision: 1 }
}

fn netdev() -> Netdev {
    Netdev { ifindex: 11, name: "veth1".to_owned() }
}

fn hook() -> Hook {
    Hook { netdev: netdev(), direction: Direction::Egress }
}

fn link(from: Source, to: Option<&str>) -> Step {
    Step::Link { from, to: to.map(node), was: Some(node("was")) }
}

#[test]
fn what_a_step_fails_at_is_to_blame() {
    let (cube, netdev) = (|| Some(Part::Cube(name("br1"))), || Some(Part::Netdev(netdev())));
    for (step, expected) in [
        (Step::CreateMap(map("br1")), cube()),
        (Step::SetPort { map: map("br1"), port: 0, ifindex: 11, was: 0 }, cube()),
        (Step::Load(node("br1")), cube()),
        (Step::Prepare(name("br1")), cube()),
        // The cube whose slot it is, whatever the slot holds.
        (link(Source::Node(node("br1")), Some("other")), cube()),
        (link(Source::Accept(node("br1")), None), cube()),
        (link(Source::Root(hook()), Some("other")), netdev()),
        (Step::LoadRoot(hook(), 0), netdev()),
        (Step::SetRootPort { hook: hook(), port: 1, was: 0 }, netdev()),
        (Step::Attach(hook()), netdev()),
        (Step::AwaitAttach(hook()), netdev()),
        (Step::Wait, None),
    ] {
        assert_eq!(part_of(&step), expected, "{step:?}");
    }
}

/// Asserts the JSON that the plugin of a cube is asked with.
#[track_caller]
fn check_request(fixture: &Fixture, cube: &str, expected: &Value) {
    let (cube_name, found) = fixture.topology.get(cube).unwrap();
    let text = request(cube_name, found, (&fixture.topology, &fixture.netdevs), &Registry::new().unwrap());
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), *expected, "{cube}");
}

#[test]
fn a_standard_cube_is_asked_with_its_ports_and_those_that_are_down() {
    let mut fixture = Fixture::new()
        .bridge("br2", &[("p", "veth8")])
        .bridge("br1", &[("p", "veth1"), ("q", "veth9"), ("r", "br2:p")]);
    fixture.topology.cube_mut("br1").unwrap().config = json!({ "aging": 300 });
    let ports = |link: Option<&str>| {
        json!({
            "config": { "aging": 300 },
            "ports": [
                { "id": 0, "name": "p", "netdev": "veth1" },
                { "id": 1, "name": "q", "netdev": null },
                { "id": 2, "name": "r", "netdev": link },
            ],
            "points": [],
        })
    };
    check_request(&fixture, "br1", &ports(None));
    let end = Netdev { ifindex: 31, name: "pcn0a".to_owned() };
    fixture.netdevs.link((name("br1"), PortName::parse("r").unwrap()), Some(end));
    check_request(&fixture, "br1", &ports(Some("pcn0a")));
}

#[test]
fn a_transparent_cube_is_asked_with_its_points() {
    let fixture = Fixture::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p").also("a", "lo").also("a", "veth9");
    let mut fixture = fixture.also("a", "veth2");
    fixture.netdevs.name("lo", Some(1));
    let expected = json!({
        "config": null,
        "ports": [],
        "points": [
            { "id": 0, "name": "br1:p", "netdev": "veth1", "is_loopback": false, "is_raw_ip": false, "peer": "veth1" },
            { "id": 1, "name": "lo", "netdev": "lo", "is_loopback": true, "is_raw_ip": false },
            { "id": 2, "name": "veth9", "netdev": null, "is_loopback": false, "is_raw_ip": false },
            { "id": 3, "name": "veth2", "netdev": "veth2", "is_loopback": false, "is_raw_ip": false },
        ],
    });
    check_request(&fixture, "a", &expected);
}

#[test]
fn what_does_not_concern_a_cube_does_not_change_its_request() {
    let fixture = Fixture::new().bridge("br1", &[("p", "veth1")]).tap("a", "br1:p");
    let ask = |fixture: &Fixture, cube: &str| {
        let (cube_name, found) = fixture.topology.get(cube).unwrap();
        request(cube_name, found, (&fixture.topology, &fixture.netdevs), &Registry::new().unwrap())
    };
    let mut changed = fixture.clone().tap("b", "br1:p").bridge("br2", &[("p", "veth2")]);
    changed.netdevs.name("veth1", Some(99));
    for cube in ["br1", "a"] {
        assert_eq!(ask(&fixture, cube), ask(&changed, cube), "{cube}");
    }
    changed.netdevs.name("veth1", None);
    for cube in ["br1", "a"] {
        assert_ne!(ask(&fixture, cube), ask(&changed, cube), "{cube}");
    }
}
