//! Do services from eBPF objects work like those from plugins, with programs that know nothing of chains?

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Recorder;
use polycube_tests::daemon::plugin_dir;
use polycube_tests::hook::programs_attached;
use polycube_tests::marks::{FRAME, marked, marks};
use polycube_tests::scene::{PATIENCE, Scene, Watched, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects")
}

/// Plugins, the marker, and the objects with their manifests.
fn directory() -> Result<TempDir> {
    let directory = plugin_dir(&["marker"])?;
    for file in fs::read_dir(fixtures())? {
        let file = file?.path();
        if file.extension().is_some_and(|ending| ending == "o" || ending == "json") {
            fs::copy(&file, directory.path().join(file.file_name().context("a name")?))?;
        }
    }
    Ok(directory)
}

fn start(directory: &TempDir, lines: &[&str]) -> Result<Scene> {
    let argument = directory.path().display().to_string();
    Scene::set_up().peers(2).kept().arguments(["--plugin-dir", &argument]).bridge().commands(lines).start()
}

const GUARD: [&str; 4] =
    ["services add type=object uri=guard.o name=guard", "guard add g1", "marker add a mark=97", "marker add b mark=98"];

const CHAIN: [&str; 3] =
    ["attach a veth1 position=last", "attach g1 veth1 position=last", "attach b veth1 position=last"];

/// How long a frame that a later one overtook may take.
const QUIET: Duration = Duration::from_millis(50);

/// The marks on a frame that is sent from peer 1 to a port of peer 2; `None` if no such frame arrives.
fn arrives(scene: &Scene, port: u16) -> Result<Option<String>> {
    let recorder = Recorder::start(scene.peer(2))?;
    let sender = Sender::open(scene.peer(1))?;
    let mut flow = scene.flow(1, 2);
    flow.to.port = port;
    sender.send(&flow.frames(Protocol::Udp, FRAME, 1))?;
    // Another frame after it, larger and to a port that no test blocks, shows that the first had its time.
    let mut last = scene.flow(1, 2);
    last.to.port = 7;
    sender.send(&last.frames(Protocol::Udp, FRAME + 50, 1))?;
    recorder.wait_for(1, PATIENCE)?;
    std::thread::sleep(QUIET);
    Ok(marked(&recorder.stop()?).first().map(marks))
}

fn metric(scene: &Scene, name: &str) -> Result<f64> {
    let text = scene.daemon.http("GET", "/metrics", None)?.ok().text();
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in {text}"))?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}

#[test]
fn an_unmodified_program_stands_in_a_chain_and_is_configured_under_traffic() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &GUARD)?;
    let daemon = &scene.daemon;
    for line in CHAIN {
        daemon.ctl(line).ok();
    }
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"), "the guard stands between the markers");
    let places = scene.get("topology")?.to_string();
    assert!(places.contains("\"a ---> g1 ---> b ---> br1:toveth1\""), "{places}");
    assert!(places.contains("\"br1:toveth1 ---> b ---> a\""), "the guard has no program for the egress: {places}");

    daemon.ctl("g1 rules add 9999").ok();
    assert_eq!(arrives(&scene, 9999)?, None);
    assert_eq!(arrives(&scene, 9998)?.as_deref(), Some("ab"));
    daemon.ctl("g1 rules 9999 set action=count").ok();
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"));
    let state = scene.get("g1")?;
    assert_eq!(state["rules"], json!([{ "port": 9999, "action": "count" }]), "{state}");
    assert_eq!(state["hits"], json!([{ "port": 9999, "packets": 2 }]), "the program's own field stays: {state}");
    assert_eq!((&state["blocked"], &state["min-ttl"]), (&json!(1), &json!(1)), "{state}");
    assert!(state["seen"].as_u64().is_some_and(|seen| seen >= 8), "{state}");
    daemon.ctl("g1 rules del 9999").ok();
    assert_eq!(scene.get("g1")?["hits"], json!([]));

    let watched = Watched::start(&scene)?;
    for ttl in (2..30).chain([1]) {
        daemon.ctl(&format!("g1 set min-ttl={ttl}")).ok();
        daemon.ctl(&format!("g1 rules add {}", 10000 + ttl)).ok();
    }
    watched.stop()?;
    daemon.ctl("g1 set min-ttl=255").ok();
    let recorder = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 5))?;
    eventually("five packets are dropped for their TTL", || Ok(scene.get("g1")?["short-lived"] == 5))?;
    assert!(marked(&recorder.stop()?).is_empty());

    let labels = "{cubeName=\"g1\"}";
    assert_eq!(metric(&scene, &format!("guard_short_lived_packets_total{labels}"))?, 5.0);
    assert_eq!(metric(&scene, &format!("guard_blocked_packets_total{labels}"))?, 1.0);
    assert_eq!(metric(&scene, "guard_rule_packets_total{cubeName=\"g1\",port=\"10005\"}")?, 0.0);
    Ok(())
}

