//! Does what stands beside a cube's program work: a program on the way out, programs that it jumps to, lines to the log?
//!
//! The frames show it: the fixture's programs write marks into them at byte 100.

use anyhow::{Context as _, Result};
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::Interface;
use polycube_tests::marks::FRAME;
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, Steady, sequence_of};
use serde_json::{Value, json};

const MARKS: std::ops::Range<usize> = 100..103;

/// A cube `b1` that joins the peers.
fn lab(settings: &str) -> Result<Scene> {
    let scene = Scene::set_up().peers(2).fixtures(["beside", "marker"]).kept().start()?;
    for line in [
        format!("beside add b1 {settings}"),
        "b1 ports add p1 peer=veth1".to_owned(),
        "b1 ports add p2 peer=veth2".to_owned(),
    ] {
        scene.daemon.ctl(&line).ok();
    }
    Ok(scene)
}

/// The marks in the last frame that gets from an interface to a peer; `None` if none does.
fn marks(scene: &Scene, from: &Interface, to: usize) -> Result<Option<String>> {
    let recorder = Recorder::start(scene.peer(to))?;
    let flow = scene.flow(3 - to, to);
    let frames = flow.frames(Protocol::Udp, FRAME, 3);
    let sender = Sender::open(from)?;
    sender.send(&frames)?;
    // Fails where the frames are dropped; the recording shows how many came.
    let _ = recorder.wait_for(3, std::time::Duration::from_millis(500));
    let recording = recorder.stop()?;
    let ours: Vec<_> = recording.going(Direction::In).into_iter().filter(|seen| seen.bytes.len() == FRAME).collect();
    let text = |bytes: &[u8]| bytes.iter().map(|byte| if *byte < 32 { '.' } else { char::from(*byte) }).collect();
    assert!([0, 3].contains(&ours.len()), "some of the frames are lost");
    Ok(ours.last().map(|seen| text(&seen.bytes[MARKS])))
}

fn lines_with(scene: &Scene, text: &str) -> usize {
    scene.daemon.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
fn what_leaves_a_port_passes_the_program_on_the_way_out() -> Result<()> {
    let scene = lab("")?;
    let daemon = &scene.daemon;
    let mark = |from: &Interface, to| marks(&scene, from, to);
    assert!(!programs_attached(daemon.host(), "veth2")?.is_empty());
    let hooks = || Ok::<_, anyhow::Error>(programs_attached(daemon.host(), "veth2")?.len());
    assert_eq!(hooks()?, 1, "without a program on the way out there is nothing there");
    let sent = mark(scene.peer(1), 2)?.context("a frame")?;
    assert!(sent.starts_with('m') && !sent.ends_with('B'), "{sent}");

    daemon.ctl("b1 set leaves=true").ok();
    assert_eq!(hooks()?, 2);
    let ends = |from: &Interface, to| Ok::<_, anyhow::Error>(mark(from, to)?.and_then(|marks| marks.chars().last()));
    assert_eq!(ends(scene.peer(1), 2)?, Some('B'));
    assert_eq!(ends(scene.peer(2), 1)?, Some('A'), "each port has its own id there");
    assert_eq!(ends(scene.host(1), 1)?, Some('A'), "what the host itself sends");

    daemon.ctl("b1 set closed=1").ok();
    assert_eq!(mark(scene.peer(1), 2)?, None);
    assert_eq!(ends(scene.peer(2), 1)?, Some('A'));

    // The cubes at the port come after it.
    daemon.ctl("b1 set closed=0").ok();
    daemon.ctl("marker add m1 mark=77").ok();
    daemon.ctl("attach m1 b1:p2").ok();
    assert_eq!(
        mark(scene.peer(1), 2)?.map(|marks| (marks.chars().next(), marks.chars().last())),
        Some((Some('M'), Some('B')))
    );
    daemon.ctl("b1 set leaves=false").ok();
    daemon.ctl("detach m1 b1:p2").ok();
    assert_eq!(hooks()?, 1);
    Ok(())
}

#[test]
fn what_leaves_by_a_link_between_cubes_passes_the_program_too() -> Result<()> {
    let scene = lab("leaves=true loglevel=DEBUG mark=120")?;
    let daemon = &scene.daemon;
    for line in [
        "b1 ports del p2",
        "beside add b2 leaves=true loglevel=DEBUG mark=121",
        "b1 ports add p2",
        "b2 ports add p1",
        "b2 ports add p2 peer=veth2",
        "connect b1:p2 b2:p1",
    ] {
        daemon.ctl(line).ok();
    }
    let sent = marks(&scene, scene.peer(1), 2)?.context("a frame")?;
    assert!(sent.starts_with('y') && sent.ends_with('B'), "{sent}");
    for cube in ["b1", "b2"] {
        let says = |line: &str| line.contains(&format!("cube=\"{cube}\"")) && line.contains("by port 1, 10000000000");
        eventually(cube, || Ok(daemon.log().lines().any(says)))?;
    }
    Ok(())
}

#[test]
fn a_program_on_the_way_out_comes_and_goes_under_traffic() -> Result<()> {
    let scene = lab("")?;
    let recorder = Recorder::start(scene.peer(2))?;
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), FRAME, 2_000_000)?;
    for round in 0..12 {
        steady.wait_for(64)?;
        scene.daemon.ctl(&format!("b1 set leaves={} target={}", round % 2 == 0, round / 2 % 2)).ok();
    }
    steady.wait_for(64)?;
    let sent = steady.stop()?;
    let _ = recorder.wait_for(sent as usize, PATIENCE);
    let recording = recorder.stop()?;
    assert_eq!(recording.drops, 0, "the recorder lost frames");
    let frames = recording.going(Direction::In).into_iter().filter(|frame| frame.bytes.len() == FRAME);
    let numbers: Vec<_> = frames.map(|frame| sequence_of(&frame.bytes)).collect();
    assert!(numbers.iter().copied().eq((0..sent).map(Some)), "{} of {sent} frames arrived in order", numbers.len());
    Ok(())
}

