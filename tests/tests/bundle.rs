//! Does a file say what surrounds its capture, and can others read it?

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender};
use serde_json::Value;

fn send(scene: &Scene) -> Result<()> {
    let flow = Flow::between(scene.peer(1), scene.host(1));
    Sender::open(scene.peer(1))?.send(&[flow.frame(Protocol::Udp, 200, 0)])?;
    Ok(())
}

fn polycubectl(scene: &Scene, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary_dir()?.join("polycubectl"));
    command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display())).args(words);
    Ok(command)
}

/// The comments of a file's section header that are parts of a bundle.
fn parts(path: &Path) -> Result<Vec<Value>> {
    let bytes = std::fs::read(path)?;
    let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let (mut at, mut found) = (24, Vec::new());
    while half(at) != 0 {
        let (code, length) = (half(at), usize::from(half(at + 2)));
        if code == 1 && bytes[at + 4] == b'{' {
            found.push(serde_json::from_slice(&bytes[at + 4..at + 4 + length])?);
        }
        at += 4 + length.next_multiple_of(4);
    }
    Ok(found)
}

/// Whether Wireshark's programs read the file, and how many packets they find.
fn read_by_others(path: &Path) -> Result<usize> {
    let run = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).arg(path).output();
        let output = output.with_context(|| format!("{program} is missing: install tshark"))?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let said = run("capinfos", &[])?;
    ensure!(said.contains("\"part\":1"), "capinfos shows no bundle: {said}");
    Ok(run("tshark", &["-n", "-r"])?.lines().count())
}

#[test]
fn a_capture_in_one_line_has_it() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add other capture=ingress parent=veth1").ok();
    scene.host(1).add_address("10.9.0.1/24")?;
    // More than one comment has room for.
    let mut batch = scene.lab.host().command("ip");
    let mut batch = batch.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().context("ip is missing")?;
    let mut stdin = batch.stdin.take().context("stdin is a pipe")?;
    for number in 0..2000 {
        let (high, low) = (number / 200, number % 200 + 1);
        writeln!(stdin, "neigh add 10.77.{high}.{low} lladdr 02:00:00:00:00:01 dev veth1 nud permanent")?;
    }
    drop(stdin);
    ensure!(batch.wait()?.success(), "ip neigh add");
    let file = scene.daemon.capture_dir().join("bundle.pcapng");
    let mut capture = polycubectl(&scene, &["capture", "veth1", "--bundle", "-c", "1", "-q", "-w"])?;
    let mut capture = capture.arg(&file).spawn()?;
    // The file is there before the capture is, and has a header when that is on.
    eventually("the capture", || Ok(pcap::read(&file).is_ok()))?;
    send(&scene)?;
    ensure!(capture.wait()?.success(), "the capture failed");
    let parts = parts(&file)?;
    ensure!(parts.len() > 1 && parts.iter().all(|part| part["of"] == parts.len()), "{} parts", parts.len());
    let all =
        |key: &str| parts.iter().flat_map(|part| part[key].as_array().cloned().unwrap_or_default()).collect::<Vec<_>>();
    let is_ours = |neighbour: &&Value| neighbour["address"].as_str().is_some_and(|it| it.starts_with("10.77."));
    assert_eq!(all("neighbours").iter().filter(is_ours).count(), 2000);
    ensure!(all("links").iter().any(|link| link["name"] == "veth1"), "{:?}", all("links"));
    ensure!(all("routes").iter().any(|route| route["hops"][0]["netdev"] == "veth1"), "{:?}", all("routes"));
    ensure!(all("cubes").iter().any(|cube| cube["name"] == "other"), "{:?}", all("cubes"));
    ensure!(parts.iter().any(|part| part["counters"]["other"]["seen"].is_u64()), "no counters");
    assert_eq!(read_by_others(&file)?, 1);
    Ok(())
}

#[test]
fn a_dump_and_several_have_it() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    for name in ["one", "two"] {
        scene.daemon.ctl(&format!("packetcapture add {name} capture=ingress format=pcapng parent=veth1")).ok();
    }
    send(&scene)?;
    eventually("the packets", || {
        Ok(["one", "two"].iter().all(|name| scene.get(&format!("{name}/counters")).is_ok_and(|it| it["captured"] == 1)))
    })?;
    for (words, packets) in [(&["one", "dump"][..], 1), (&["dump", "one", "two"], 2)] {
        let file = scene.daemon.capture_dir().join(format!("{}.pcapng", words.join("-")));
        let dumped = polycubectl(&scene, words)?.args(["--bundle", "-w"]).arg(&file).status()?;
        ensure!(dumped.success(), "{words:?}");
        let parts = parts(&file)?;
        ensure!(parts.len() == 1 && parts[0]["counters"]["one"]["captured"] == 1, "{parts:?}");
        assert_eq!((read_by_others(&file)?, pcap::read(&file)?.records.len()), (packets, packets));
    }
    Ok(())
}

#[test]
fn what_has_no_place_for_it_is_refused() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    for words in [
        &["capture", "veth1", "--bundle"][..],
        &["capture", "veth1", "--bundle", "-w", "out.pcap"],
        &["sniffer", "dump", "--bundle", "--format", "pcap"],
    ] {
        let refusal = scene.daemon.ctl_words(words).fails(64);
        ensure!(refusal.contains("--bundle is a part of pcapng"), "{words:?}: {refusal}");
    }
    Ok(())
}
