//! Does `capture` work where no daemon runs, and is nothing left of its own one, whichever of the two is killed?

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};
use polycube_tests::capture::Direction;
use polycube_tests::daemon::{binary_dir, pins};
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::{Lab, Namespace, Wire};
use polycube_tests::pcap;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Where the machine's pins are.
const BPFFS: &str = "/sys/fs/bpf";

/// A machine without a daemon, with two wires.
struct Site {
    lab: Lab,
    wires: [Wire; 2],
    /// What programs see as `/run`.
    run: TempDir,
}

impl Site {
    fn build() -> Result<Self> {
        let lab = Lab::new()?;
        let wire = |number: usize| lab.veth(&format!("veth{number}"), &lab.peer(&format!("peer{number}"))?, "eth0");
        let wires = [wire(1)?, wire(2)?];
        Ok(Self { lab, wires, run: tempfile::tempdir()? })
    }

    /// `polycubectl` on that machine.
    fn ctl(&self, words: &[&str]) -> Result<Command> {
        alone(self.lab.host(), self.run.path(), words)
    }

    fn begin(&self, words: &[&str]) -> Result<(Child, BufReader<ChildStderr>)> {
        begin(self.ctl(words)?)
    }

    fn send(&self, count: u32) -> Result<()> {
        let flow = Flow::between(&self.wires[0].peer, &self.wires[1].peer);
        let frames: Vec<_> = (0..count).map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
        Sender::open(&self.wires[0].peer)?.send(&frames)?;
        Ok(())
    }

    /// The daemons of this machine.
    fn daemons(&self) -> Result<Vec<Pid>> {
        let place = self.run.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let path = entry?.path();
            let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            let words = fs::read(path.join("cmdline")).unwrap_or_default();
            let mounts = fs::read_to_string(path.join("mountinfo")).unwrap_or_default();
            let is_here = mounts.lines().any(|line| line.contains(&place) && line.contains(" /run "));
            if is_here && words.windows(9).any(|word| word == b"--private") {
                found.push(pid);
            }
        }
        Ok(found)
    }

    fn assert_nothing_is_left(&self, pinned: &[PathBuf]) -> Result<()> {
        eventually("no daemon", || Ok(self.daemons()?.is_empty()))?;
        eventually("no programs", || {
            let attached = ["veth1", "veth2"].map(|name| programs_attached(self.lab.host(), name));
            Ok(attached.into_iter().collect::<Result<Vec<_>>>()?.iter().all(Vec::is_empty))
        })?;
        eventually("no directory", || Ok(fs::read_dir(self.run.path())?.next().is_none()))?;
        let ours = own_pins()?;
        ensure!(ours.iter().all(|pin| pinned.contains(pin)), "{ours:?}");
        Ok(())
    }
}

/// `polycubectl` on a machine whose `/run` is the directory `run`, where no daemon's socket is.
fn alone(host: &Namespace, run: &Path, words: &[&str]) -> Result<Command> {
    let mut command = host.command("unshare");
    let script = "mount --make-rprivate / && mount --bind \"$0\" /run && exec \"$@\"";
    command.args(["-m", "sh", "-c", script]).arg(run).arg(binary_dir()?.join("polycubectl")).args(words);
    command.current_dir("/").env("HOME", "/nowhere").env("TZ", "UTC").env_remove("POLYCUBECTL_URL");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Starts a capture and waits until it says that it captures.
fn begin(mut command: Command) -> Result<(Child, BufReader<ChildStderr>)> {
    let mut child = command.spawn()?;
    let mut stderr = BufReader::new(child.stderr.take().context("stderr is a pipe")?);
    let mut line = String::new();
    stderr.read_line(&mut line)?;
    ensure!(line.starts_with("polycubectl: capturing at "), "{line}");
    Ok((child, stderr))
}

/// Pins of private daemons in the machine's own file system.
fn own_pins() -> Result<Vec<PathBuf>> {
    let all = pins(Path::new(BPFFS))?;
    Ok(all.into_iter().filter(|pin| pin.to_string_lossy().contains("polycube-private-")).collect())
}

#[test]
fn a_capture_needs_no_daemon() -> Result<()> {
    let (site, pinned) = (Site::build()?, own_pins()?);
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("t.pcapng");
    let (mut child, mut stderr) = site.begin(&["capture", "veth1", "udp", "-w", path.to_str().context("UTF-8")?])?;
    assert_eq!(site.daemons()?.len(), 1);
    site.send(50)?;
    eventually("the packets", || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 50)))?;
    kill_process(Pid::from_child(&child), Signal::INT)?;
    assert_eq!(child.wait()?.code(), Some(0));
    let mut said = String::new();
    stderr.read_to_string(&mut said)?;
    assert!(said.contains("50 packets captured") && said.contains("\n0 packets dropped\n"), "{said}");
    let file = pcap::read(&path)?;
    assert_eq!(file.metadata.statistics.last().context("statistics")?.delivered, 50);
    site.assert_nothing_is_left(&pinned)
}