#[test]
fn programs_jump_to_each_other_by_index() -> Result<()> {
    let scene = lab("leaves=true")?;
    let daemon = &scene.daemon;
    let sent = |settings: &str| {
        daemon.ctl(&format!("b1 set {settings}")).ok();
        marks(&scene, scene.peer(1), 2)
    };
    assert!(sent("mark=97")?.is_some_and(|marks| marks.starts_with('a') && marks.ends_with('B')));
    assert_eq!(sent("target=1 mark=98")?.as_deref(), Some("bjB"), "a target jumps on");
    assert_eq!(sent("target=3")?, None, "the program goes on after a slot that is empty");
    eventually("a line of the program", || Ok(lines_with(&scene, "nothing at 3") > 0))?;
    assert_eq!(sent("target=2")?, None, "the kernel ends a circle");
    eventually("a line of the program", || Ok(lines_with(&scene, "33 tail calls") > 0))?;
    assert_eq!(sent("target=1")?.as_deref(), Some("bjB"));

    for (settings, expected) in [
        ("extra=0", "target 0 of `calls` (around) has the index of another target of the map"),
        ("extra=4", "target 4 of `calls` (around) is past the end of the map, which has 4 slots"),
    ] {
        let line = daemon.ctl(&format!("b1 set {settings}")).one_line(2);
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(marks(&scene, scene.peer(1), 2)?.as_deref(), Some("bjB"), "a refused change leaves what was there");
    Ok(())
}

/// What is in the kernel, by its ids and pins.
fn kernel(scene: &Scene) -> Result<Value> {
    let mut found = json!({});
    for netdev in ["veth1", "veth2"] {
        let programs = programs_attached(scene.lab.host(), netdev)?;
        found[netdev] = programs.iter().map(|one| json!([one.program, one.link, one.name])).collect();
    }
    found["pins"] = scene.daemon.pins()?.iter().map(|path| path.display().to_string()).collect();
    Ok(found)
}

#[test]
fn the_next_daemon_takes_over_what_stands_beside_a_program() -> Result<()> {
    let mut scene = lab("leaves=true target=1 loglevel=DEBUG")?;
    let before = kernel(&scene)?;
    let pins = before["pins"].to_string();
    for pin in ["jumps-calls", "pcn_log_lines", "0-egress", "1-egress"] {
        assert!(pins.contains(pin), "no {pin} among {pins}");
    }
    for round in 0..3 {
        scene.daemon.kill9()?;
        assert_eq!(marks(&scene, scene.peer(1), 2)?.as_deref(), Some("mjB"), "without a daemon, round {round}");
        scene.daemon.restart()?;
        assert_eq!(kernel(&scene)?, before, "round {round}: {}", scene.daemon.log());
        assert_eq!(marks(&scene, scene.peer(1), 2)?.as_deref(), Some("mjB"), "round {round}");
    }
    eventually("lines of all rounds", || Ok(lines_with(&scene, "by port 1") >= 18))?;
    scene.daemon.ctl("b1 set mark=110").ok();
    assert_eq!(marks(&scene, scene.peer(1), 2)?.as_deref(), Some("njB"));
    scene.daemon.ctl("b1 set mark=109").ok();
    scene.daemon.ctl("del b1").ok();
    assert!(scene.daemon.pins()?.is_empty(), "{:?}", scene.daemon.pins()?);
    Ok(())
}

#[test]
fn lines_of_programs_are_in_the_log_at_the_cubes_level_and_limited() -> Result<()> {
    let scene = lab("target=3 leaves=true")?;
    let daemon = &scene.daemon;
    let send = |count| Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, count));
    send(1)?;
    eventually("a line", || Ok(daemon.log().contains("WARN nothing at 3 cube=\"b1\"")))?;

    // What it says at another level is in the log from the change on, and no longer.
    daemon.ctl("b1 set target=0").ok();
    send(2)?;
    daemon.ctl("b1 set loglevel=DEBUG").ok();
    send(1)?;
    let mac = scene.peer(1).mac().map(|byte| format!("{byte:02x}")).join(":");
    let says = format!("DEBUG {mac} sends from ");
    eventually("a line of a packet", || Ok(lines_with(&scene, &says) > 0))?;
    assert_eq!(lines_with(&scene, ":4000 by port 1, 10000000000"), 1, "{}", daemon.log());
    daemon.ctl("b1 set loglevel=OFF target=3").ok();
    let before = lines_with(&scene, "nothing at 3");
    send(5)?;
    daemon.ctl("b1 set loglevel=INFO").ok();
    send(1)?;
    eventually("a line", || Ok(lines_with(&scene, "nothing at 3") > before))?;
    assert_eq!(lines_with(&scene, "nothing at 3"), before + 1);

    // A flood is counted.
    send(2000)?;
    eventually("what was left out", || Ok(lines_with(&scene, "lines of its programs were left out") > 0))?;
    eventually("the whole flood", || {
        let log = daemon.log();
        let left_out = log.lines().filter_map(|line| {
            line.split_once(" lines of its programs were left out")?.0.rsplit(' ').next()?.parse::<usize>().ok()
        });
        let written = lines_with(&scene, "nothing at 3") - before - 1;
        Ok((50..1000).contains(&written) && left_out.sum::<usize>() + written == 2000)
    })?;
    Ok(())
}

