//! Does the daemon survive its plugins: files that are not plugins, and calls that panic or refuse?

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, binary_dir, plugin_dir};
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::Interface;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, reachable};

const PATIENCE: Duration = Duration::from_secs(20);

fn start(plugins: &Path) -> Result<Scene> {
    Scene::set_up().arguments([Path::new("--plugin-dir"), plugins].map(Path::to_string_lossy)).start()
}

/// Lines of the log that contain all of `words`.
fn logged(daemon: &Daemon, words: &[&str]) -> Vec<String> {
    let log = daemon.log();
    log.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
}

#[track_caller]
fn assert_logged_once(daemon: &Daemon, words: &[&str]) {
    assert_eq!(logged(daemon, words).len(), 1, "{words:?} once in:\n{}", daemon.log());
}

fn services(daemon: &Daemon) -> Result<Vec<String>> {
    let services = daemon.http("GET", "/polycube/v1/services/", None)?.ok().json()?;
    let names = services.as_array().into_iter().flatten().filter_map(|service| service["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

/// A plugin whose identity record has been changed.
fn tampered(name: &str, change: impl Fn(&mut [u8])) -> Result<Vec<u8>> {
    const MAGIC: &[u8] = b"PCNPLUG\0";
    let mut bytes = fs::read(binary_dir()?.join(name))?;
    let places: Vec<usize> =
        bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC).map(|(at, _)| at).collect();
    ensure!(!places.is_empty(), "{name} has no identity record");
    for at in places {
        change(&mut bytes[at..]);
    }
    Ok(bytes)
}

/// The C library of this process: a shared object that is not a plugin.
fn libc() -> Result<PathBuf> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let path = maps.lines().filter_map(|line| line.split_whitespace().last()).find(|path| path.contains("libc.so"));
    Ok(path.context("no C library is mapped")?.into())
}

#[test]
fn files_that_are_not_plugins_are_logged_and_ignored() -> Result<()> {
    let directory = plugin_dir(&["panicky"])?;
    let file = |name: &str| directory.path().join(name);
    fs::write(file("libpcn_empty.so"), "")?;
    fs::write(file("libpcn_garbage.so"), "this is not a shared object\n".repeat(100))?;
    fs::copy(libc()?, file("libpcn_libc.so"))?;
    fs::create_dir(file("libpcn_directory.so"))?;
    symlink("/nowhere/at/all", file("libpcn_dangling.so"))?;
    let whole = fs::read(binary_dir()?.join("libpcn_simplebridge.so"))?;
    fs::write(file("libpcn_half.so"), &whole[..whole.len() / 2])?;
    // A later major version of the ABI, in the eight bytes after the magic's.
    fs::write(file("libpcn_later.so"), tampered("libpcn_simplebridge.so", |record| record[8] = 2)?)?;
    fs::write(file("libpcn_damaged.so"), tampered("libpcn_simplebridge.so", |record| record[0] = b'X')?)?;
    fs::write(file("notes.txt"), "of no interest")?;
    fs::write(file("libother.so"), "neither")?;

    let scene = start(directory.path())?;
    let daemon = &scene.daemon;
    assert_eq!(
        services(daemon)?,
        ["helloworld", "packetcapture", "panicky", "simplebridge", "span", "transparenthelloworld"]
    );
    for (name, why) in [
        ("libpcn_empty.so", &["is not a polycube plugin", "not an ELF file"][..]),
        ("libpcn_garbage.so", &["is not a polycube plugin", "not an ELF file"]),
        ("libpcn_libc.so", &["is not a polycube plugin", "no identity record"]),
        ("libpcn_directory.so", &["cannot be read"]),
        ("libpcn_dangling.so", &["cannot be read", "No such file"]),
        ("libpcn_half.so", &["is not a polycube plugin", "the file ends early: copy or build it again"]),
        ("libpcn_later.so", &["`simplebridge`", "plugin ABI 2", "this daemon has 1", "rebuild it"]),
        ("libpcn_damaged.so", &["is not a polycube plugin", "identity record is damaged"]),
    ] {
        assert_logged_once(daemon, &[name]);
        assert_logged_once(daemon, &[&[name, "ERROR"][..], why].concat());
    }
    assert!(logged(daemon, &["notes.txt"]).is_empty() && logged(daemon, &["libother.so"]).is_empty());
    let stray: Vec<_> = daemon
        .log()
        .lines()
        .filter(|line| !["INFO", "WARN", "ERROR"].iter().any(|l| line.contains(l)))
        .map(str::to_owned)
        .collect();
    assert_eq!(stray, Vec::<String>::new(), "lines of the log that are not whole messages");
    daemon.ctl("simplebridge add br1").ok();
    Ok(())
}

#[test]
fn of_two_plugins_with_one_name_the_first_file_is_used() -> Result<()> {
    let directory = plugin_dir(&["panicky"])?;
    fs::copy(binary_dir()?.join("libpcn_simplebridge.so"), directory.path().join("libpcn_again.so"))?;
    let scene = start(directory.path())?;
    let daemon = &scene.daemon;
    assert_eq!(
        services(daemon)?,
        ["helloworld", "packetcapture", "panicky", "simplebridge", "span", "transparenthelloworld"]
    );
    assert_logged_once(
        daemon,
        &["ERROR", "libpcn_simplebridge.so", "service `simplebridge` is already loaded, from", "libpcn_again.so"],
    );
    Ok(())
}

#[test]
fn a_directory_without_plugins_is_logged() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let scene = start(directory.path())?;
    let daemon = &scene.daemon;
    assert_eq!(services(daemon)?, Vec::<String>::new());
    assert_logged_once(daemon, &["WARN", "no plugin was found", "--plugin-dir"]);
    Ok(())
}

