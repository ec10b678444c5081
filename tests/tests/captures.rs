//! Do capture files outlive their cubes, and are they found, read, searched and deleted without one?

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::Daemon;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};

const FILES: &str = "/polycube/v1/services/packetcapture/files";

fn send(scene: &Scene, from: usize, to: usize, first: u32, count: u32) -> Result<()> {
    let flow = scene.flow(from, to);
    let frames: Vec<_> = (first..first + count).map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
    Sender::open(scene.peer(from))?.send(&frames)?;
    Ok(())
}

/// The list of files, by their names.
fn list(daemon: &Daemon) -> Result<Vec<Value>> {
    let files = serde_json::from_str::<Value>(&daemon.ctl("captures show -json").ok())?;
    Ok(files.as_array().context("a list")?.clone())
}

fn names(daemon: &Daemon) -> Result<Vec<String>> {
    let name = |file: &Value| file["name"].as_str().map(str::to_owned).context("a name");
    list(daemon)?.iter().map(name).collect()
}

/// Records `numbers` from peer 1 to peer 2 with a cube that is deleted afterwards.
fn record(scene: &Scene, name: &str, settings: &Value, first: u32, count: u32) -> Result<()> {
    let mut all = json!({ "capture": "ingress", "dump": name });
    all.as_object_mut().context("an object")?.extend(settings.as_object().context("an object")?.clone());
    scene.sniff_at("br1:toveth1", &all)?;
    send(scene, 1, 2, first, count)?;
    let packets = || Ok(scene.get("sniffer/counters")?["captured"] == count);
    eventually("all packets are captured", packets)?;
    scene.daemon.ctl("sniffer set capture=off").ok();
    eventually("the file has its index", || {
        let found = list(&scene.daemon)?;
        let file = found.iter().find(|file| file["name"].as_str().is_some_and(|found| found.starts_with(name)));
        Ok(file.is_some_and(|file| file["is-indexed"] == true && file["state"] != "open"))
    })?;
    scene.daemon.ctl("del sniffer").ok();
    Ok(())
}

/// The numbers of the packets that a query finds, in their order.
fn query(scene: &Scene, expression: &str) -> Result<Vec<u32>> {
    let path = scene.daemon.capture_dir().join("found.query");
    let word = path.to_str().context("a path")?;
    scene.daemon.ctl_words(&["captures", "query", expression, "-w", word, "--force"]).ok();
    pcap::read(&path)?.numbers()
}

#[test]
fn files_of_deleted_cubes_and_of_earlier_runs_are_listed_read_and_deleted() -> Result<()> {
    let mut scene = Scene::bridge(2)?;
    record(&scene, "first", &json!({}), 0, 20)?;
    record(&scene, "second", &json!({ "format": "pcapng" }), 20, 30)?;
    scene.daemon.terminate()?;
    scene.daemon.restart()?;
    ensure!(names(&scene.daemon)? == ["first.pcap", "second.pcapng"]);
    let second = &list(&scene.daemon)?[1];
    let path = scene.daemon.capture_dir().join("second.pcapng");
    ensure!(second["packets"] == 30 && second["cube"] == "sniffer" && second["state"] == "closed", "{second}");
    ensure!(second["size"] == fs::metadata(&path)?.len() && second["places"] == json!(["br1:toveth1"]), "{second}");
    let copy = scene.daemon.capture_dir().join("copy");
    let word = copy.to_str().context("a path")?;
    scene.daemon.ctl_words(&["captures", "get", "second.pcapng", "-w", word]).ok();
    ensure!(fs::read(&copy)? == fs::read(&path)?);
    let part = scene.daemon.http_with(&[("Range", "bytes=0-3")], "GET", &format!("{FILES}/first.pcap"), None)?;
    ensure!(part.status == 206 && part.body == fs::read(scene.daemon.capture_dir().join("first.pcap"))?[..4]);
    scene.daemon.ctl("captures del first.pcap").ok();
    ensure!(names(&scene.daemon)? == ["second.pcapng"]);
    let gone = scene.daemon.ctl("captures del first.pcap");
    let expected = "polycubectl: there is no capture file `first.pcap`";
    ensure!(gone.stderr.starts_with(expected), "{}", gone.stderr);
    Ok(())
}

#[test]
fn a_file_that_is_being_written_is_not_deleted() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff_at("br1:toveth1", &json!({ "capture": "ingress", "dump": "open" }))?;
    send(&scene, 1, 2, 0, 5)?;
    eventually("the file exists", || Ok(names(&scene.daemon)? == ["open.pcap"]))?;
    ensure!(list(&scene.daemon)?[0]["state"] == "open");
    let refused = scene.daemon.ctl("captures del open.pcap");
    ensure!(refused.stderr.contains("`open.pcap` is being written"), "{}", refused.stderr);
    eventually("a query finds what is there", || Ok(query(&scene, "")? == [0, 1, 2, 3, 4]))
}

