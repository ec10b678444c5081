use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn cube(role: Role) -> Cube {
    Cube {
        uuid: String::new(),
        service: "some".to_owned(),
        loglevel: LogLevel::Info,
        config: Value::Null,
        role,
        ephemeral: None,
    }
}

fn lab() -> Topology {
    let mut topology = Topology::default();
    topology.add_cube(CubeName::parse("br1").unwrap(), cube(Role::Standard(OrdMap::new()))).unwrap();
    topology.add_port("br1", PortName::parse("p").unwrap(), String::new()).unwrap();
    for name in ["a", "b", "c", "d"] {
        topology.add_cube(CubeName::parse(name).unwrap(), cube(Role::Transparent)).unwrap();
    }
    topology
}

#[track_caller]
fn check(point: &str, steps: &[(&str, Place)], wanted: &str) {
    let mut topology = lab();
    let point = Point::parse(point).unwrap();
    for (name, place) in steps {
        topology.attach(name, point.clone(), place).unwrap();
    }
    let chain: Vec<_> = topology.chain(&point).iter().map(|attachment| attachment.cube.as_str()).collect();
    assert_eq!(chain.join(" "), wanted);
}

#[test]
fn places_are_counted_as_the_original_counts_them() {
    use Place::*;
    let before = |cube: &str| Before(cube.to_owned());
    let after = |cube: &str| After(cube.to_owned());
    check("br1:p", &[("a", First), ("b", Last), ("c", after("a")), ("d", before("b"))], "a c d b");
    check("br1:p", &[("a", Auto), ("b", Auto)], "a b");
    check("veth1", &[("a", Auto), ("b", Auto)], "b a");
}

