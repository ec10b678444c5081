//! What the state says in every condition, and what is refused before it comes to that.

use anyhow::{Result, ensure};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::Protocol::Udp;
use serde_json::Value;

use super::stage::{Stage, assert_frames};

/// Waits until the status is `expected`; if it does not become that, says what it is.
#[track_caller]
fn becomes(stage: &Stage, expected: &str) -> Result<()> {
    let mut last = String::new();
    let found = eventually("the status", || {
        last = stage.status()?;
        Ok(last == expected)
    });
    assert!(found.is_ok(), "the status is `{last}`, not `{expected}`");
    Ok(())
}

/// Runs `ip` on the daemon's machine.
fn ip(stage: &Stage, line: &str) -> Result<()> {
    let status = stage.scene.lab.host().command("ip").args(line.split(' ')).status()?;
    ensure!(status.success(), "ip {line}: {status}");
    Ok(())
}

#[test]
fn a_mirror_says_where_it_is_attached_while_no_packets_pass_there() -> Result<()> {
    let stage = Stage::unmirrored()?;
    stage.scene.daemon.ctl("span add s1 target=veth9").ok();
    assert_eq!(stage.status()?, "not attached");
    for line in ["br1 ports add p3", "br1 ports add p4", "attach s1 br1:p3", "attach s1 br1:p4"] {
        stage.scene.daemon.ctl(line).ok();
    }
    assert_eq!(stage.status()?, "attached to br1:p3, which has no peer; attached to br1:p4, which has no peer");
    stage.scene.daemon.ctl("attach s1 br1:toveth1").ok();
    assert_eq!(stage.status()?, "mirroring to veth9");
    for place in ["br1:p3", "br1:p4", "br1:toveth1"] {
        stage.scene.daemon.ctl(&format!("detach s1 {place}")).ok();
    }
    assert_eq!(stage.status()?, "not attached");
    let _wire = stage.scene.lab.veth("veth7", stage.wire.peer.namespace(), "eth7")?;
    stage.scene.daemon.ctl("attach s1 veth7").ok();
    ip(&stage, "link del veth7")?;
    becomes(&stage, "attached to veth7, which does not exist")
}

#[test]
fn a_netdev_that_is_down_or_has_no_carrier_is_waited_for() -> Result<()> {
    let stage = Stage::new("target=veth9")?;
    let packet = [stage.scene.flow(1, 2).frame(Udp, 60, 1)];
    stage.wire.host.down()?;
    becomes(&stage, "waiting for the netdev `veth9`, which is down")?;
    assert!(stage.copies(1, &packet, 0)?.is_empty());
    assert_eq!((stage.counter("no-way")?, stage.counter("mirrored-packets")?), (1, 0));
    stage.wire.host.up()?;
    stage.wire.peer.down()?;
    becomes(&stage, "waiting for the netdev `veth9`, which has no carrier")?;
    stage.wire.peer.up()?;
    becomes(&stage, "mirroring to veth9")?;
    assert_frames(&stage.copies(1, &packet, 1)?, &packet);
    Ok(())
}

#[test]
fn a_target_port_whose_netdev_is_down_is_waited_for() -> Result<()> {
    let stage = Stage::new("target=br2:in")?;
    for line in ["simplebridge add br2", "br2 ports add in peer=veth9"] {
        stage.scene.daemon.ctl(line).ok();
    }
    becomes(&stage, "mirroring into br2:in, at veth9")?;
    stage.wire.host.down()?;
    becomes(&stage, "waiting for the netdev `veth9` at br2:in, which is down")
}

/// The target becomes the peer of a port that is mirrored, when nobody asks the mirror.
#[test]
fn a_loop_that_comes_later_stops_the_mirror_and_is_reported_after_a_restart_too() -> Result<()> {
    let scene = Scene::set_up().peers(2).bridge().kept().start()?;
    let wire = scene.lab.veth("veth9", &scene.lab.peer("collector")?, "eth0")?;
    let mut stage = Stage { scene, wire };
    for line in ["br1 ports add p3", "span add s1 target=veth9", "attach s1 br1:toveth1", "attach s1 br1:p3"] {
        stage.scene.daemon.ctl(line).ok();
    }
    becomes(&stage, "mirroring to veth9")?;
    stage.scene.daemon.ctl("br1 ports p3 set peer=veth9").ok();
    let why = "`veth9` is what is mirrored, at br1:p3: copies would be mirrored again";
    becomes(&stage, why)?;
    stage.scene.daemon.kill9()?;
    stage.scene.daemon.restart()?;
    becomes(&stage, why)?;
    assert_eq!(stage.state()?["failure"], Value::Null);
    // Now somebody asks.
    let refused = stage.scene.daemon.ctl("s1 set snaplen=100").fails(2);
    assert!(refused.contains("target=veth9 is what is mirrored, at br1:p3"), "{refused}");
    stage.scene.daemon.ctl("br1 ports p3 set peer=").ok();
    becomes(&stage, "mirroring to veth9")
}

#[test]
fn a_mirror_is_not_created_where_it_would_mirror_itself() -> Result<()> {
    let stage = Stage::unmirrored()?;
    ip(&stage, "link property add dev veth1 altname uplink")?;
    for target in ["veth1", "uplink", "br1:toveth1"] {
        let refused = stage.scene.daemon.ctl(&format!("span add s1 target={target} parent=br1:toveth1")).fails(2);
        assert!(refused.contains(&format!("target={target} is what is mirrored")), "{refused}");
    }
    Ok(())
}