#[test]
fn a_service_and_its_cubes_outlive_the_daemon() -> Result<()> {
    let directory = directory()?;
    let mut scene = start(&directory, &GUARD)?;
    for line in CHAIN.into_iter().chain(["g1 rules add 9999", "g1 set min-ttl=3"]) {
        scene.daemon.ctl(line).ok();
    }
    assert_eq!(arrives(&scene, 9999)?, None);
    let shown = |scene: &Scene| -> Result<Value> {
        let mut service = scene.daemon.http("GET", "/polycube/v1/services/guard", None)?.ok().json()?;
        let since = service.as_object_mut().context("an object")?.remove("since");
        ensure!(since.is_some_and(|since| since.as_str().is_some_and(|since| since.ends_with('Z'))));
        Ok(service)
    };
    let (service, state, pins) = (shown(&scene)?, scene.get("g1")?, scene.daemon.pins()?);
    let file = directory.path().join("guard.o").display().to_string();
    assert_eq!((&service["type"], &service["servicecontroller"]), (&json!("object"), &json!(file)), "{service}");
    assert_eq!((&service["version"], &service["sdk-version"]), (&json!("1.0.0"), &json!(null)), "{service}");
    let attached = |scene: &Scene| -> Result<Vec<u32>> {
        Ok(programs_attached(scene.lab.host(), "veth1")?.iter().map(|one| one.program).collect())
    };
    let programs = attached(&scene)?;
    for round in 0..3 {
        if round == 1 {
            scene.daemon.kill9()?;
        } else {
            let _ = scene.daemon.terminate()?;
        }
        scene.daemon.restart()?;
        assert_eq!((shown(&scene)?, scene.get("g1")?), (service.clone(), state.clone()), "{}", scene.daemon.log());
        assert_eq!((scene.daemon.pins()?, attached(&scene)?), (pins.clone(), programs.clone()), "all is taken over");
    }
    assert_eq!(arrives(&scene, 9999)?, None);
    assert_eq!(scene.get("g1")?["blocked"], 2);

    let refused = scene.daemon.ctl("services del guard");
    assert!(refused.stderr.contains("service `guard` has cubes: delete g1 first"), "{refused}");
    scene.daemon.ctl("del g1").ok();
    scene.daemon.ctl("services del guard").ok();
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    let gone = scene.daemon.ctl("guard add g1");
    assert!(gone.stderr.contains("no service `guard`"), "{gone}");
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"));
    Ok(())
}