/// Two peers at a bridge; `bad` is attached to one port, `good` to the other.
struct Site {
    scene: Scene,
    /// The second peer's address.
    address: IpAddr,
}

impl Site {
    fn build() -> Result<Self> {
        let commands = [
            "simplebridge add br1",
            "br1 ports add p1 peer=veth1",
            "br1 ports add p2 peer=veth2",
            "panicky add bad",
            "panicky add good",
            "attach bad br1:p1",
            "attach good br1:p2",
        ];
        let scene = Scene::set_up().peers(2).fixtures(["panicky"]).commands(commands).start()?;
        scene.peer(1).add_address("10.0.0.1/24")?;
        let address = scene.peer(2).add_address("10.0.0.2/24")?;
        Ok(Self { scene, address })
    }

    #[track_caller]
    fn assert_traffic(&self, when: &str) {
        let answer =
            reachable(self.scene.namespace(1), self.scene.namespace(2), self.address).expect("a ping can be sent");
        assert!(answer.is_some(), "{when}: nothing passes");
    }

    fn wait_for(&self, words: &[&str]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while logged(&self.scene.daemon, words).is_empty() {
            ensure!(Instant::now() < deadline, "{words:?} is not in the log after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `bad` panics in a call. `lines` make it do so, the last of them with this exit code.
    fn panics(call: &str, lines: &[&str], code: i32) -> Result<()> {
        let site = Self::build()?;
        let daemon = &site.scene.daemon;
        site.assert_traffic("before");
        let (pid, attached) = (daemon.pid(), programs_attached(daemon.host(), "veth1")?);
        let (last, first) = lines.split_last().context("no line")?;
        for line in first {
            daemon.ctl(line).ok();
        }
        let output = daemon.ctl(last);
        let message = format!("told to panic in {call}");
        if code == 0 {
            output.ok();
        } else {
            let line = output.one_line(code);
            assert!(line.contains(&message), "{line}");
        }

        // Once in the log, with its message and place.
        let panic = ["ERROR", "bad", "panicked at", "panicky/src/lib.rs:", &message];
        site.wait_for(&panic)?;
        assert_logged_once(daemon, &panic);
        assert_eq!(daemon.pid(), pid);

        // It has failed for good, and answers so.
        for line in ["bad set size=7", "bad provoke", "br1 ports add p3", "bad show"] {
            let output = daemon.ctl(line);
            match line {
                "br1 ports add p3" => assert_eq!(output.ok(), ""),
                "bad show" => assert!(output.ok().contains("delete the cube and create it again")),
                _ => assert!(output.one_line(2).contains("delete the cube and create it again")),
            }
        }
        // What it has in the kernel stays, and works; so does everybody else.
        assert_eq!(programs_attached(daemon.host(), "veth1")?, attached);
        site.assert_traffic("after the panic");
        daemon.ctl("good set size=3").ok();
        site.assert_traffic("after a change of another cube");
        daemon.ctl("detach good br1:p2").ok();
        daemon.ctl("attach good br1:p1").ok();
        site.assert_traffic("after a change of its own chain");
        assert_logged_once(daemon, &panic);

        daemon.ctl("detach bad br1:p1").ok();
        let refused = daemon.ctl("attach bad br1:p1").one_line(2);
        assert!(refused.contains("delete the cube and create it again"), "{refused}");
        daemon.ctl("del bad").ok();
        assert!(daemon.pins()?.iter().all(|pin| !pin.starts_with("cubes/bad")), "{:?}", daemon.pins()?);
        site.assert_traffic("after it is gone");
        daemon.ctl("panicky add bad").ok();
        daemon.ctl("attach bad br1:p1").ok();
        site.assert_traffic("after it is back");
        Ok(())
    }
}

#[test]
fn a_panic_in_datapath() -> Result<()> {
    Site::panics("Datapath", &["bad set panic=datapath"], 2)
}

#[test]
fn a_panic_in_prepare() -> Result<()> {
    Site::panics("Prepare", &["bad set panic=prepare"], 2)
}

#[test]
fn a_panic_in_commit() -> Result<()> {
    Site::panics("Commit", &["bad set panic=commit"], 2)
}

#[test]
fn a_panic_in_state() -> Result<()> {
    Site::panics("State", &["bad set panic=state", "bad show"], 0)
}

#[test]
fn a_panic_in_an_action() -> Result<()> {
    Site::panics("Action", &["bad set panic=action", "bad provoke"], 2)
}

#[test]
fn a_panic_in_a_tick() -> Result<()> {
    Site::panics("Tick", &["bad set panic=tick"], 0)
}

#[test]
fn a_panic_on_hearing_of_netdevs() -> Result<()> {
    Site::panics("Netdevs", &["bad set panic=netdevs", "attach bad br1:p2"], 0)
}

#[test]
fn a_panic_in_creation_leaves_no_cube_and_is_logged_at_every_level() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let line = site.scene.daemon.ctl("panicky add stillborn loglevel=off").one_line(2);
    assert!(line.contains("told to panic in Create"), "{line}");
    assert_logged_once(
        &site.scene.daemon,
        &["ERROR", "stillborn", "panicked at", "panicky/src/lib.rs:", "told to panic in Create"],
    );
    assert_eq!(site.scene.daemon.snapshot()?, before);
    site.assert_traffic("after the panic");
    site.scene.daemon.ctl("panicky add alive").ok();
    Ok(())
}

/// Everything that was loaded, pinned and linked by then is undone.
#[test]
fn a_plugin_that_refuses_changes_nothing() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    for (line, call) in [
        ("good set refuse=datapath size=9", "Datapath"),
        ("good set refuse=prepare size=9", "Prepare"),
        ("good set refuse=prepare", "Prepare"),
        ("panicky add new refuse=datapath", "Datapath"),
        ("panicky add new refuse=prepare", "Prepare"),
    ] {
        let refusal = site.scene.daemon.ctl(line).one_line(2);
        assert!(refusal.contains(&format!("told to refuse in {call}")), "{refusal}");
        assert_eq!(site.scene.daemon.snapshot()?, before, "{line}");
    }
    site.assert_traffic("after the refusals");
    site.scene.daemon.ctl("good set size=9").ok();
    assert_ne!(site.scene.daemon.snapshot()?.pins, before.pins);
    assert!(logged(&site.scene.daemon, &["ERROR"]).is_empty(), "{}", site.scene.daemon.log());
    Ok(())
}

#[test]
fn an_actions_input_is_checked_documented_and_completed() -> Result<()> {
    let scene = Scene::set_up().fixtures(["panicky"]).commands(["panicky add p1"]).start()?;
    let daemon = &scene.daemon;
    let becomes = |size: &str| {
        eventually("the size", || Ok(daemon.ctl("p1 size show").ok().trim() == size))?;
        anyhow::Ok(())
    };
    for (line, size) in [("p1 grow to=9", "9"), ("p1 grow", "7"), ("p1 grow to=99", "99")] {
        daemon.ctl(line).ok();
        becomes(size).context(line)?;
    }
    for (line, reasons) in [
        ("p1 grow to=100", ["p1/grow/to", "99"]),
        ("p1 grow to=much", ["p1/grow/to", "integer"]),
        ("p1 grow tp=1", ["p1/grow/tp", "did you mean `to`?"]),
        ("p1 provoke hard=true", ["p1/provoke/hard", "the action takes none"]),
    ] {
        let refusal = daemon.ctl(line).one_line(2);
        assert!(reasons.iter().all(|reason| refusal.contains(reason)), "{line}: {refusal}");
    }
    becomes("99")?;
    let help = daemon.ctl("p1 grow ?").ok();
    assert!(["to ", "0..99", "The size to have (default 7)"].iter().all(|word| help.contains(word)), "{help}");
    let document = daemon.http("GET", "/openapi.json", None)?.ok().json()?;
    let body = &document["paths"]["/panicky/{cube}/grow"]["post"]["requestBody"];
    assert_eq!(body["content"]["application/json"]["schema"]["properties"]["to"]["maximum"], 99, "{body}");
    Ok(())
}

/// Lines that `p1` logs in an action, with its level set to `loglevel`.
fn lines_at(daemon: &Daemon, loglevel: &str) -> Result<Vec<String>> {
    let before = daemon.log().len();
    daemon.ctl(&format!("p1 set loglevel={loglevel}")).ok();
    daemon.ctl("p1 provoke").ok();
    Ok(daemon.log().split_at(before).1.lines().filter(|line| line.contains("said as")).map(str::to_owned).collect())
}

#[test]
fn a_cubes_loglevel_limits_what_it_logs() -> Result<()> {
    let scene = Scene::set_up().fixtures(["panicky"]).commands(["panicky add p1"]).start()?;
    let daemon = &scene.daemon;
    for (level, expected) in
        [("OFF", 0), ("CRITICAL", 1), ("ERR", 1), ("WARN", 2), ("INFO", 3), ("DEBUG", 4), ("TRACE", 5)]
    {
        let lines = lines_at(daemon, level)?;
        assert_eq!(lines.len(), expected, "{level}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("cube=\"p1\"")), "{lines:?}");
    }
    Ok(())
}

