//! Does the Python package do what its page says, against a real daemon?

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use polycube_tests::lab::Namespace;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients/python")
}

/// Python with the package, for a daemon's address.
fn python(namespace: &Namespace, url: &str) -> Command {
    let mut command = namespace.command("python3");
    command.env("PYTHONPATH", package()).env("POLYCUBECTL_URL", url).env("PYTHONDONTWRITEBYTECODE", "1");
    for variable in ["POLYCUBECTL_TOKEN", "POLYCUBECTL_CACERT", "POLYCUBECTL_CERT", "POLYCUBECTL_KEY"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn socket(scene: &Scene) -> String {
    format!("unix://{}", scene.daemon.socket().display())
}

/// Runs a script and returns what it prints, as JSON.
#[track_caller]
fn printed(mut command: Command, script: &str) -> Result<Value> {
    let output = command.args(["-c", script]).output().context("cannot start python3: apt install python3")?;
    ensure!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn captures(scene: &Scene) -> Result<usize> {
    Ok(scene.get("cubes")?["packetcapture"].as_array().map_or(0, Vec::len))
}

/// Prints a line when the capture has begun, so that packets can be sent, and then its packets.
const CAPTURE: &str = r#"
import json
from polycube import Client
with Client() as daemon, daemon.capture("br1:toveth1", "veth2", filter="udp", packets=20, settings={"snaplen": 64}) as packets:
    print("begun", flush=True)
    found = [[p.place, p.direction, p.length, p.data.hex(), p.time_ns] for p in packets]
    print(json.dumps({"packets": found, "places": packets.places, "statistics": vars(packets.statistics)}))
"#;

#[test]
fn a_capture_is_an_iterator_over_what_passes() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let mut child = python(scene.daemon.host(), &socket(&scene)).args(["-c", CAPTURE]).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    assert_eq!(line, "begun\n");
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 10);
    Sender::open(scene.peer(1))?.send(&frames)?;
    line.clear();
    stdout.read_line(&mut line)?;
    ensure!(child.wait()?.success(), "{line}");
    let found: Value = serde_json::from_str(&line)?;
    let packets = found["packets"].as_array().context("packets")?;
    // Each packet passes both places: into the bridge, and out of the other netdev.
    let at = |place: &str, direction: &str| -> Vec<String> {
        let there = packets.iter().filter(|packet| packet[0] == place && packet[1] == direction && packet[2] == 100);
        there.filter_map(|packet| packet[3].as_str().map(str::to_owned)).collect()
    };
    let sent: Vec<String> =
        frames.iter().map(|frame| frame[..64].iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    assert_eq!(at("br1:toveth1", "in"), sent);
    assert_eq!(at("veth2", "out"), sent);
    assert!(packets.iter().map(|packet| packet[4].as_u64()).is_sorted(), "{packets:?}");
    assert_eq!((&found["statistics"]["delivered"], &found["statistics"]["dropped"]), (&json!(20), &json!(0)));
    eventually("no capture", || Ok(captures(&scene)? == 0))
}

/// However the block ends; and `stop` ends the stream with what was on its way, and the counters.
const ENDINGS: &str = r#"
import json, threading, time
from polycube import Client
import polycube.types
with Client() as daemon:
    kept = []  # Python closes what it collects.
    for _ in range(2):
        with daemon.capture("veth1") as packets:
            kept.append(packets)
            first = next(iter(packets))
            second = next(iter(packets))
            assert second.time_ns >= first.time_ns
    try:
        with daemon.capture("veth1") as packets:
            kept.append(packets)
            raise KeyError("mine")
    except KeyError:
        pass
    packets = daemon.capture("veth1")
    next(iter(packets))
    threading.Timer(0.3, packets.close).start()
    list(packets)  # It ends.
    packets = daemon.capture("veth1")
    next(iter(packets))
    packets.stop()
    packets.stop()
    rest = len(list(packets))
    until = time.monotonic() + 10
    while (left := daemon.cubes().get("packetcapture", [])) and time.monotonic() < until:
        time.sleep(0.01)
    settings: polycube.types.PacketcaptureSettings = {"name": "kept", "capture": "ingress", "parents": ["veth1"]}
    daemon.post("packetcapture", settings)
    with daemon.stream("kept", packets=3) as live:
        size = live.save("live.pcapng")
    with daemon.stream("kept", packets=2) as live:
        begin = live.file().read(4).hex()
        try:
            live.stop()
        except ValueError as error:
            reason = str(error)
    print(json.dumps([rest + 1, packets.statistics.delivered, left, size, begin, reason]))
"#;

#[test]
fn nothing_is_left_however_a_block_ends() -> Result<()> {
    let scene = Scene::set_up().peers(2).bridge().start()?;
    let place = tempfile::tempdir()?;
    let mut command = python(scene.daemon.host(), &socket(&scene));
    command.current_dir(place.path());
    let found = thread::scope(|scope| {
        let script = scope.spawn(move || printed(command, ENDINGS));
        let sender = Sender::open(scene.peer(1))?;
        let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 1);
        while !script.is_finished() {
            sender.send(&frames)?;
            thread::sleep(std::time::Duration::from_millis(5));
        }
        script.join().expect("it does not panic")
    })?;
    let delivered = found[1].as_u64().context("a number")?;
    assert!(found[0] == delivered && delivered > 0, "{found}");
    assert_eq!(found[2], json!([]));
    assert_eq!(found[4], "0a0d0d0a");
    assert!(found[5].as_str().is_some_and(|reason| reason.contains("close it instead")), "{found}");
    let path = place.path().join("live.pcapng");
    assert_eq!((fs::metadata(&path)?.len(), pcap::read(&path)?.records.len()), (found[3].as_u64().unwrap_or(0), 3));
    eventually("only the capture that stays", || Ok(captures(&scene)? == 1))
}

const REFUSALS: &str = r#"
import json
from polycube import Client, Refused, Unreachable
found = {}
with Client() as daemon:
    for name, ask in {
        "place": lambda: daemon.capture("nosuch"),
        "filter": lambda: daemon.capture("veth1", filter="tcp prot 80"),
        "path": lambda: daemon.get("br9"),
        "value": lambda: daemon.patch("br1/fdb", {"aging-time": "soon"}),
        "name": lambda: daemon.stream("a/b ?"),
    }.items():
        try:
            ask()
        except Refused as refused:
            found[name] = [refused.status, str(refused), refused.tag, refused.path, refused.info]
    daemon.patch("br1/fdb/aging-time", 60)
    daemon.attach("sniffer", "br1:toveth1", position="last")
    daemon.detach("sniffer", "br1:toveth1")
    found["read"] = [daemon.get("br1/fdb/aging-time"), daemon.delete("sniffer"), len(daemon.netdevs()) > 1,
                     daemon.version().count("."), daemon.services()[0]["type"]]
try:
    Client("unix:///nowhere").get("cubes")
except Unreachable as error:
    found["unreachable"] = str(error)
print(json.dumps(found))
"#;

#[test]
fn a_refusal_has_the_message_and_its_fields() -> Result<()> {
    let scene = Scene::set_up().peers(2).sniffed_port().start()?;
    scene.daemon.ctl("detach sniffer br1:toveth1").ok();
    let found = printed(python(scene.daemon.host(), &socket(&scene)), REFUSALS)?;
    for (name, words) in [
        ("place", "netdev `nosuch` does not exist"),
        ("filter", "syntax error at `prot`"),
        ("path", "`br9`"),
        ("value", "aging-time"),
        ("name", "`a/b ?`"),
    ] {
        let message = found[name][1].as_str().with_context(|| format!("{name} was not refused: {found}"))?;
        assert!(message.contains(words), "{name}: {message}");
        assert!(found[name][0].as_u64().is_some_and(|status| (400..500).contains(&status)), "{found}");
        assert!(found[name][2].as_str().is_some_and(|tag| !tag.is_empty()), "{found}");
    }
    assert_eq!(found["read"], json!([60, null, true, 2, "lib"]));
    assert!(found["unreachable"].as_str().is_some_and(|text| text.starts_with("unix:///nowhere: ")), "{found}");
    Ok(())
}

const TLS: &str = r#"
import json, sys
from polycube import Client, Refused, Unreachable
ca, url = sys.argv[1], "https://127.0.0.1:9000"
found = [Client(url, token="secret", cacert=ca).get("cubes")]
with Client(url, token="secret", cacert=ca) as daemon, daemon.capture("veth1", packets=3) as packets:
    print("begun", flush=True)
    found.append(len(list(packets)))
for options in [{"cacert": ca}, {"cacert": ca, "token": "wrong"}, {"token": "secret"}]:
    try:
        Client(url, **options).get("cubes")
    except Refused as refused:
        found.append(refused.status)
    except Unreachable as error:
        found.append("CERTIFICATE_VERIFY_FAILED" in str(error))
try:
    Client("http://127.0.0.1:9000", cacert=ca)
except ValueError as error:
    found.append(str(error))
print(json.dumps(found))
"#;

#[test]
fn it_speaks_tls_and_sends_a_token_to_nobody_else() -> Result<()> {
    let files = tempfile::tempdir()?;
    let path = |name: &str| files.path().join(name).display().to_string();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(path("cert.pem"), made.cert.pem())?;
    for (name, text) in [("key.pem", made.signing_key.serialize_pem()), ("token", "secret\n".to_owned())] {
        fs::write(path(name), text)?;
        fs::set_permissions(path(name), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    }
    let (cert, key, token) = (path("cert.pem"), path("key.pem"), path("token"));
    let arguments = ["--addr", "127.0.0.1", "--cert", &cert, "--key", &key, "--token-file", &token];
    let scene = Scene::set_up().peers(2).arguments(arguments).bridge().start()?;
    let mut child = python(scene.daemon.host(), "").args(["-c", TLS, &cert]).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?);
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 3))?;
    line.clear();
    stdout.read_line(&mut line)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_str(&line)?;
    assert_eq!(found[0]["simplebridge"][0]["name"], "br1");
    let rest = found.as_array().context("an array")?;
    assert_eq!(rest[1..=4], [json!(3), json!(401), json!(401), json!(true)]);
    assert!(found[5].as_str().is_some_and(|text| text.contains("are for https")), "{found}");
    Ok(())
}

#[test]
fn types_are_those_of_the_api_and_examples_are_python() -> Result<()> {
    let run = |arguments: &[&str]| -> Result<()> {
        let output = Command::new("python3").args(arguments).current_dir(package()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    run(&["generate_types.py", "--check"])?;
    let mut checked = 0;
    for example in fs::read_dir(package().join("examples"))? {
        let path = example?.path();
        let compile = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
        run(&["-c", compile, path.to_str().context("UTF-8")?])?;
        checked += 1;
    }
    assert_eq!(checked, 2);
    let project = fs::read_to_string(package().join("pyproject.toml"))?;
    assert!(project.contains(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION"))), "{project}");
    assert!(!project.contains("dependencies"), "the package needs nothing but Python");
    Ok(())
}