#[test]
fn a_service_whose_file_is_missing_at_start_comes_back_with_it() -> Result<()> {
    let directory = directory()?;
    let mut scene = start(&directory, &GUARD)?;
    for line in CHAIN.into_iter().chain(["g1 rules add 9999"]) {
        scene.daemon.ctl(line).ok();
    }
    let (file, aside) = (directory.path().join("guard.o"), directory.path().join("aside"));
    fs::rename(&file, &aside)?;
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    let failure =
        |scene: &Scene| -> Result<String> { Ok(scene.get("g1")?["failure"].as_str().unwrap_or_default().to_owned()) };
    let reason = failure(&scene)?;
    assert!(reason.contains("service `guard` is not loaded") && reason.contains("there is no file `"), "{reason}");
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"), "the others go on");
    let refused = scene.daemon.ctl("services del guard").one_line(2);
    assert!(refused.contains("service `guard` has cubes: delete g1 first"), "{refused}");
    fs::write(&file, "half of it")?;
    eventually("the reason is of now", || Ok(failure(&scene)?.contains("it is not an ELF object")))?;
    fs::rename(&aside, &file)?;
    eventually("the cube is back", || Ok(failure(&scene)?.is_empty()))?;
    assert_eq!(arrives(&scene, 9999)?, None);
    scene.daemon.ctl("g1 rules del 9999").ok();
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"));

    // One that is not wanted any more can be removed without its file.
    scene.daemon.ctl("del g1").ok();
    fs::remove_file(&file)?;
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    scene.daemon.ctl("services del guard").ok();
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    let gone = scene.daemon.ctl("services show guard").one_line(2);
    assert!(gone.contains("service `guard` does not exist"), "{gone}");
    Ok(())
}

const VERDICTS: [&str; 5] = [
    "services add type=object uri=verdicts.o name=verdicts",
    "verdicts add g1",
    "marker add a mark=97",
    "marker add b mark=98",
    "attach a veth1",
];

/// Programs call functions and make tail calls of their own: what counts is the verdict that comes out.
#[test]
fn each_verdict_goes_on_or_keeps_its_meaning() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &VERDICTS)?;
    let daemon = &scene.daemon;
    for line in ["attach g1 veth1 position=last", "attach b veth1 position=last"] {
        daemon.ctl(line).ok();
    }
    let index = scene.host(2).index();
    daemon.ctl(&format!("g1 set ifindex={index}")).ok();
    for by_tail_call in [false, true] {
        for (verdict, way) in [
            (0, Some("ab")),
            (-1, Some("ab")),
            (3, Some("ab")),
            (2, None),
            // Past the other marker and the bridge, out of the netdev.
            (7, Some("a")),
            // TC_ACT_STOLEN: the kernel takes the packet.
            (4, None),
            // TC_ACT_RECLASSIFY: what TCX does not know is as "next", and the host's stack has no use for the frame.
            (1, None),
        ] {
            daemon.ctl(&format!("g1 set verdict={verdict} by-tail-call={by_tail_call}")).ok();
            let found = with_last(&scene, verdict)?;
            assert_eq!(found.as_deref(), way, "verdict {verdict}, by a tail call: {by_tail_call}");
        }
    }
    daemon.ctl("g1 set verdict=0 by-tail-call=true slot=2").ok();
    assert_eq!(with_last(&scene, 2)?, None, "the program in slot 2 drops");
    daemon.ctl("g1 set verdict=0 slot=1").ok();
    assert_eq!(with_last(&scene, 0)?.as_deref(), Some("ab"), "slot 1 is empty");
    let state = scene.get("g1")?;
    let packets = state["packets"].as_u64().context("packets")?;
    let sum: u64 =
        state["lengths"].as_array().into_iter().flatten().filter_map(|entry| entry["packets"].as_u64()).sum();
    assert!(packets >= 16 && packets == sum, "{state}");
    assert_eq!(metric(&scene, "verdicts_packets_total{cubeName=\"g1\"}")? as u64, packets);
    Ok(())
}

/// The marks on a frame from peer 1 to peer 2, whatever happens to its like.
fn with_last(scene: &Scene, verdict: i32) -> Result<Option<String>> {
    let recorder = Recorder::start(scene.peer(2))?;
    let before = scene.get("g1")?["packets"].as_u64().unwrap_or(0);
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
    eventually("the program has the frame", || Ok(scene.get("g1")?["packets"].as_u64().unwrap_or(0) > before))?;
    if [0, -1, 3, 7].contains(&verdict) {
        recorder.wait_for(1, PATIENCE)?;
    }
    Ok(marked(&recorder.stop()?).first().map(marks))
}