/// Whatever else is there, and whatever a name leads to.
#[test]
fn only_files_of_captures_are_reached() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let directory = scene.daemon.capture_dir();
    fs::write(directory.join("strange.pcap"), "not ours")?;
    fs::write(directory.join("secret"), "secret")?;
    symlink(directory.join("secret"), directory.join("link.pcap"))?;
    ensure!(names(&scene.daemon)?.is_empty());
    for name in ["strange.pcap", "link.pcap", "secret", "..%2Fsecret.pcap", "%2Fetc%2Fpasswd", "%2Fetc%2Fx.pcap"] {
        for method in ["GET", "DELETE"] {
            let status = scene.daemon.http(method, &format!("{FILES}/{name}"), None)?.status;
            ensure!((400..500).contains(&status), "{method} {name}: {status}");
        }
    }
    ensure!(directory.join("strange.pcap").exists() && query(&scene, "")?.is_empty());
    let wrong = scene.daemon.http("PUT", &format!("{FILES}/strange.pcap"), None)?;
    ensure!(wrong.status == 405, "{}", wrong.status);
    Ok(())
}

#[test]
fn a_query_finds_packets_of_all_formats_in_order_of_time() -> Result<()> {
    let scene = Scene::bridge(2)?;
    record(&scene, "a", &json!({ "format": "pcapng" }), 0, 10)?;
    record(&scene, "b", &json!({ "storage": { "compress": true } }), 10, 10)?;
    record(&scene, "c", &json!({ "format": "pcap-nanos" }), 20, 10)?;
    let all: Vec<u32> = (0..30).collect();
    ensure!(query(&scene, "")? == all);
    let flow = scene.flow(1, 2);
    ensure!(query(&scene, &format!("host {} and udp", flow.from.ip))? == all);
    ensure!(query(&scene, "host 192.0.2.77")?.is_empty() && query(&scene, "before 1h ago")?.is_empty());
    ensure!(query(&scene, "tcp or udp and after 1h ago and before now")? == all);
    let log = scene.daemon.log();
    ensure!(log.contains("files in") && log.contains("a query read 0 of 3 files"), "{log}");
    let files = list(&scene.daemon)?;
    let first = files.iter().filter_map(|file| file["first"].as_str()).min().context("a time")?;
    let shown = first.trim_end_matches('Z');
    ensure!(query(&scene, &format!("after {shown}+00:00"))? == all, "as it is shown elsewhere: {shown}");
    ensure!(query(&scene, &format!("after {shown}-05:00"))?.is_empty(), "five hours later");
    for (expression, why) in [
        ("prot 5", "prot"),
        ("udp or after 1h ago", "whole expression"),
        ("after x", "`x` is not a time"),
        ("after 2026-11-29 14:46", "write `2026-11-29T14:46`"),
        ("after 2 minutes ago", "write `2min ago`"),
    ] {
        let refused = scene.daemon.ctl_words(&["captures", "query", expression]);
        let said = &refused.stderr;
        ensure!(said.contains(why) && said.starts_with("polycubectl: expression: "), "{expression}: {said}");
    }
    let lines = scene.daemon.ctl_words(&["captures", "query", "udp", "-c", "3"]).ok();
    ensure!(lines.lines().count() == 3, "{lines}");
    Ok(())
}

/// Two captures at once, whose packets alternate.
#[test]
fn files_that_overlap_are_merged() -> Result<()> {
    let scene = Scene::bridge(2)?;
    for (cube, place) in [("one", "br1:toveth1"), ("two", "br1:toveth2")] {
        scene.daemon.ctl(&format!("packetcapture add {cube} capture=ingress dump={cube} format=pcapng")).ok();
        scene.daemon.ctl(&format!("attach {cube} {place}")).ok();
    }
    for number in (0..20).step_by(2) {
        send(&scene, 1, 2, number, 1)?;
        send(&scene, 2, 1, number + 1, 1)?;
    }
    let found = || Ok(query(&scene, "")?.len() == 20);
    eventually("all packets are in the files", found)?;
    ensure!(query(&scene, "")?.windows(2).all(|pair| pair[0] < pair[1]));
    let read = pcap::read(&scene.daemon.capture_dir().join("found.query"))?;
    let interfaces: BTreeSet<usize> = read.records.iter().filter_map(|record| record.interface).collect();
    ensure!(interfaces.len() == 2, "{interfaces:?}");
    Ok(())
}

#[test]
fn tshark_reads_what_a_query_finds() -> Result<()> {
    let scene = Scene::bridge(2)?;
    record(&scene, "a", &json!({}), 0, 3)?;
    query(&scene, "")?;
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(scene.daemon.capture_dir().join("found.query"));
    let out = tshark.args(["-T", "fields", "-e", "frame.interface_name"]).output().context("tshark is needed")?;
    let text = String::from_utf8(out.stdout)?;
    ensure!(text.lines().collect::<Vec<_>>() == ["br1:toveth1"; 3], "{text}{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}
