//! Does `top` show rates and drops, and does `dump a b` join captures in order of time?

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use polycube_tests::daemon::copy_program;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender, Steady};
use serde_json::Value;

fn scene() -> Result<Scene> {
    let scene = Scene::set_up().peers(2).start()?;
    for line in ["packetcapture add a parent=veth1 capture=ingress", "packetcapture add b parent=veth2 capture=ingress"]
    {
        scene.daemon.ctl(line).ok();
    }
    Ok(scene)
}

#[test]
fn a_pipe_gets_one_table_with_rates() -> Result<()> {
    let scene = scene()?;
    scene.daemon.ctl("simplebridge add br1").ok();
    scene.daemon.ctl("br1 ports add p peer=veth2").ok();
    let steady = Steady::start(scene.peer(1), scene.flow(1, 2), 100, u32::MAX)?;
    let shown = scene.daemon.ctl("top").ok();
    steady.stop()?;
    let line = shown.lines().find(|line| line.starts_with("a ")).context("the capture")?;
    let cells: Vec<&str> = line.split_whitespace().collect();
    assert_eq!((cells[1], cells[2]), ("veth1", "capturing"), "{shown}");
    assert!(cells[4].parse::<u64>()? > 10, "packets per second: {shown}");
    assert!(shown.lines().any(|line| line.starts_with("br1:p ")), "{shown}");
    assert!(!shown.contains('\u{1b}'), "a pipe gets no colours: {shown}");
    Ok(())
}

#[test]
fn captures_are_joined_in_order_of_time_with_an_interface_each() -> Result<()> {
    let scene = scene()?;
    for round in 0..10_u32 {
        for peer in [1, 2] {
            let flow = scene.flow(peer, 3 - peer);
            let first = round * 20 + (peer as u32 - 1) * 10;
            let frames: Vec<_> = (first..first + 10).map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
            Sender::open(scene.peer(peer))?.send(&frames)?;
        }
    }
    let captured = |cube: &str| -> Result<Option<u64>> { Ok(scene.get(cube)?["counters"]["captured"].as_u64()) };
    eventually("the packets", || Ok(captured("a")? >= Some(100) && captured("b")? >= Some(100)))?;
    let place = tempfile::tempdir()?;
    let path = place.path().join("all.pcapng");
    scene.daemon.ctl_words(&["dump", "a", "b", "-w", path.to_str().context("UTF-8")?]).ok();
    let file = pcap::read(&path)?;
    assert!(file.records.windows(2).all(|pair| pair[0].time_ns <= pair[1].time_ns));
    assert_eq!(file.metadata.interfaces.len(), 2);
    for interface in [0, 1] {
        assert!(file.records.iter().filter(|record| record.interface == Some(interface)).count() >= 100);
    }
    let refused = scene.daemon.ctl("dump a b -w /tmp/x.pcap");
    assert_eq!(refused.code, Some(64));
    let missing = scene.daemon.ctl("dump a nosuch --follow").one_line(2);
    assert!(missing.contains("nosuch"), "{missing}");
    Ok(())
}

#[test]
fn times_are_local_unless_they_are_to_be_utc() -> Result<()> {
    let scene = scene()?;
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 3);
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("a file", || {
        Ok(scene.get("a/files")?.as_array().is_some_and(|files| files.iter().any(|file| file["packets"] == 3)))
    })?;
    let raw: Value = scene.get("a/files")?;
    let first = raw[0]["first"].as_str().context("a time")?;
    assert!(first.ends_with('Z'));
    assert!(scene.daemon.ctl("a files show --utc").ok().contains(first));
    let program = polycube_tests::daemon::binary_dir()?.join("polycubectl");
    let url = format!("unix://{}", scene.daemon.socket().display());
    let local =
        Command::new(program).args(["a", "files", "show"]).env("TZ", "<+05>-5").env("POLYCUBECTL_URL", url).output()?;
    assert!(String::from_utf8(local.stdout)?.contains("+05:00"));
    Ok(())
}

/// A `tshark` that prints this.
fn fake(directory: &Path, folders: &str) -> Result<()> {
    let path = directory.join("tshark");
    let script = format!("#!/bin/sh\ncase $1 in -v) echo 'TShark (Wireshark) 4.4.2.';; *) printf '{folders}';; esac\n");
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[test]
fn wiresharks_folder_gets_a_link_and_loses_it() -> Result<()> {
    let place = tempfile::tempdir()?;
    let program = copy_program("polycube-extcap", place.path())?;
    let (own, all) = (place.path().join("own/extcap"), place.path().join("all/extcap"));
    let run = |arguments: &[&str]| -> Result<(Option<i32>, String)> {
        let mut command = Command::new(&program);
        let output = command
            .args(arguments)
            .env("PATH", format!("{}:/bin:/usr/bin", place.path().display()))
            .stdin(Stdio::null())
            .output()?;
        Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
    };
    fake(
        place.path(),
        &format!("Personal Extcap path:\\t{}\\nGlobal Extcap path:\\t{}\\n", own.display(), all.display()),
    )?;
    for (arguments, folder) in [(&["--install"][..], &own), (&["--install", "--system"], &all)] {
        let link = folder.join("polycube-extcap");
        for _ in 0..2 {
            let (code, said) = run(arguments)?;
            assert_eq!((code, fs::read_link(&link)?), (Some(0), program.clone()), "{said}");
        }
        let undo: Vec<&str> =
            arguments.iter().map(|word| if *word == "--install" { "--uninstall" } else { word }).collect();
        assert_eq!(run(&undo)?.0, Some(0));
        assert!(link.symlink_metadata().is_err());
    }
    fs::write(own.join("polycube-extcap"), "mine")?;
    let (code, said) = run(&["--install"])?;
    assert!(code == Some(74) && said.contains("is not a link that --install has made"), "{said}");
    fake(place.path(), &format!("Extcap path:\\t{}\\n", all.display()))?;
    let (code, said) = run(&["--install"])?;
    assert!(code == Some(74) && said.contains("reads no folder of your own: give --system"), "{said}");
    Ok(())
}
