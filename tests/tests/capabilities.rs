//! Does the daemon have only the capabilities that it needs, and does it work with them?

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, NOBODY, attempt, binary_dir, copy_program};
use polycube_tests::http;
use polycube_tests::lab::Lab;
use polycube_tests::pcap;
use polycube_tests::scene::eventually;
use polycube_tests::traffic::{Flow, Protocol, Sender};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Gid, Pid, Signal, Uid, kill_process, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the daemon cannot do without.
const REQUIRED: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// The lines of `/proc/PID/task/TID/status`, for each thread that does not end meanwhile.
fn statuses(pid: u32) -> Result<Vec<BTreeMap<String, String>>> {
    let mut statuses = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(thread?.path().join("status")) else { continue };
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        statuses.push(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect());
    }
    Ok(statuses)
}

/// Asserts what every thread of a process may do.
#[track_caller]
fn check_threads(pid: u32, kept: CapabilitySet) {
    let statuses = statuses(pid).expect("the process runs");
    assert!(statuses.len() > 3, "{} threads", statuses.len());
    for status in statuses {
        let set = |name: &str| u64::from_str_radix(&status[name], 16).expect("a number");
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set);
        // Unprivileged daemons cannot clear the bounding set, and do not need to: see `no_new_privs`.
        let bounding = if status["Uid"].starts_with('0') { 0 } else { sets[3] };
        assert_eq!(sets, [0, kept.bits(), kept.bits(), bounding, 0], "{}", status["Name"]);
        assert_eq!(status["NoNewPrivs"], "1", "{}", status["Name"]);
    }
}

#[test]
fn root_keeps_only_what_is_needed() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = Daemon::start(&lab)?;
    // Threads of the runtime, of the engine, and of a plugin.
    daemon.ctl("packetcapture add sniffer").ok();
    let stream = http::open(&daemon.socket(), "GET", "/polycube/v1/sniffer/stream?follow=true", None)?;
    assert_eq!(stream.status, 200);
    check_threads(daemon.pid().context("it runs")?, REQUIRED | CapabilitySet::DAC_OVERRIDE);
    Ok(())
}

#[test]
fn plugins_may_need_more() -> Result<()> {
    let lab = Lab::new()?;
    let more = ["--keep-capability", "CAP_SYS_ADMIN", "--keep-capability", "net_raw"];
    let daemon = Daemon::start_with(&lab, &more)?;
    let kept = CapabilitySet::DAC_OVERRIDE | CapabilitySet::SYS_ADMIN | CapabilitySet::NET_RAW;
    check_threads(daemon.pid().context("it runs")?, REQUIRED | kept);

    let refusal = attempt(&lab, &["--keep-capability", "CAP_ROOT"])?.one_line(64);
    assert!(refusal.contains("CAP_ROOT") && refusal.contains("capabilities(7)"), "{refusal}");
    Ok(())
}

/// A daemon of an unprivileged user, in a directory that belongs to this user.
struct Unprivileged {
    directory: TempDir,
    child: Child,
}

impl Unprivileged {
    fn start(lab: &Lab, given: CapabilitySet, more: &[&str]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let program = copy_program("polycubed", path)?;
        let plugins = path.join("plugins");
        for name in ["plugins", "bpf", "captures"] {
            fs::create_dir(path.join(name))?;
        }
        for plugin in ["libpcn_packetcapture.so", "libpcn_simplebridge.so"] {
            fs::copy(binary_dir()?.join(plugin), plugins.join(plugin))?;
        }
        mount("bpf", path.join("bpf"), "bpf", MountFlags::empty(), None)?;
        for path in [path, &path.join("bpf"), &path.join("captures")] {
            chown(path, Some(NOBODY), Some(NOBODY))?;
        }
        let log = File::create(path.join("log"))?;
        let mut command = lab.host().command(program);
        for (option, name) in [
            ("--socket", "socket"),
            ("--state-dir", "state"),
            ("--bpffs", "bpf/polycube"),
            ("--plugin-dir", "plugins"),
            ("--capture-dir", "captures"),
        ] {
            command.arg(option).arg(path.join(name));
        }
        command.args(more).current_dir(path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // SAFETY: between fork and exec the closure makes system calls only; it neither allocates nor locks.
        unsafe { command.pre_exec(move || become_nobody(given).map_err(Into::into)) };
        Ok(Self { child: command.spawn()?, directory })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn wait_until_it_answers(&self) -> Result<()> {
        let answers = || Ok(http::request(&self.path("socket"), &[], "GET", "/polycube/v1/version/", None).is_ok());
        eventually("an answer", answers).with_context(|| self.log())
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let answer = http::request(&self.path("socket"), &[], "POST", &format!("/polycube/v1/{path}/"), Some(body))?;
        ensure!(answer.status < 300, "{path}: {}\n{}", answer.text(), self.log());
        Ok(())
    }
}

impl Drop for Unprivileged {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        let _ = unmount(self.path("bpf"), UnmountFlags::DETACH);
    }
}

/// What systemd does for `User=nobody` and `AmbientCapabilities=`.
fn become_nobody(given: CapabilitySet) -> rustix::io::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    let permitted = capabilities(None)?.permitted;
    set_capabilities(None, CapabilitySets { effective: given, permitted, inheritable: given })?;
    for capability in given.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL))
}

