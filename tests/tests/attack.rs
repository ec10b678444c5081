//! Can a client of the API that owns the directory of a capture make the daemon read, replace or delete other users'
//! files?
//!
//! The daemon runs as root. Each test replaces a capture's file, or a directory on the way to it, and makes the daemon
//! use that name again:
//!
//! - to download the file, or to read the packets so far;
//! - to compress it, or to delete it from a ring of files;
//! - to repair it after a crash;
//! - to create the next file.
//!
//! The others name a path outside of the allowed directories, or one that should be overwritten. `docs/security.md` has
//! what is promised.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::NOBODY;
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

/// The contents of the file that the attacker must not read or change.
const SECRET: &[u8] = b"root:$y$j9T$secret:20000:0:99999:7:::\n";

/// A sniffer that writes `mine/trace.pcap`, in a directory below the capture directory that the attacker owns.
struct Site {
    scene: Scene,
    /// The name of the first file.
    name: &'static str,
    /// The file that the attacker is after.
    secret: PathBuf,
    elsewhere: tempfile::TempDir,
}

/// Puts something under the name of a file.
type Attack = fn(&Site, &Path) -> io::Result<()>;

/// What takes the place of a file, with names for messages.
const REPLACEMENTS: [(&str, Attack); 5] = [
    ("a symbolic link", |site, path| symlink(&site.secret, path)),
    ("a hard link", |site, path| fs::hard_link(&site.secret, path)),
    ("another file", |site, path| fs::copy(&site.secret, path).map(drop)),
    ("a directory", |_, path| fs::create_dir(path)),
    ("a pipe", |_, path| Ok(mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o666), 0)?)),
];

impl Site {
    fn build(settings: &Value) -> Result<Self> {
        let scene = Scene::bridge(2)?;
        let elsewhere = tempfile::tempdir_in(scene.daemon.capture_dir().parent().context("a parent")?)?;
        // Rotated files are numbered.
        let name = if settings["rotate"].is_null() { "trace.pcap" } else { "trace-000001.pcap" };
        let site = Self { secret: elsewhere.path().join("shadow"), elsewhere, scene, name };
        fs::write(&site.secret, SECRET)?;
        fs::create_dir(site.mine())?;
        chown(site.mine(), Some(NOBODY), Some(NOBODY))?;
        let mut all = json!({ "capture": "bidirectional", "dump": "mine/trace" });
        all.as_object_mut().context("an object")?.extend(settings.as_object().context("an object")?.clone());
        site.scene.sniff_at("br1:toveth1", &all)?;
        Ok(site)
    }

    /// The attacker's directory.
    fn mine(&self) -> PathBuf {
        self.scene.daemon.capture_dir().join("mine")
    }

    fn trace(&self) -> PathBuf {
        self.mine().join(self.name)
    }

    /// Sends frames, and waits until the capture has them.
    fn send(&self, numbers: Range<u32>) -> Result<()> {
        let before = self.scene.counter("captured")?;
        let count = u64::from(numbers.end - numbers.start);
        let frames: Vec<_> = numbers.map(|number| self.scene.flow(1, 2).frame(Protocol::Udp, 1000, number)).collect();
        let sender = Sender::open(self.scene.peer(1))?;
        for burst in frames.chunks(64) {
            sender.send(burst)?;
            thread::sleep(Duration::from_millis(1));
        }
        eventually("the packets", || Ok(self.scene.counter("captured")? == before + count))
    }

    /// Sends until `trace.pcap` is there.
    fn begin(&self) -> Result<()> {
        self.send(0..10)?;
        eventually("the file", || Ok(self.trace().exists()))?;
        pcap::wait_for(&self.trace(), 10, Duration::from_secs(10))?;
        Ok(())
    }

    fn set(&self, words: &str) {
        self.scene.daemon.ctl(&format!("sniffer {words}")).ok();
    }

    /// Asks for the file `name`; the attack succeeds if the answer contains the secret.
    fn download(&self, name: &str) -> Result<u16> {
        let reply = self.scene.daemon.http("GET", &format!("/polycube/v1/sniffer/files/{name}"), None)?;
        ensure!(!contains(&reply.body, SECRET), "the download of {name} contains the secret");
        Ok(reply.status)
    }

