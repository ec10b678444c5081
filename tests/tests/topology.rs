//! Are the topology, its chains and the ports' counters shown correctly?

use std::thread;

use anyhow::{Context, Result};
use polycube_tests::capture::Recorder;
use polycube_tests::lab::Interface;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};

/// A bridge with two ports; `a` and `b` are attached to the first, `outer` to its netdev and to `veth3`, which is not a
/// peer.
fn scene() -> Result<Scene> {
    let commands = [
        "simplebridge add br1",
        "br1 ports add p1 peer=veth1",
        "br1 ports add p2 peer=veth2",
        "br1 ports add p3",
        "packetcapture add a",
        "packetcapture add b",
        "packetcapture add outer",
        "attach a br1:p1",
        "attach b br1:p1",
        "attach outer veth1",
        "attach outer veth3",
        "attach a veth3 position=last",
    ];
    Scene::set_up().peers(3).commands(commands).start()
}

#[test]
fn chains_are_shown_in_the_order_of_packets() -> Result<()> {
    let scene = scene()?;
    for (place, ingress, egress) in [
        ("veth1", "outer ---> b ---> a ---> br1:p1", "br1:p1 ---> a ---> b ---> outer"),
        ("br1:p1", "outer ---> b ---> a ---> br1:p1", "br1:p1 ---> a ---> b ---> outer"),
        ("br1:p2", "br1:p2", "br1:p2"),
        ("br1:p3", "br1:p3", "br1:p3"),
        ("veth3", "outer ---> a ---> stack", "stack ---> a ---> outer"),
    ] {
        let expected = json!({ "name": place, "ingress service chain": ingress, "egress service chain": egress });
        assert_eq!(scene.get(&format!("topology/{place}"))?, expected);
        let shown = scene.daemon.ctl(&format!("topology show {place}")).ok();
        assert!(shown.contains(&format!("ingress service chain: {ingress}\n")), "{shown}");
    }
    assert_eq!(scene.get("topology/lo")?, json!({ "name": "lo" }), "a netdev without any cube");
    for (place, reason) in [
        ("veth9", "netdev `veth9` does not exist; did you mean `veth1`?"),
        ("br1:p9", "port `p9` of cube `br1` does not exist"),
        ("br9:p1", "cube `br9` does not exist"),
    ] {
        let response = scene.daemon.http("GET", &format!("/polycube/v1/topology/{place}/"), None)?;
        assert_eq!(response.status, 400);
        assert!(response.text().contains(reason), "{}", response.text());
    }
    Ok(())
}

#[test]
fn the_topology_is_a_tree() -> Result<()> {
    let scene = scene()?;
    let expected = "\
a (packetcapture)
├─ at br1:p1
└─ at veth3
      in   outer ---> a ---> stack
      out  stack ---> a ---> outer
b (packetcapture)
└─ at br1:p1
br1 (simplebridge)
├─ p1 ─ veth1
│     in   outer ---> b ---> a ---> br1:p1
│     out  br1:p1 ---> a ---> b ---> outer
├─ p2 ─ veth2
└─ p3 ─ no peer
outer (packetcapture)
├─ at veth1
│     in   outer ---> b ---> a ---> br1:p1
│     out  br1:p1 ---> a ---> b ---> outer
└─ at veth3
      in   outer ---> a ---> stack
      out  stack ---> a ---> outer
";
    assert_eq!(scene.daemon.ctl("topology").ok(), expected);
    assert!(scene.daemon.ctl("topology show -verbose").ok().contains("uuid"));
    Ok(())
}

#[test]
fn a_missing_netdev_is_marked_and_keeps_its_chain() -> Result<()> {
    let scene = scene()?;
    for netdev in ["veth1", "veth3"] {
        Interface::find(scene.lab.host(), netdev)?.delete()?;
    }
    eventually("both to be marked as missing", || {
        let outer = scene.get("outer/points")?;
        let states = outer.as_array().into_iter().flatten().map(|point| point["status"].clone());
        Ok(states.collect::<Vec<_>>() == ["DOWN", "DOWN"])
    })?;
    assert_eq!(scene.get("b/points")?[0]["status"], "DOWN", "the port is down");
    let expected = "\
a (packetcapture)
├─ at br1:p1, DOWN (no netdev)
└─ at veth3, DOWN (no netdev)
      in   outer ---> a ---> stack
      out  stack ---> a ---> outer
b (packetcapture)
└─ at br1:p1, DOWN (no netdev)
br1 (simplebridge)
├─ p1 ─ veth1, DOWN (no netdev)
│     in   outer ---> b ---> a ---> br1:p1
│     out  br1:p1 ---> a ---> b ---> outer
├─ p2 ─ veth2
└─ p3 ─ no peer
outer (packetcapture)
├─ at veth1, DOWN (no netdev)
│     in   outer ---> b ---> a ---> br1:p1
│     out  br1:p1 ---> a ---> b ---> outer
└─ at veth3, DOWN (no netdev)
      in   outer ---> a ---> stack
      out  stack ---> a ---> outer
";
    assert_eq!(scene.daemon.ctl("topology").ok(), expected);
    let chain = scene.get("topology/veth1")?["ingress service chain"].clone();
    assert_eq!(chain, scene.get("br1/ports/p1")?["ingress-chain"]);
    Ok(())
}