#[test]
fn a_user_with_three_capabilities_can_run_it() -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    let (west, east) = (lab.veth("veth1", &left, "eth0")?, lab.veth("veth2", &right, "eth0")?);
    let daemon = Unprivileged::start(&lab, REQUIRED, &[])?;
    daemon.wait_until_it_answers()?;
    check_threads(daemon.child.id(), REQUIRED);

    daemon.post("simplebridge/br1", &json!({}))?;
    for number in 1..=2 {
        let port = json!({ "peer": format!("veth{number}") });
        daemon.post(&format!("br1/ports/toveth{number}"), &port)?;
    }
    daemon.post("packetcapture/sniffer", &json!({ "capture": "bidirectional", "dump": "trace" }))?;
    daemon.post("attach", &json!({ "cube": "sniffer", "port": "br1:toveth1" }))?;
    let flow = Flow::between(&west.peer, &east.peer);
    let before = east.peer.counters()?.rx_frames;
    Sender::open(&west.peer)?.send(&flow.frames(Protocol::Udp, 100, 10))?;
    eventually("the frames at the other end", || Ok(east.peer.counters()?.rx_frames >= before + 10))?;
    let trace = daemon.path("captures/trace.pcap");
    eventually("the capture", || Ok(trace.exists())).with_context(|| daemon.log())?;
    pcap::wait_for(&trace, 10, Duration::from_secs(10))?;
    // Frames between other hosts reach a real network device only in promiscuous mode.
    ensure!(west.host.is_promiscuous()?, "{}", daemon.log());
    Ok(())
}

#[test]
fn the_missing_capabilities_are_named() -> Result<()> {
    let lab = Lab::new()?;
    let check = |given: CapabilitySet, more: &[&str], about: &[&str]| -> Result<()> {
        let mut daemon = Unprivileged::start(&lab, given, more)?;
        assert_eq!(daemon.child.wait()?.code(), Some(1), "{}", daemon.log());
        let log = daemon.log();
        assert_eq!(log.lines().count(), 1, "{log}");
        for words in about {
            assert!(log.contains(words), "{words:?} is not in {log}");
        }
        Ok(())
    };
    let all = "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF";
    check(CapabilitySet::empty(), &[], &[&format!("lacks {all},"), "sudo", "AmbientCapabilities="])?;
    check(CapabilitySet::BPF, &[], &["lacks CAP_NET_ADMIN, CAP_PERFMON,"])?;
    check(REQUIRED - CapabilitySet::PERFMON, &[], &["lacks CAP_PERFMON,"])?;
    check(REQUIRED, &["--keep-capability", "SYS_ADMIN"], &["--keep-capability CAP_SYS_ADMIN: ", "without it"])
}

#[test]
fn a_user_keeps_only_what_is_needed() -> Result<()> {
    let lab = Lab::new()?;
    let given = REQUIRED | CapabilitySet::CHOWN | CapabilitySet::NET_RAW | CapabilitySet::SYS_ADMIN;
    let daemon = Unprivileged::start(&lab, given, &["--keep-capability", "SYS_ADMIN"])?;
    daemon.wait_until_it_answers()?;
    check_threads(daemon.child.id(), REQUIRED | CapabilitySet::SYS_ADMIN);
    Ok(())
}