#[test]
fn a_cube_with_tail_calls_is_taken_over_with_what_they_lead_to() -> Result<()> {
    let directory = directory()?;
    let mut scene = start(&directory, &VERDICTS)?;
    scene.daemon.ctl("attach g1 veth1 position=last").ok();
    scene.daemon.ctl("g1 set by-tail-call=true slot=2").ok();
    assert_eq!(with_last(&scene, 2)?, None);
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    assert_eq!(with_last(&scene, 2)?, None);
    scene.daemon.ctl("g1 set slot=0").ok();
    assert_eq!(with_last(&scene, 0)?.as_deref(), Some("a"));
    Ok(())
}

#[test]
fn a_program_in_a_chain_jumps_to_others_of_its_object() -> Result<()> {
    let directory = directory()?;
    let lines = ["services add type=object uri=leap.o name=leap", "leap add l1", "marker add a mark=97"];
    let scene = start(&directory, &lines)?;
    scene.daemon.ctl("attach l1 veth1 position=last").ok();
    scene.daemon.ctl("attach a veth1 position=last").ok();
    assert_eq!(arrives(&scene, 9)?.as_deref(), Some("a"), "what is jumped to goes on in the chain");
    scene.daemon.ctl("l1 set drop=true").ok();
    let (before, recorder) = (scene.get("l1")?["leapt"].as_u64(), Recorder::start(scene.peer(2))?);
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
    eventually("the program has the frame", || Ok(scene.get("l1")?["leapt"].as_u64() > before))?;
    std::thread::sleep(QUIET);
    assert!(marked(&recorder.stop()?).is_empty(), "its setting reaches the program that is jumped to");
    Ok(())
}

#[test]
fn values_of_all_types_and_several_stages_work() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &["services add type=object uri=types.o name=types", "types add t1 label=seven77"])?;
    let daemon = &scene.daemon;
    for line in [
        "attach t1 veth1",
        "t1 set mode=auto mac=02:00:00:00:00:01 address=10.0.0.1 plain=7",
        "t1 limits set offset=-3",
    ] {
        daemon.ctl(line).ok();
    }
    for line in [
        "t1 flows add web from=10.0.0.1 port=443 gateway=fe80::1 hardware=02:00:00:00:00:02",
        "t1 flows add dns port=53 mode=off",
        "t1 networks add 10.0.0.0/8 class=7",
        // A trie that is asked for it answers with the prefix before.
        "t1 networks add 10.1.0.0/16 class=7",
        "t1 classes add 3 weight=500",
    ] {
        daemon.ctl(line).ok();
    }
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 4))?;
    Sender::open(scene.peer(2))?.send(&scene.flow(2, 1).frames(Protocol::Udp, FRAME, 2))?;
    eventually("both stages and the other direction", || {
        let stages = scene.get("t1")?["stages"].clone();
        let packets = |index: usize| stages[index]["packets"].as_u64().unwrap_or(0);
        Ok(packets(0) >= 4 && packets(1) == packets(0) && packets(2) >= 2)
    })?;
    let state = scene.get("t1")?;
    assert_eq!(state["class-3"], 500, "{state}");
    let stored = json!([
        { "name": "dns", "port": 53, "mode": "off", "gateway": "::", "swapped-as-it-is": 513, "packets": 0 },
        { "name": "web", "port": 443, "mode": "MODE_ON", "gateway": "fe80::1", "swapped-as-it-is": 513, "packets": 0 },
    ]);
    assert_eq!(state["stored"], stored);
    let prefixes = json!([{ "network": "10.0.0.0/8", "class": 7 }, { "network": "10.1.0.0/16", "class": 7 }]);
    assert_eq!(state["prefixes"], prefixes);
    let sum: u64 = (0..3).filter_map(|index| state["stages"][index]["packets"].as_u64()).sum();
    assert!(state["passes"].as_u64().is_some_and(|passes| passes >= sum), "{state}");

    let before = daemon.snapshot()?;
    for (line, words) in [
        ("t1 flows add other port=53 mode=off", "entries `dns` and `other` mean the same to the program: remove one"),
        ("t1 classes add 8", "is greater than the maximum of 7"),
        ("t1 networks add 2001:db8::/32", "is not an address of the kind that the object stores"),
        ("t1 set mac=02:00", "`mac` cannot be stored: `02:00` is not an address"),
        ("t1 set label=eight888", "7"),
        ("t1 limits set offset=-101", "-100"),
    ] {
        let refused = daemon.ctl(line).one_line(2);
        assert!(refused.contains(words), "{line}: {refused}");
        assert_eq!(daemon.snapshot()?, before, "{line}");
    }
    daemon.ctl("t1 classes del 3").ok();
    daemon.ctl("t1 flows del web").ok();
    let state = scene.get("t1")?;
    assert_eq!((&state["class-3"], state["stored"].as_array().map(Vec::len)), (&json!(0), Some(1)), "{state}");
    Ok(())
}

