//! Does the demo show what the README promises, and leave the machine as it was?

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::pcap;
use rustix::process::{Pid, Signal, kill_process};

/// Lines of the output, in this order, with others in between.
const KEY_LINES: [&str; 47] = [
    "$ polycubectl simplebridge add br1",
    "$ polycubectl br1 ports add toveth1 peer=veth1",
    "$ polycubectl connect br1:toveth2 veth2",
    "ping from host1 to 10.10.10.2: reply after ",
    "$ polycubectl br1 fdb show",
    "toveth1  dynamic",
    "$ polycubectl packetcapture add sniffer capture=bidirectional",
    "$ polycubectl attach sniffer br1:toveth1",
    "$ polycubectl topology",
    "br1:toveth1",
    "$ polycubectl sniffer show counters captured",
    "2",
    "-> 2 more captured",
    "$ polycubectl sniffer set capture=ingress",
    "-> 1 more captured",
    "$ polycubectl sniffer set capture=egress",
    "-> 1 more captured",
    "$ polycubectl sniffer set capture=off",
    "-> 0 more captured",
    "256 MiB over TCP: ",
    "$ polycubectl sniffer set capture=bidirectional",
    "$ polycubectl sniffer filters set snaplen=65535",
    "$ polycubectl sniffer filters show",
    "snaplen: 65535",
    "8 MiB over TCP: ",
    "$ polycubectl sniffer show dump",
    "capture dump in ",
    "10.10.10.1 > 10.10.10.2: ICMP echo request",
    "10.10.10.2 > 10.10.10.1: ICMP echo reply",
    "fd00::1 > fd00::2: ICMP6, echo request",
    "fd00::2 > fd00::1: ICMP6, echo reply",
    "Flags [S]",
    "Flags [S.]",
    "$ polycubectl sniffer filters set src=10.10.10.10/24",
    "$ polycubectl sniffer filters set l4proto=tcp",
    "l4proto: tcp",
    "-> 0 more captured",
    "$ polycubectl sniffer set 'filter=icmp[icmptype] == icmp-echoreply and src 10.10.10.2'",
    "-> 1 more captured",
    "$ polycubectl sniffer set networkmode=true",
    "the service is running in network mode",
    "capturelen: 98",
    "-> 1 packet was queued, as pcapng",
    "$ polycubectl sniffer set networkmode=false",
    "Nothing is left in the kernel, and no process is running.",
    "The captures are kept in ",
    "polycubectl attach sniffer eth0",
];

fn start_demo() -> Result<Child> {
    let mut command = Command::new(binary_dir()?.join("tasks"));
    command.arg("demo").stdin(Stdio::null());
    command.stdout(Stdio::piped()).spawn().context("cannot start the demo")
}

/// Asserts that nothing of the demo's is left.
#[track_caller]
fn check_gone(demo: u32, captures: &str) -> Result<()> {
    let of_demo = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&format!("pcn{demo}-"));
    let names: Vec<_> = fs::read_dir("/run/netns")?.flatten().filter(of_demo).collect();
    assert!(names.is_empty(), "namespaces are left: {names:?}");
    // The daemon's command line contains the directory of its captures, which no other daemon has.
    let processes = fs::read_dir("/proc")?.flatten().filter_map(|process| {
        let words = fs::read(process.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&words).contains(captures).then(|| process.path())
    });
    let processes: Vec<_> = processes.collect();
    assert!(processes.is_empty(), "processes are left: {processes:?}");
    Ok(())
}

/// The lines that are the same each time: commands, and what has neither figures nor paths in it.
fn stable(text: &str) -> Vec<&str> {
    let is_stable = |line: &&str| {
        let is_command = line.starts_with("$ polycubectl") && !line.contains("polycube-demo");
        is_command || !line.contains(|letter: char| letter.is_ascii_digit() || letter == '/')
    };
    text.lines().filter(is_stable).collect()
}

/// README's picture of the demo is drawn from a recording, which has to be what the demo prints.
fn check_recording(text: &str) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures/demo.cast");
    let recorded = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (_, recorded) = recorded.split_once('\n').context("a title")?;
    let (recorded, found) = (stable(recorded), stable(text.trim_start()));
    let differs = recorded.iter().zip(&found).find(|(recorded, found)| recorded != found);
    ensure!(recorded == found, "run ./x pictures --record: the recording of the demo differs, first at {differs:?}");
    ensure!(found.len() > 60, "{found:?}");
    Ok(())
}

#[test]
fn the_demo_shows_a_capture_of_real_traffic_and_leaves_nothing_behind() -> Result<()> {
    let demo = start_demo()?;
    let id = demo.id();
    let output = demo.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{}\n{text}", output.status);

    check_recording(&text)?;
    let mut lines = text.lines();
    for key in KEY_LINES {
        assert!(lines.any(|line| line.contains(key)), "`{key}` is missing, or in the wrong place:\n{text}");
    }
    for (place, what) in [(2, "network namespaces"), (1, "processes"), (3, "programs"), (3, "pins")] {
        let line = text.lines().find(|line| line.starts_with(what)).with_context(|| format!("no {what}"))?;
        let figures: Vec<u32> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(matches!(figures[..], [running, 0] if running >= place), "{line}");
    }

    let file = text.lines().find_map(|line| line.strip_prefix("capture dump in ")).context("no file")?;
    let captures = Path::new(file).parent().and_then(Path::to_str).context("no directory")?;
    check_gone(id, captures)?;
    let file = pcap::read(Path::new(file))?;
    assert!(file.records.len() > 100, "{} packets of a transfer of 8 MiB", file.records.len());
    fs::remove_dir_all(captures)?;
    Ok(())
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() -> Result<()> {
    let mut demo = start_demo()?;
    let mut output = BufReader::new(demo.stdout.take().context("no output")?);
    let mut line = String::new();
    while !line.contains("attach sniffer") {
        line.clear();
        assert!(output.read_line(&mut line)? > 0, "the demo ended early");
    }
    let captures = captures_of(demo.id())?;
    let pid = Pid::from_raw(demo.id().cast_signed()).context("a child has a positive id")?;
    kill_process(pid, Signal::INT)?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    let status = demo.wait()?;
    assert_eq!(status.code(), Some(1), "{rest}");
    assert!(rest.contains("Nothing is left in the kernel, and no process is running."), "{rest}");
    assert!(!rest.contains("$ tcpdump"), "it went on to the end: {rest}");
    check_gone(demo.id(), &captures)?;
    assert!(!Path::new(&captures).exists(), "{captures} is left");
    Ok(())
}

/// The directory that the demo's daemon was given for its captures.
fn captures_of(demo: u32) -> Result<String> {
    for process in fs::read_dir("/proc")?.flatten() {
        let parent = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let is_child =
            parent.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&demo.to_string());
        let words = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        let mut words = words.split('\0').skip_while(|word| *word != "--capture-dir");
        if let (true, Some(directory)) = (is_child, words.nth(1)) {
            return Ok(directory.into());
        }
    }
    anyhow::bail!("the demo's daemon is not running")
}