/// Unlike a netdev or a port that does not exist yet.
#[test]
fn a_target_that_can_never_exist_is_refused() -> Result<()> {
    let stage = Stage::new("target=later0")?;
    stage.scene.daemon.ctl("s1 set target=br7:later").ok();
    let long = "x".repeat(40);
    let daemon = &stage.scene.daemon;
    for (target, why) in [
        ("br1:", "port name \"\" is empty"),
        ("a b", "`a b` cannot be the name of a netdev"),
        (&long, "cannot be the name of a netdev, which has at most 15 bytes"),
        ("br1", "`br1` is a cube: name one of its ports, br1:PORT"),
        ("s1", "`s1` is a cube"),
    ] {
        let refused = daemon.ctl_words(&["s1", "set", &format!("target={target}")]).fails(2);
        assert!(refused.contains(why), "{target}: {refused}");
    }
    assert_eq!(stage.state()?["target"], "br7:later");
    Ok(())
}

/// The tap device by which plugins send packets is there as soon as a cube may send some.
#[test]
fn the_daemons_own_tap_device_is_refused_and_not_offered() -> Result<()> {
    let stage = Stage::new("target=veth9")?;
    let daemon = &stage.scene.daemon;
    daemon.ctl("transparenthelloworld add t1").ok();
    for line in ["s1 set target=pcnin0", "br1 ports add px peer=pcnin0", "attach t1 pcnin0", "connect br1:p9 pcnin0"] {
        if line.starts_with("connect") {
            daemon.ctl("br1 ports add p9").ok();
        }
        let refused = daemon.ctl(line).fails(2);
        assert!(refused.contains("`pcnin0` is the daemon's own"), "{line}: {refused}");
    }
    for words in ["s1 set target=", "br1 ports add px peer=", "attach t1 "] {
        let words: Vec<&str> = ["--complete"].into_iter().chain(words.split(' ')).collect();
        let offered = daemon.ctl_words(&words).ok();
        assert!(offered.contains("veth9") && !offered.contains("pcnin"), "{words:?}: {offered}");
    }
    Ok(())
}

#[test]
fn a_collector_that_no_packet_gets_to_says_why() -> Result<()> {
    let stage = Stage::unmirrored()?.addressed()?;
    stage.mirror("");
    for line in [
        "route add blackhole 10.7.1.0/24",
        "route add unreachable 10.7.2.0/24",
        "route add prohibit 10.7.3.0/24",
        "-6 route add blackhole fd07:1::/64",
        "-6 route add unreachable fd07:2::/64",
    ] {
        ip(&stage, line)?;
    }
    let own = "is an address of this machine, where nothing would arrive: to mirror to a netdev, set `target`";
    for (address, why) in [
        ("10.7.0.1", "there is no route to 10.7.0.1".to_owned()),
        ("10.7.1.1", "the route to 10.7.1.1 is of the type `blackhole`: nothing is sent there".to_owned()),
        ("10.7.2.1", "the route to 10.7.2.1 is of the type `unreachable`: nothing is sent there".to_owned()),
        ("10.7.3.1", "the route to 10.7.3.1 is of the type `prohibit`: nothing is sent there".to_owned()),
        ("10.9.0.255", "the route to 10.9.0.255 is of the type `broadcast`: nothing is sent there".to_owned()),
        ("fd07:1::1", "the route to fd07:1::1 is of the type `blackhole`: nothing is sent there".to_owned()),
        ("fd07:2::1", "the route to fd07:2::1 is of the type `unreachable`: nothing is sent there".to_owned()),
        ("10.9.0.1", format!("10.9.0.1 {own}")),
        ("127.0.0.9", format!("127.0.0.9 {own}")),
        ("fd09::1", format!("fd09::1 {own}")),
    ] {
        stage.scene.daemon.ctl(&format!("s1 collector set address={address}")).ok();
        assert_eq!(stage.status()?, why);
    }
    assert!(stage.copies(1, &[stage.scene.flow(1, 2).frame(Udp, 60, 1)], 0)?.is_empty());
    assert_eq!((stage.counter("no-way")?, stage.counter("mirrored-packets")?), (1, 0));
    Ok(())
}

#[test]
fn whether_a_collector_answers_is_unknown_until_it_is_asked() -> Result<()> {
    let stage = Stage::unmirrored()?.addressed()?;
    stage.mirror("");
    stage.scene.daemon.ctl("s1 collector set address=10.9.0.2").ok();
    let answers = || anyhow::Ok(stage.state()?["way"]["answers"].clone());
    assert_eq!(answers()?, Value::Null);
    stage.copies(1, &[stage.scene.flow(1, 2).frame(Udp, 60, 1)], 1)?;
    eventually("an answer", || Ok(answers()? == true))
}

#[test]
fn an_address_that_is_none_is_refused_where_it_stands() -> Result<()> {
    let stage = Stage::new("target=veth9")?;
    for (setting, why) in [
        ("address=foo", "`foo` is not an IP address: give one such as 192.0.2.9 or 2001:db8::9"),
        ("source=10.0.0.0/8", "`10.0.0.0/8` is not an IP address"),
        ("address=fe80::9%eth0", "`fe80::9%eth0` is not an IP address"),
    ] {
        let refused = stage.scene.daemon.ctl(&format!("s1 collector set {setting}")).fails(2);
        let (leaf, _) = setting.split_once('=').unwrap();
        assert!(refused.contains(&format!("{leaf}: {why}")), "{setting}: {refused}");
    }
    stage.scene.daemon.ctl("s1 set target=").ok();
    let refused = stage.scene.daemon.ctl("s1 collector set address=fe80::9").fails(2);
    assert!(refused.contains("fe80::9 is link-local, which does not say by which netdev"), "{refused}");
    Ok(())
}