/// The reader of a pipe that is closed once takes that for the end of the capture.
#[test]
fn a_pipe_is_opened_once() -> Result<()> {
    let (site, pinned) = (Site::build()?, own_pins()?);
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("pipe");
    ensure!(Command::new("mkfifo").arg(&pipe).status()?.success());
    let words = ["capture", "veth1", "udp", "--force", "-c", "3", "-w", pipe.to_str().context("UTF-8")?];
    let reader = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read(pipe))
    };
    let mut child = site.ctl(&words)?.spawn()?;
    let captured = eventually("the packets", || {
        site.send(3)?;
        Ok(child.try_wait()?.is_some())
    });
    if captured.is_err() {
        kill_process(Pid::from_child(&child), Signal::KILL)?;
    }
    assert_eq!(child.wait()?.code(), captured.map(|()| Some(0))?);
    let bytes = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    assert_eq!(pcap::parse(&bytes)?.records.len(), 3);
    site.assert_nothing_is_left(&pinned)
}

/// A bridge's programs redirect what comes in, and go on doing so after its daemon is killed.
#[test]
fn what_another_daemons_bridge_takes_is_captured_too() -> Result<()> {
    let mut scene = Scene::bridge(2)?;
    let (run, directory) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let attached = programs_attached(scene.lab.host(), "veth1")?;
    let pinned = own_pins()?;
    for state in ["running", "killed"] {
        if state == "killed" {
            scene.daemon.kill9()?;
        }
        let path = directory.path().join(format!("{state}.pcapng"));
        let words = ["capture", "veth1", "udp", "-w", path.to_str().context("UTF-8")?];
        let (mut child, mut stderr) = begin(alone(scene.lab.host(), run.path(), &words)?)?;
        for (from, numbers) in [(1, 0..20), (2, 20..40)] {
            let flow = scene.flow(from, 3 - from);
            let frames: Vec<_> = numbers.map(|number| flow.frame(Protocol::Udp, 100, number)).collect();
            Sender::open(scene.peer(from))?.send(&frames)?;
        }
        let both = || Ok(pcap::read(&path).is_ok_and(|file| file.records.len() == 40));
        eventually(&format!("the packets of both directions, while the bridge's daemon is {state}"), both)?;
        kill_process(Pid::from_child(&child), Signal::INT)?;
        let mut said = String::new();
        stderr.read_to_string(&mut said)?;
        assert_eq!(child.wait()?.code(), Some(0), "{said}");
        let file = pcap::read(&path)?;
        assert!(file.numbers()?.into_iter().eq(0..40));
        let directions = [Direction::In, Direction::Out].map(|direction| vec![Some(direction); 20]).concat();
        assert!(file.records.iter().map(|record| record.direction).eq(directions));
        eventually("the bridge's programs alone", || Ok(programs_attached(scene.lab.host(), "veth1")? == attached))?;
    }
    let left = own_pins()?;
    ensure!(left.iter().all(|pin| pinned.contains(pin)), "{left:?}");
    Ok(())
}

#[test]
fn whichever_is_killed_nothing_is_left() -> Result<()> {
    let (site, pinned) = (Site::build()?, own_pins()?);
    for round in 0..4 {
        let (mut child, mut stderr) = site.begin(&["capture", "veth1", "veth2"])?;
        let [daemon] = site.daemons()?.try_into().ok().context("one daemon")?;
        match round % 2 {
            0 => child.kill()?,
            _ => kill_process(daemon, Signal::KILL)?,
        }
        let status = child.wait()?;
        if round % 2 == 1 {
            let mut said = String::new();
            stderr.read_to_string(&mut said)?;
            assert_eq!(status.code(), Some(1), "{said}");
            assert!(said.contains("polycubed has ended or was restarted"), "{said}");
        }
        site.assert_nothing_is_left(&pinned)?;
    }
    Ok(())
}

#[test]
fn nothing_is_left_of_a_client_that_is_killed_at_any_moment() -> Result<()> {
    let (site, pinned) = (Site::build()?, own_pins()?);
    for round in 0..10_u64 {
        let mut child = site.ctl(&["capture", "veth1"])?.stdout(Stdio::null()).spawn()?;
        // From before its daemon is started to the middle of the capture.
        thread::sleep(std::time::Duration::from_millis(round * 45));
        child.kill()?;
        child.wait()?;
    }
    site.assert_nothing_is_left(&pinned)
}

#[test]
fn what_is_wrong_leaves_nothing_either() -> Result<()> {
    let (site, pinned) = (Site::build()?, own_pins()?);
    let output = site.ctl(&["capture", "veth1", "nosuch"])?.output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("netdev `nosuch` does not exist") && said.lines().count() == 1, "{said}");
    site.assert_nothing_is_left(&pinned)?;
    let output = site.ctl(&["capture", "br1:p1"])?.output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("br1:p1 is a port of a cube, and cubes need a daemon, which is not running"), "{said}");
    let output = site.ctl(&["cubes", "show"])?.output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(said.contains("no daemon answers at unix:///run/polycube/polycubed.sock"), "{said}");
    Ok(())
}