#[test]
fn a_refusal_of_the_verifiers_names_program_and_line() -> Result<()> {
    let directory = directory()?;
    let manifest = fs::read_to_string(directory.path().join("verdicts.json"))?;
    fs::write(directory.path().join("verdicts.json"), manifest.replace("\"enter\"", "\"refused\""))?;
    let scene = start(&directory, &VERDICTS[..2])?;
    let line = scene.daemon.ctl("attach g1 veth1").one_line(2);
    let words = [
        "the kernel refuses program `refused` of cube `g1` at point ",
        "invalid mem access 'scalar', at `return *nowhere; @ verdicts.bpf.c:",
        "; -v shows the whole log",
    ];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    Ok(())
}

#[test]
fn a_standard_service_has_ports() -> Result<()> {
    let directory = directory()?;
    let argument = directory.path().display().to_string();
    let scene = Scene::set_up().peers(2).arguments(["--plugin-dir", &argument]).start()?;
    for line in [
        "services add type=object uri=patch.o name=patch",
        "patch add p1",
        "p1 ports add one peer=veth1",
        "p1 ports add two peer=veth2",
        "marker add a mark=97",
        "marker add b mark=98",
        "attach a p1:one",
        "attach b p1:two",
    ] {
        scene.daemon.ctl(line).ok();
    }
    assert_eq!(arrives(&scene, 9999)?.as_deref(), Some("ab"), "what is attached to its ports sees the frame");
    scene.daemon.ctl("p1 ports del two").ok();
    let recorder = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 3))?;
    std::thread::sleep(QUIET);
    assert!(marked(&recorder.stop()?).is_empty(), "there is no other port");
    Ok(())
}

/// A manifest can be in the object, and one object be several services.
#[test]
fn one_object_can_be_several_services() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory, &[])?;
    for name in ["first-guard", "second"] {
        scene.daemon.ctl(&format!("services add type=object uri=embedded.o name={name}")).ok();
        // What happens to a file later makes no difference.
        if name == "second" {
            fs::write(directory.path().join("embedded.o"), "gone")?;
        }
        scene.daemon.ctl(&format!("{name} add {name}-1")).ok();
        scene.daemon.ctl(&format!("attach {name}-1 veth1")).ok();
    }
    let line = scene.daemon.ctl("services add type=object uri=guard.o name=first_guard").one_line(2);
    let same = "metric `first_guard_packets_total` of service `first_guard` is also one of service `first-guard`";
    assert!(line.contains(same), "{line}");
    scene.daemon.ctl("second-1 set min-ttl=9").ok();
    eventually("both count", || {
        Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, FRAME, 1))?;
        let seen = |cube: &str| -> Result<bool> { Ok(scene.get(cube)?["seen"].as_u64().is_some_and(|seen| seen > 0)) };
        Ok(seen("first-guard-1")? && seen("second-1")?)
    })?;
    assert!(metric(&scene, "first_guard_packets_total{cubeName=\"first-guard-1\"}")? > 0.0);
    Ok(())
}