    fn check_secret(&self, after: &str) -> Result<()> {
        ensure!(fs::read(&self.secret).with_context(|| after.to_owned())? == SECRET, "{after}: the secret was changed");
        Ok(())
    }

    /// Replaces the attacker's directory with a link to another one, whose `trace.pcap` contains `bytes`.
    fn turn_directory_into_link(&self, bytes: &[u8]) -> Result<PathBuf> {
        let (gone, target) = (self.mine().with_file_name("gone"), self.elsewhere.path().join("target"));
        fs::create_dir(&target)?;
        let there = target.join(self.name);
        fs::write(&there, bytes)?;
        fs::rename(self.mine(), &gone)?;
        symlink(&target, self.mine())?;
        Ok(there)
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A capture file that the daemon did not write. Its only packet has the number [`FOREIGN`].
fn foreign_capture(path: &Path, scene: &Scene) -> Result<Vec<u8>> {
    let frame = scene.flow(1, 2).frame(Protocol::Udp, 200, FOREIGN);
    pcap::write(path, [(1, frame.len() as u32, frame.as_slice())])?;
    Ok(fs::read(path)?)
}

const FOREIGN: u32 = 4_000_000;

#[test]
fn a_download_is_of_the_file_that_was_captured() -> Result<()> {
    for (what, replace) in REPLACEMENTS {
        for is_open in [true, false] {
            let site = Site::build(&json!({}))?;
            site.begin()?;
            if !is_open {
                site.set("set capture=off");
            }
            assert_eq!(site.download("trace.pcap")?, 200);
            fs::remove_file(site.trace())?;
            replace(&site, &site.trace()).with_context(|| what)?;
            assert_eq!(site.download("trace.pcap").with_context(|| what)?, 409, "{what}");
            site.check_secret(what)?;
        }
    }
    Ok(())
}

#[test]
fn a_download_does_not_follow_a_directory_that_became_a_link() -> Result<()> {
    let site = Site::build(&json!({}))?;
    site.begin()?;
    site.turn_directory_into_link(SECRET)?;
    site.download("trace.pcap")?;
    Ok(())
}

#[test]
fn the_packets_so_far_are_those_that_were_captured() -> Result<()> {
    let site = Site::build(&json!({ "rotate": { "size": 1 } }))?;
    let foreign = foreign_capture(&site.elsewhere.path().join("foreign"), &site.scene)?;
    site.begin()?;
    // The first file is full, and the second has begun.
    site.send(10..1200)?;
    for replace in [
        (|site: &Site, _: &[u8]| symlink(site.elsewhere.path().join("foreign"), site.trace())) as fn(&_, &[u8]) -> _,
        |site, foreign| fs::write(site.trace(), foreign),
    ] {
        fs::remove_file(site.trace())?;
        replace(&site, &foreign)?;
        let numbers = pcap::parse(&site.scene.stream_to_end("stream?follow=false")?)?.numbers()?;
        assert!(!numbers.contains(&FOREIGN) && numbers.contains(&1199), "{numbers:?}");
    }
    Ok(())
}

#[test]
fn nothing_else_is_compressed_or_deleted_in_a_files_place() -> Result<()> {
    for (what, replace) in REPLACEMENTS {
        let site = Site::build(&json!({ "storage": { "compress": true } }))?;
        site.begin()?;
        fs::remove_file(site.trace())?;
        replace(&site, &site.trace()).with_context(|| what)?;
        site.set("set capture=off");
        // Deleting the cube waits for the compression.
        site.scene.daemon.ctl("del sniffer").ok();
        assert!(fs::symlink_metadata(site.trace()).is_ok(), "{what} was deleted");
        let names = fs::read_dir(site.mine())?.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
        assert_eq!(names, ["trace.pcap"], "{what}");
        site.check_secret(what)?;
    }
    Ok(())
}

#[test]
fn a_ring_of_files_deletes_its_own_and_nothing_else() -> Result<()> {
    let site = Site::build(&json!({ "rotate": { "size": 1, "files": 1 } }))?;
    site.begin()?;
    fs::remove_file(site.trace())?;
    fs::write(site.trace(), SECRET)?;
    site.send(10..1200)?;
    eventually("the third file", || Ok(site.mine().join("trace-000003.pcap").exists()))?;
    assert_eq!(fs::read(site.trace())?, SECRET);

    let there = site.turn_directory_into_link(SECRET)?.with_file_name("trace-000003.pcap");
    fs::write(&there, SECRET)?;
    let _ = site.scene.daemon.ctl("sniffer set capture=off");
    assert_eq!(fs::read(&there)?, SECRET);
    assert_eq!(fs::read_dir(there.parent().context("a directory")?)?.count(), 2);
    Ok(())
}

/// The next daemon truncates a killed daemon's file, or deletes it if it has no header, but not what has taken its
/// name.
#[test]
fn what_took_the_place_of_a_killed_daemons_file_is_not_mended() -> Result<()> {
    for (what, replace) in REPLACEMENTS.into_iter().filter(|(what, _)| !["a directory", "a pipe"].contains(what)) {
        let mut site = Site::build(&json!({}))?;
        // It ends in the middle of its only record, so that a daemon that takes it for its own truncates it.
        let whole = foreign_capture(&site.secret, &site.scene)?;
        let cut = &whole[..whole.len() - 7];
        fs::write(&site.secret, cut)?;
        site.begin()?;
        site.scene.daemon.kill9()?;
        fs::remove_file(site.trace())?;
        replace(&site, &site.trace())?;
        site.scene.daemon.restart()?;
        site.scene.daemon.ctl("packetcapture add sniffer").ok();
        assert_eq!(fs::read(&site.secret)?, cut, "{what}");
        assert_eq!(fs::read(site.trace())?, cut, "{what}");
    }
    Ok(())
}

#[test]
fn a_killed_daemons_file_is_not_mended_through_a_directory_that_became_a_link() -> Result<()> {
    let mut site = Site::build(&json!({}))?;
    let whole = foreign_capture(&site.elsewhere.path().join("foreign"), &site.scene)?;
    site.begin()?;
    site.scene.daemon.kill9()?;
    let there = site.turn_directory_into_link(&whole[..whole.len() - 7])?;
    site.scene.daemon.restart()?;
    site.scene.daemon.ctl("packetcapture add sniffer").ok();
    assert_eq!(fs::read(there)?, whole[..whole.len() - 7]);
    Ok(())
}

#[test]
fn no_capture_is_written_outside_the_directories_that_the_operator_named() -> Result<()> {
    let site = Site::build(&json!({ "capture": "off" }))?;
    let target = site.elsewhere.path().join("cron");
    fs::create_dir(&target)?;
    symlink(&target, site.mine().join("link"))?;
    let outside = target.join("job").display().to_string();
    let relative = Path::new("../..").join(site.elsewhere.path().strip_prefix("/")?).join("cron/job");
    for (path, reason) in [
        (outside.as_str(), "is outside the capture directory"),
        ("/etc/cron.d/job", "is outside the capture directory"),
        (relative.to_str().context("UTF-8")?, "contains `..`"),
        ("mine/../../job", "contains `..`"),
    ] {
        let refusal = site.scene.daemon.ctl(&format!("sniffer set dump={path}")).one_line(2);
        assert!(refusal.contains("sniffer/dump") && refusal.contains(reason), "{path}: {refusal}");
    }
    site.set("set dump=mine/link/job");
    let refusal = site.scene.daemon.ctl("sniffer set capture=ingress").one_line(2);
    assert!(refusal.contains("a symbolic link is on the way to it"), "{refusal}");
    assert_eq!(fs::read_dir(target)?.count(), 0);
    assert!(!Path::new("/etc/cron.d/job.pcap").exists());
    Ok(())
}

#[test]
fn the_next_file_does_not_go_through_a_directory_that_became_a_link() -> Result<()> {
    let site = Site::build(&json!({ "rotate": { "size": 1 } }))?;
    site.begin()?;
    let there = site.turn_directory_into_link(SECRET)?;
    let captured = site.scene.counter("captured")?;
    let frames: Vec<_> = (0..1200).map(|number| site.scene.flow(1, 2).frame(Protocol::Udp, 1000, number)).collect();
    let sender = Sender::open(site.scene.peer(1))?;
    for burst in frames.chunks(64) {
        sender.send(burst)?;
        thread::sleep(Duration::from_millis(1));
    }
    eventually("packets that are not written", || Ok(site.scene.counter("dropped-disk")? > 0))?;
    let counters = site.scene.balance()?;
    assert!(counters["captured"].as_u64() > Some(captured), "what is open goes on: {counters:?}");
    let status = site.scene.status()?;
    assert!(status.contains("a symbolic link is on the way to it"), "{status}");
    assert_eq!((fs::read(&there)?.as_slice(), fs::read_dir(there.with_file_name("."))?.count()), (SECRET, 1));
    Ok(())
}

/// Waits until the packets in a file that already existed are these.
fn wait_for_numbers(path: &Path, numbers: Range<u32>) -> Result<()> {
    let found = || pcap::read(path).and_then(|file| file.numbers());
    eventually("the new packets in the file", || Ok(found().is_ok_and(|found| found.into_iter().eq(numbers.clone()))))
}

#[test]
fn what_no_capture_wrote_is_not_overwritten() -> Result<()> {
    let site = Site::build(&json!({ "capture": "off", "storage": { "overwrite": true } }))?;
    let foreign = foreign_capture(&site.elsewhere.path().join("foreign"), &site.scene)?;
    let path = |name: &str| site.mine().join(name);
    fs::write(path("trace.pcap"), SECRET)?;
    fs::hard_link(&site.secret, path("trace-000001.pcap"))?;
    fs::write(path("trace-000002.pcap"), &foreign)?;
    chown(path("trace-000002.pcap"), Some(NOBODY), None)?;
    site.set("set capture=bidirectional");
    site.send(0..10)?;
    assert_eq!(site.scene.wait_for_dump()?, path("trace-000003.pcap"));
    assert_eq!((fs::read(path("trace.pcap"))?, fs::read(path("trace-000001.pcap"))?), (SECRET.into(), SECRET.into()));
    assert_eq!(fs::read(path("trace-000002.pcap"))?, foreign);
    site.check_secret("overwriting")?;
    // The cube's own file is replaced.
    site.set("set capture=off");
    site.set("set capture=bidirectional");
    site.send(10..20)?;
    assert_eq!(site.scene.wait_for_dump()?, path("trace-000003.pcap"));
    wait_for_numbers(&path("trace-000003.pcap"), 10..20)?;
    assert!(site.scene.daemon.log().contains("trace.pcap was not written by a capture"));
    Ok(())
}

#[test]
fn what_an_earlier_daemon_captured_is_overwritten_if_asked() -> Result<()> {
    let settings = json!({ "storage": { "overwrite": true } });
    let mut site = Site::build(&settings)?;
    site.begin()?;
    site.scene.daemon.kill9()?;
    site.scene.daemon.restart()?;
    let mut all = json!({ "capture": "bidirectional", "dump": "mine/trace" });
    all["storage"] = settings["storage"].clone();
    site.scene.sniff_at("veth1", &all)?;
    site.send(10..20)?;
    wait_for_numbers(&site.trace(), 10..20)
}

#[test]
fn the_operator_may_allow_other_directories() -> Result<()> {
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let roots = [&one, &other].map(|root| root.path().display().to_string());
    let arguments = ["--capture-root", &roots[0], "--capture-root", &roots[1]];
    let scene = Scene::set_up().peers(2).arguments(arguments).bridge().start()?;
    scene.sniff_at("br1:toveth1", &json!({ "capture": "bidirectional" }))?;
    for root in &roots {
        scene.daemon.ctl(&format!("sniffer set dump={root}/trace")).ok();
        Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 3))?;
        let path = Path::new(root).join("trace.pcap");
        eventually("the file", || Ok(scene.dump()?.as_ref() == Some(&path)))?;
        pcap::wait_for(&path, 3, Duration::from_secs(10))?;
    }
    let refusal = scene.daemon.ctl("sniffer set dump=/var/tmp/trace").one_line(2);
    assert!(refusal.contains("is outside the capture directory"), "{refusal}");
    drop(scene);

    let scene = Scene::set_up().peers(2).arguments(["--capture-root", "/"]).bridge().start()?;
    let path = one.path().join("anywhere.pcap");
    scene.sniff_at("br1:toveth1", &json!({ "capture": "bidirectional", "dump": path }))?;
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 3))?;
    assert_eq!(scene.wait_for_dump()?, path);
    Ok(())
}