#[test]
fn the_log_can_be_json_and_names_the_cube() -> Result<()> {
    let log = ["--log", "warn", "--log-format", "json"];
    let scene = Scene::set_up().fixtures(["panicky"]).arguments(log).commands(["panicky add p1"]).start()?;
    let daemon = &scene.daemon;
    let lines = lines_at(daemon, "DEBUG")?;
    assert_eq!(lines.len(), 4, "the daemon's own level does not apply: {lines:?}");
    for line in daemon.log().lines() {
        serde_json::from_str::<serde_json::Value>(line).with_context(|| line.to_owned())?;
    }
    let last: serde_json::Value = serde_json::from_str(lines.last().context("a line")?)?;
    assert_eq!((&last["cube"], &last["level"]), (&"p1".into(), &"DEBUG".into()), "{last}");
    assert_eq!(last["message"], "provoke, said as Debug");
    Ok(())
}

/// Level and text of the lines about a cube, with the port and the netdev if there are any.
fn lines_of(daemon: &Daemon, cube: &str) -> Result<Vec<String>> {
    let lines = daemon.log();
    let lines = lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
    let lines = lines.collect::<Result<Vec<serde_json::Value>>>()?;
    let words = |line: &serde_json::Value| {
        let words = ["level", "port", "netdev", "message"].map(|key| line[key].as_str().unwrap_or_default().to_owned());
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    // The audit of changes names cubes, too, and is not theirs to turn off.
    let is_own = |line: &&serde_json::Value| line["cube"] == cube && line["who"].is_null();
    Ok(lines.iter().filter(is_own).map(words).collect())
}

/// A cube's level also applies to the host's lines about it.
#[test]
fn debug_shows_what_one_cube_does_and_off_silences_it() -> Result<()> {
    let scene = Scene::set_up().peers(3).arguments(["--log-format", "json"]).start()?;
    let daemon = &scene.daemon;
    for line in [
        "simplebridge add loud loglevel=TRACE",
        "simplebridge add usual",
        "simplebridge add silent loglevel=OFF",
        "loud ports add p peer=veth1",
        "usual ports add p peer=veth2",
        "silent ports add p peer=veth3",
        "packetcapture add a loglevel=DEBUG capture=bidirectional",
        "packetcapture add b capture=bidirectional",
        "attach a loud:p",
        "attach b veth2",
        "a set filter=udp",
    ] {
        daemon.ctl(line).ok();
    }
    let once = serde_json::json!({ "capture": "bidirectional", "loglevel": "OFF", "stop-after": { "packets": 1 } });
    assert_eq!(daemon.http("POST", "/polycube/v1/packetcapture/once/", Some(&once))?.status, 201);
    daemon.ctl("attach once loud:p").ok();
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 200, 2))?;
    eventually("the end of `once`", || Ok(scene.get("once")?["capture"] == "off"))?;
    let learned = || Ok(scene.get("loud/fdb/entry")?.as_array().is_some_and(|entries| !entries.is_empty()));
    eventually("a learned address", learned)?;
    daemon.ctl("loud fdb flush").ok();
    daemon.ctl("a set capture=off").ok();
    for number in 1..=3 {
        Interface::find(scene.lab.host(), &format!("veth{number}"))?.delete()?;
        let cube = ["loud", "usual", "silent"][number - 1];
        eventually("a port that is down", || Ok(scene.get(&format!("{cube}/ports/p"))?["status"] == "DOWN"))?;
    }
    let gone = |netdev: &str| format!("WARN p {netdev} the netdev disappeared: nothing passes until it returns");
    for (cube, words) in [
        ("loud", "DEBUG asks for programs: bridge at point 0 ingress; maps: fdb, counters"),
        ("loud", "DEBUG in force: aging-time 300 s, 0 static addresses, ports: p (id 0) over veth1"),
        ("loud", "DEBUG fdb, flushed: 1 addresses removed, 0 bound"),
        ("loud", "TRACE fdb, flushed: 02:"),
        ("loud", &gone("veth1")),
        ("usual", &gone("veth2")),
        ("b", "WARN veth2 the netdev disappeared"),
        ("a", "DEBUG compiled in "),
        ("a", "DEBUG a session begins, with rings of "),
        ("a", "DEBUG in force: at loud:p; a filter, snaplen 262144, pcap to "),
        ("a", ".pcap is opened"),
        ("a", ".pcap is closed: 2 packets, 456 bytes"),
        ("a", "DEBUG the session has ended"),
    ] {
        let lines = lines_of(daemon, cube)?;
        assert!(lines.iter().any(|line| line.contains(words)), "{words:?} of `{cube}` is not among {lines:#?}");
    }
    for cube in ["usual", "b"] {
        let lines = lines_of(daemon, cube)?;
        assert!(lines.iter().all(|line| !line.starts_with("DEBUG") && !line.starts_with("TRACE")), "{lines:#?}");
    }
    for cube in ["silent", "once"] {
        assert_eq!(lines_of(daemon, cube)?, [""; 0], "`{cube}` is not silent");
    }
    Ok(())
}

#[test]
fn a_panic_in_a_plugins_own_thread_is_in_the_log_with_its_place() -> Result<()> {
    let commands = ["panicky add p1", "panicky add p2", "p1 thread", "p1 stray"];
    let scene = Scene::set_up().fixtures(["panicky"]).commands(commands).start()?;
    let daemon = &scene.daemon;
    let place = "panicked at tests/fixtures/panicky/src/lib.rs:";
    let of = |thread, cube| logged(daemon, &["ERROR", thread, place, "told to panic in a thread", cube]).len();
    eventually("both panics in the log", || {
        Ok(of("`worker`", "cube=\"p1\"") == 1 && of("`without a name`", "cube=\"p2\"") == 1)
    })?;
    assert_eq!(of("`worker`", "cube=\"p2\""), 0, "the thread is of the other cube");
    assert_eq!(of("`without a name`", "cube=\"p1\""), 1, "it could be of any cube");
    daemon.ctl("p1 set size=3").ok();
    daemon.ctl("p2 provoke").ok();
    Ok(())
}