/// Whether the daemon has joined a group of netlink that reports neighbours, addresses or routes.
fn observes(scene: &Scene) -> Result<bool> {
    // Bits of RTNLGRP_NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR and IPV6_ROUTE of include/uapi/linux/rtnetlink.h.
    const GROUPS: u32 = 1 << 2 | 1 << 4 | 1 << 6 | 1 << 8 | 1 << 10;
    let pid = scene.daemon.pid().context("a daemon")?;
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/netlink"))?;
    let groups =
        sockets.lines().skip(1).filter_map(|line| u32::from_str_radix(line.split_whitespace().nth(3)?, 16).ok());
    Ok(groups.into_iter().any(|groups| groups & GROUPS != 0))
}

/// Runs `ip` beside the daemon.
fn ip(scene: &Scene, words: &str) -> Result<()> {
    let output = scene.lab.host().command("ip").args(words.split_whitespace()).output()?;
    anyhow::ensure!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_plugin_hears_of_what_stands_beside_its_cube() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).fixtures(["beside"]).kept().start()?;
    assert!(!observes(&scene)?, "nobody wants to know");
    for line in ["beside add b1", "b1 ports add p1 peer=veth1"] {
        scene.daemon.ctl(line).ok();
    }
    let index = scene.host(2).index();
    let has = |scene: &Scene, list: &str, text: String| {
        eventually(&format!("{list}: {text}"), || {
            let cube = scene.get("b1")?;
            Ok(cube[list].as_array().is_some_and(|list| list.iter().any(|entry| entry.as_str() == Some(&text))))
        })
    };
    eventually("a first report", || Ok(scene.get("b1")?["whole"] == json!(1)))?;
    assert!(observes(&scene)?);

    let mac = scene.host(1).mac().map(|byte| format!("{byte:02x}")).join(":");
    has(&scene, "netdevs", format!("veth1 {mac} 1500"))?;
    ip(&scene, "link set veth1 mtu 1400")?;
    ip(&scene, "link set veth1 address 02:00:00:00:aa:01")?;
    has(&scene, "netdevs", "veth1 02:00:00:00:aa:01 1400".to_owned())?;

    let ipv6 = "echo 0 > /proc/sys/net/ipv6/conf/veth2/disable_ipv6";
    anyhow::ensure!(scene.lab.host().command("sh").args(["-c", ipv6]).status()?.success(), "{ipv6}");
    ip(&scene, "address add 192.0.2.1/24 dev veth2")?;
    ip(&scene, "address add 2001:db8::1/64 dev veth2 nodad")?;
    ip(&scene, "neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev veth2")?;
    ip(&scene, "route add 203.0.113.0/24 via 192.0.2.9 metric 7")?;
    ip(&scene, "route add 2001:db8:1::/48 via 2001:db8::9")?;
    ip(&scene, "route add 198.51.100.0/24 nexthop via 192.0.2.9 nexthop via 192.0.2.10")?;
    // Of another table.
    ip(&scene, "route add 203.0.114.0/24 via 192.0.2.9 table 7")?;
    has(&scene, "addresses", format!("{index} 192.0.2.1/24"))?;
    has(&scene, "addresses", format!("{index} 2001:db8::1/64"))?;
    has(&scene, "neighbours", format!("{index} 192.0.2.9 02:00:00:00:00:09 Permanent"))?;
    has(&scene, "routes", format!("203.0.113.0/24 metric 7 via 192.0.2.9 dev {index}"))?;
    has(&scene, "routes", format!("2001:db8:1::/48 metric 1024 via 2001:db8::9 dev {index}"))?;
    has(&scene, "routes", format!("198.51.100.0/24 metric 0 via 192.0.2.9 dev {index} via 192.0.2.10 dev {index}"))?;
    assert!(!scene.get("b1")?["routes"].to_string().contains("203.0.114.0"));

    ip(&scene, "route replace 203.0.113.0/24 via 192.0.2.10 metric 7")?;
    has(&scene, "routes", format!("203.0.113.0/24 metric 7 via 192.0.2.10 dev {index}"))?;
    ip(&scene, "neighbour del 192.0.2.9 dev veth2")?;
    // IPv4 routes go without an event.
    ip(&scene, "link set veth2 down")?;
    eventually("what went along", || {
        let cube = scene.get("b1")?;
        Ok(!cube["routes"].to_string().contains("/24 metric") && !cube["neighbours"].to_string().contains("192.0.2.9"))
    })?;
    assert_eq!(scene.get("b1")?["whole"], json!(1), "all else were differences");

    // The next daemon's instance hears everything anew.
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    has(&scene, "addresses", format!("{index} 192.0.2.1/24"))?;
    scene.daemon.ctl("del b1").ok();
    eventually("nobody wants to know any more", || Ok(!observes(&scene)?))?;
    Ok(())
}