#[test]
fn a_wrong_attachment_is_refused_and_changes_nothing() {
    let mut topology = lab();
    let point = || Point::parse("br1:p").unwrap();
    topology.attach("a", point(), &Place::Auto).unwrap();
    let before = topology.clone();
    let veth = || Point::Netdev("veth1".to_owned());
    for (result, reason) in [
        (topology.attach("a", point(), &Place::Auto), "already attached to br1:p"),
        (topology.attach("br1", veth(), &Place::Auto), "is not transparent"),
        (topology.attach("b", Point::parse("a:p").unwrap(), &Place::Auto), "`a` is transparent"),
        (topology.attach("b", Point::parse("br1:q").unwrap(), &Place::Auto), "port `q` of cube `br1` does not exist"),
        (topology.attach("b", Point::parse("br2:p").unwrap(), &Place::Auto), "did you mean `br1`"),
        (topology.attach("b", point(), &Place::After("c".to_owned())), "`c` is not attached to br1:p"),
        (topology.detach("b", &point()), "`b` is not attached to anything"),
        (topology.detach("a", &veth()), "not attached to veth1, but to br1:p"),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(topology, before);
}

#[test]
fn what_goes_takes_its_attachments_along() {
    let mut topology = lab();
    topology.attach("a", Point::parse("br1:p").unwrap(), &Place::Auto).unwrap();
    topology.remove_port("br1", "p").unwrap();
    assert_eq!(topology.points("a"), []);
    topology.attach("a", Point::Netdev("veth1".to_owned()), &Place::Auto).unwrap();
    topology.remove_cube("a").unwrap();
    assert_eq!(topology.chains().count(), 0);
}

#[test]
fn a_netdev_is_the_peer_of_one_port() {
    let mut topology = lab();
    topology.add_port("br1", PortName::parse("q").unwrap(), String::new()).unwrap();
    topology.set_peer("br1", "p", Some(Point::parse("veth1").unwrap())).unwrap();
    let message = topology.set_peer("br1", "q", Some(Point::parse("veth1").unwrap())).unwrap_err().message;
    assert_eq!(message, "netdev `veth1` is already the peer of br1:p: disconnect it there first");
    topology.set_peer("br1", "p", None).unwrap();
    topology.set_peer("br1", "q", Some(Point::parse("veth1").unwrap())).unwrap();
}

#[test]
fn the_lowest_free_id_is_given_out() {
    let mut topology = lab();
    for name in ["q", "r"] {
        topology.add_port("br1", PortName::parse(name).unwrap(), String::new()).unwrap();
    }
    topology.remove_port("br1", "q").unwrap();
    topology.add_port("br1", PortName::parse("s").unwrap(), String::new()).unwrap();
    assert_eq!(topology.port("br1", "s").unwrap().id, 1);
}

#[test]
fn a_cube_at_several_points_keeps_each_ones_id() {
    let mut topology = lab();
    topology.add_port("br1", PortName::parse("q").unwrap(), String::new()).unwrap();
    let points = ["veth1", "br1:p", "br1:q"].map(|point| Point::parse(point).unwrap());
    for point in &points {
        topology.attach("a", point.clone(), &Place::Auto).unwrap();
    }
    assert_eq!(topology.points("a"), [(0, &points[0]), (1, &points[1]), (2, &points[2])]);
    topology.detach("a", &points[0]).unwrap();
    topology.attach("b", points[1].clone(), &Place::First).unwrap();
    assert_eq!(topology.points("a"), [(1, &points[1]), (2, &points[2])]);
    topology.remove_port("br1", "p").unwrap();
    assert_eq!((topology.points("a"), topology.points("b")), (vec![(2, &points[2])], vec![]));
    topology.attach("a", points[0].clone(), &Place::Auto).unwrap();
    assert_eq!(topology.points("a"), [(0, &points[0]), (2, &points[2])]);
    let message = topology.detach("a", &Point::parse("veth2").unwrap()).unwrap_err().message;
    assert_eq!(message, "cube `a` is not attached to veth2, but to veth1, br1:q");
}

#[test]
fn netdevs_that_take_each_others_names_are_told_apart() {
    #[track_caller]
    fn check(renames: &[(&str, &str)], peers: [&str; 2], at: &str) {
        let mut topology = lab();
        topology.add_port("br1", PortName::parse("q").unwrap(), String::new()).unwrap();
        topology.set_peer("br1", "p", Some(Point::parse("veth1").unwrap())).unwrap();
        topology.set_peer("br1", "q", Some(Point::parse("veth2").unwrap())).unwrap();
        topology.attach("a", Point::parse("veth1").unwrap(), &Place::Auto).unwrap();
        topology.rename_netdevs(renames.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect());
        let peer = |port| topology.port("br1", port).unwrap().peer.clone().unwrap().to_string();
        assert_eq!([peer("p"), peer("q")], peers);
        assert_eq!(topology.points("a")[0].1.to_string(), at);
    }
    check(&[("veth1", "lan0")], ["lan0", "veth2"], "lan0");
    check(&[("veth1", "veth2"), ("veth2", "veth1")], ["veth2", "veth1"], "veth2");
    check(&[("veth1", "veth2"), ("veth2", "tmp0")], ["veth2", "tmp0"], "veth2");
    check(&[("veth1", "veth2")], ["veth1", "veth2"], "veth1");
}

/// What the topology reads off its cubes and chains has to be what they say.
#[track_caller]
fn assert_indexes_agree(topology: &Topology) {
    let mut owners = BTreeMap::new();
    for (cube, found) in topology.cubes() {
        for (port, found) in found.ports() {
            if let Some(Point::Netdev(netdev)) = &found.peer {
                let before = owners.insert(netdev.clone(), (cube.clone(), port.clone()));
                assert_eq!(before, None, "{netdev} is the peer of two ports");
            }
        }
    }
    let indexed: BTreeMap<_, _> =
        topology.owners.iter().map(|(netdev, owner)| (netdev.clone(), owner.clone())).collect();
    assert_eq!(indexed, owners);
    let mut attached = BTreeMap::<CubeName, BTreeMap<u32, Point>>::new();
    for (point, chain) in topology.chains() {
        assert!(!chain.is_empty(), "an empty chain at {point}");
        for Attachment { cube, id, .. } in chain {
            let before = attached.entry(cube.clone()).or_default().insert(*id, point.clone());
            assert_eq!(before, None, "{cube} has the id {id} twice");
        }
    }
    let indexed: BTreeMap<CubeName, BTreeMap<u32, Point>> = topology
        .attached
        .iter()
        .map(|(cube, points)| (cube.clone(), points.iter().map(|(id, point)| (*id, point.clone())).collect()))
        .collect();
    assert_eq!(indexed, attached);
}

proptest! {
    #[test]
    fn indexes_and_differences_are_right_after_any_edits(edits in prop::collection::vec((0_usize..8, 0_usize..4, 0_usize..4, 0_usize..5), 1..60)) {
        const CUBES: [&str; 4] = ["a", "b", "br1", "br2"];
        const PORTS: [&str; 4] = ["p", "q", "r", "s"];
        const NETDEVS: [&str; 5] = ["veth1", "veth2", "veth3", "br1:p", "br2:q"];
        let mut topology = Topology::default();
        for (what, one, two, three) in edits {
            let (name, port) = (CUBES[one], PORTS[two]);
            let point = Point::parse(NETDEVS[three]).unwrap();
            let before = topology.clone();
            // An edit that is refused changes nothing.
            let edited = match what {
                0 | 1 => {
                    let role = if one < 2 { Role::Transparent } else { Role::Standard(OrdMap::new()) };
                    topology.add_cube(CubeName::parse(name).unwrap(), cube(role))
                }
                2 => topology.add_port(name, PortName::parse(port).unwrap(), String::new()),
                3 => topology.set_peer(name, port, Some(point)),
                4 => topology.attach(name, point, &Place::Auto),
                5 => topology.detach(name, &point),
                6 => topology.remove_port(name, port),
                _ if two == 0 => topology.remove_cube(name),
                _ => {
                    let names = [("veth1", "veth2"), ("veth2", "veth1"), ("veth3", "lan0"), ("lan0", "veth3")];
                    let names = names.into_iter().take(three).map(|(old, new)| (old.to_owned(), new.to_owned()));
                    topology.rename_netdevs(names.collect());
                    Ok(())
                }
            };
            if edited.is_err() {
                prop_assert_eq!(&topology, &before);
            }
            assert_indexes_agree(&topology);
            let difference = before.difference(&topology);
            for name in CUBES {
                let differs = before.get(name).map(|(_, cube)| cube) != topology.get(name).map(|(_, cube)| cube);
                prop_assert_eq!(difference.cubes.contains(name), differs, "{}", name);
            }
            let points = before.chains().chain(topology.chains()).map(|(point, _)| point.clone());
            let changed: std::collections::BTreeSet<Point> =
                points.filter(|point| before.chain(point) != topology.chain(point)).collect();
            prop_assert_eq!(difference.points, changed);
        }
    }
}