#[test]
fn a_port_shows_its_netdev_chains_and_counters() -> Result<()> {
    let scene = scene()?;
    let port = |name: &str| scene.get(&format!("br1/ports/{name}"));
    let p1 = port("p1")?;
    let shown = |key: &str| p1[key].as_str().unwrap_or_default().to_owned();
    assert_eq!((shown("netdev"), shown("peer"), shown("status")), ("veth1".into(), "veth1".into(), "UP".into()));
    assert_eq!(shown("ingress-chain"), "outer ---> b ---> a ---> br1:p1");
    assert_eq!(shown("egress-chain"), "br1:p1 ---> a ---> b ---> outer");
    let p3 = port("p3")?;
    assert_eq!((&p3["netdev"], &p3["counters"]), (&json!(""), &Value::Null));

    let count =
        |name: &str, key: &str| port(name)?["counters"][key].as_u64().with_context(|| format!("no {key} of {name}"));
    let keys = ["in-packets", "in-bytes", "out-packets", "out-bytes"];
    let all = |name: &str| keys.iter().map(|key| count(name, key)).collect::<Result<Vec<u64>>>();
    let (near, far) = (all("p1")?, all("p2")?);
    let recorder = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 200, 5))?;
    recorder.wait_for(5, PATIENCE)?;
    let grown = |before: &[u64], after: &[u64]| after.iter().zip(before).map(|(a, b)| a - b).collect::<Vec<_>>();
    assert_eq!(grown(&near, &all("p1")?), [5, 1000, 0, 0]);
    assert_eq!(grown(&far, &all("p2")?), [0, 0, 5, 1000]);
    assert_eq!(scene.get("br1/ports/p1/counters/in-packets")?, count("p1", "in-packets")?);
    let text = scene.daemon.ctl("br1 ports p1 show").ok();
    for line in ["peer: veth1\n", "ingress-chain: outer ---> b ---> a ---> br1:p1\n", "counters:\n", " in-packets: "] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    for (path, body) in [("br1/ports/p1/counters", json!({})), ("br1/ports/p1/netdev", json!("veth2"))] {
        let refused = scene.daemon.http("PATCH", &format!("/polycube/v1/{path}/"), Some(&body))?;
        assert_eq!((refused.status, refused.text().contains("is read-only")), (400, true), "{}", refused.text());
    }
    Ok(())
}

/// The kernel dumps the netdevs to a socket only one request at a time.
#[test]
fn many_clients_read_at_once() -> Result<()> {
    let scene = scene()?;
    let attach = json!({ "cube": "a", "port": "veth" });
    let requests = [("GET", "br1", None), ("GET", "netdevs", None), ("POST", "attach", Some(&attach))];
    let ask = |client: usize| -> Result<Vec<_>> {
        let turns = (client..client + 30).map(|turn| requests[turn % requests.len()]);
        turns
            .map(|(method, path, body)| {
                let status = scene.daemon.http(method, &format!("/polycube/v1/{path}/"), body)?.status;
                Ok((path, status))
            })
            .collect()
    };
    let answers = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|client| scope.spawn(move || ask(client))).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect::<Result<Vec<_>>>()
    })?;
    let expected = [("br1", 200), ("netdevs", 200), ("attach", 400)];
    let unexpected: Vec<_> = answers.into_iter().flatten().filter(|answer| !expected.contains(answer)).collect();
    assert_eq!(unexpected, []);
    Ok(())
}

#[test]
fn a_netdev_shows_its_addresses() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let addresses = || Ok::<_, anyhow::Error>(scene.get("netdevs/veth1")?["addresses"].clone());
    assert_eq!(addresses()?, json!([]));
    let given = ["192.0.2.1/24", "2001:db8::1/64"];
    for address in given {
        scene.host(1).add_address(address)?;
    }
    let shown = addresses()?;
    let has = |address: &str| shown.as_array().is_some_and(|shown| shown.contains(&json!(address)));
    assert!(given.into_iter().all(has), "{shown}");
    Ok(())
}