#[test]
fn a_large_table_of_routes_comes_in_parts_and_an_overrun_loses_nothing() -> Result<()> {
    const ROUTES: usize = 20_000;
    let scene = Scene::set_up().peers(1).fixtures(["beside"]).start()?;
    scene.daemon.ctl("beside add b1").ok();
    eventually("a first report", || Ok(scene.get("b1")?["whole"] == json!(1)))?;
    ip(&scene, "address add 192.0.2.1/24 dev veth1")?;
    let batch = |verb: &str| -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let line = |number: usize| {
            format!("route {verb} 10.{}.{}.{}/32 dev veth1\n", number >> 16, number >> 8 & 255, number & 255)
        };
        std::fs::write(file.path(), (0..ROUTES).map(line).collect::<String>())?;
        ip(&scene, &format!("-batch {}", file.path().display()))
    };
    let count = || Ok::<_, anyhow::Error>(scene.get("b1")?["route-count"].as_u64().unwrap_or_default() as usize);
    batch("add")?;
    eventually("all routes", || Ok(count()? == ROUTES + 1))?;
    let reports = scene.get("b1")?["reports"].as_u64().unwrap_or_default();
    assert!(reports < 200, "{reports} reports");
    scene.daemon.ctl("beside add b2").ok();
    eventually("another cube", || Ok(scene.get("b2")?["route-count"] == json!(ROUTES + 1)))?;
    batch("del")?;
    eventually("no routes", || Ok(count()? == 1))?;
    assert_eq!(scene.get("b1")?["whole"], json!(1));
    Ok(())
}

#[test]
fn an_object_service_in_rust_writes_lines_too() -> Result<()> {
    let directory = polycube_tests::daemon::plugin_dir(&[])?;
    let object = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines/lines.o");
    std::fs::copy(object, directory.path().join("speaker.o"))?;
    let manifest = json!({ "description": "Speaks", "kind": "transparent", "hooks": [{ "program": "speak", "direction": "ingress" }] });
    std::fs::write(directory.path().join("speaker.json"), manifest.to_string())?;
    let argument = directory.path().display().to_string();
    let commands = ["services add type=object uri=speaker.o name=speaker", "speaker add s1", "attach s1 br1:toveth1"];
    let scene = Scene::set_up().peers(2).arguments(["--plugin-dir", &argument]).bridge().commands(commands).start()?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
    let mac = scene.peer(1).mac().map(|byte| format!("{byte:02x}")).join(":");
    let line = format!("INFO {mac} at port 0, -5 of 10.0.0.7 cube=\"s1\"");
    eventually(&line, || Ok(lines_with(&scene, &line) == 1))?;
    scene.daemon.ctl("s1 set loglevel=WARN").ok();
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
    scene.daemon.ctl("s1 set loglevel=INFO").ok();
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
    eventually(&line, || Ok(lines_with(&scene, &line) == 2))?;
    Ok(())
}
