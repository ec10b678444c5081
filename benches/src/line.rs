//! A capture in one line, compared with tcpdump and dumpcap on the same netdev: what it costs, what it keeps, and how soon
//! the first packet is there, at one netdev and at all of a hundred. What is left out of packets is measured beside what
//! `-s 96` leaves out.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::{Flow, Protocol, Sender};
use rustix::process::{Pid, Signal, kill_process};

use crate::capture::{WINDOW, flood};
use crate::figures::{Samples, goes_on};
use crate::process::{self, RECORDER};
use crate::report::{Cell, Row, Table};
use crate::stage::NO_STATION;

/// How long the last packets of a window may take.
const SETTLE: Duration = Duration::from_millis(200);
/// The headers of a file of pcap and of a record (draft-ietf-opsawg-pcap, sections 4 and 5).
const FIRST_PACKET: usize = 24 + 16;
const NETDEV: &str = "veth1";
/// All netdevs, and how many there are besides the one with packets.
const ANY: &str = "any";
const IDLE: usize = 100;

/// What captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tool {
    Line,
    /// The same without a daemon, which costs the start of one.
    Alone,
    Tcpdump,
    Dumpcap,
    /// Without payload.
    Headers,
    /// The first 96 bytes.
    Short,
    ShortTcpdump,
}

impl Tool {
    const ALL: [Self; 4] = [Self::Line, Self::Alone, Self::Tcpdump, Self::Dumpcap];
    /// Those that record less of each packet.
    const LESS: [Self; 3] = [Self::Headers, Self::Short, Self::ShortTcpdump];

    fn name(self) -> &'static str {
        match self {
            Self::Line => "polycubectl capture",
            Self::Alone => "the same without a daemon",
            Self::Tcpdump => "tcpdump -i",
            Self::Dumpcap => "dumpcap -i",
            Self::Headers => "polycubectl capture -s headers",
            Self::Short => "polycubectl capture -s 96",
            Self::ShortTcpdump => "tcpdump -s 96 -i",
        }
    }

    /// What it prints once it captures.
    fn greeting(self) -> &'static str {
        match self {
            Self::Line | Self::Alone | Self::Headers | Self::Short => "capturing at",
            Self::Tcpdump | Self::ShortTcpdump => "listening on",
            Self::Dumpcap => "File: ",
        }
    }

    fn is_there(self) -> bool {
        if self.is_ours() {
            return true;
        }
        let name = self.name().split(' ').next().unwrap_or_default();
        let mut command = Command::new(name);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn is_ours(self) -> bool {
        matches!(self, Self::Line | Self::Alone | Self::Headers | Self::Short)
    }

    /// Writes classic pcap, as all of them can, to `target`.
    fn command(self, scene: &Scene, place: &str, target: &Path) -> Result<Command> {
        let namespace = scene.daemon.host();
        let mut command = match self {
            Self::Line | Self::Alone | Self::Headers | Self::Short => {
                let mut command = namespace.command(binary_dir()?.join("polycubectl"));
                command.args(["capture", place, "--format", "pcap"]);
                command.env_remove("POLYCUBECTL_URL");
                if self != Self::Alone {
                    command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
                }
                command
            }
            Self::Tcpdump | Self::ShortTcpdump => {
                let mut command = namespace.command("tcpdump");
                command.args(["-n", "-U", "-Z", "root", "-i", place]);
                command
            }
            Self::Dumpcap => {
                let mut command = namespace.command("dumpcap");
                command.args(["-P", "-i", place]);
                command
            }
        };
        match self {
            Self::Headers => drop(command.args(["-s", "headers"])),
            Self::Short | Self::ShortTcpdump => drop(command.args(["-s", "96"])),
            Self::Line | Self::Alone | Self::Tcpdump | Self::Dumpcap => {}
        }
        command.arg("-w").arg(target);
        if target == Path::new("-") {
            command.args(["-c", "1"]);
        } else if self.is_ours() {
            // The others overwrite files unasked.
            command.arg("--force");
        }
        Ok(command)
    }
}

#[derive(Default)]
struct Measured {
    kept: Samples,
    recorded: Samples,
    cpu: Samples,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let scene = Scene::set_up().peers(1).start()?;
    if let Some(pid) = scene.daemon.pid() {
        process::confine(pid, RECORDER)?;
    }
    let tools: Vec<Tool> = Tool::ALL.into_iter().filter(|tool| tool.is_there()).collect();
    let mut rows = Vec::new();
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("line.pcap");
    for (length, target, what) in [
        (64, file.as_path(), "64 B to a file"),
        (64, Path::new("/dev/null"), "64 B to /dev/null"),
        (1500, file.as_path(), "1500 B to a file"),
        (1500, Path::new("/dev/null"), "1500 B to /dev/null"),
    ] {
        rows.extend(costs(&scene, &tools, &Case { length, target, what }, rounds)?);
    }
    let less: Vec<Tool> = Tool::LESS.into_iter().filter(|tool| tool.is_there()).collect();
    let case = Case { length: 1500, target: &file, what: "1500 B to a file, less of each" };
    rows.extend(costs(&scene, &less, &case, rounds)?);
    rows.extend(delays(&scene, &tools, NETDEV, "an idle netdev", rounds)?);
    // Both ends of each pair count.
    for number in 0..IDLE / 2 {
        let [one, other] = ["idle", "other"].map(|name| format!("{name}{number}"));
        let mut command = scene.daemon.host().command("ip");
        let made = command.args(["link", "add", &one, "up", "type", "veth", "peer", "name", &other]).status()?;
        ensure!(made.success(), "ip link add {one} type veth peer name {other}");
    }
    rows.extend(delays(&scene, &tools, ANY, &format!("any of {} netdevs", IDLE + 1), rounds)?);
    Ok(Table {
        bench: "line",
        what: format!("A capture in one line of a flood from one core, {} ms per window", WINDOW.as_millis()),
        columns: vec!["rate kept", "% recorded", "capture CPU-s/Mpkt", "ms from exec to the first packet"],
        rows,
    })
}

/// How soon each tool has its first packet. They take turns.
fn delays(scene: &Scene, tools: &[Tool], place: &str, what: &str, rounds: usize) -> Result<Vec<Row>> {
    let mut measured = BTreeMap::<Tool, Samples>::new();
    for _ in 0..rounds * 2 {
        for tool in tools.iter().copied() {
            let took = first_packet(scene, tool, place)?;
            measured.entry(tool).or_default().push(took.as_secs_f64() * 1e3);
        }
    }
    let row = |(tool, samples): (&Tool, &Samples)| Row {
        name: format!("{what}, {}", tool.name()),
        cells: vec![Cell::none(), Cell::none(), Cell::none(), Cell::of(samples, 0)],
    };
    Ok(measured.iter().map(row).collect())
}

/// Frames of one length, and where they go.
struct Case<'a> {
    length: usize,
    target: &'a Path,
    what: &'a str,
}

/// What each tool costs.
fn costs(scene: &Scene, tools: &[Tool], case: &Case<'_>, rounds: usize) -> Result<Vec<Row>> {
    let Case { length, target, what } = *case;
    let sender = Sender::open(scene.peer(1))?;
    let mut flow = Flow::between(scene.peer(1), scene.host(1));
    flow.to.mac = NO_STATION;
    let frames = flow.frames(Protocol::Udp, length, 64);
    flood(&sender, &frames)?;
    let mut measured = BTreeMap::<Tool, Measured>::new();
    let mut round = 0;
    while goes_on(round, rounds, measured.values().map(|measured| &measured.kept)) {
        // Its daemon starts anew each time: what it costs per packet is what the first costs.
        for tool in tools.iter().copied().filter(|tool| *tool != Tool::Alone) {
            let before = flood(&sender, &frames)?;
            let capture = Running::start(scene, tool, target)?;
            let began = capture.cpu_time()?;
            let sent = flood(&sender, &frames)?;
            std::thread::sleep(SETTLE);
            let cpu = capture.cpu_time()?.saturating_sub(began);
            let recorded = capture.stop()?;
            let found = measured.entry(tool).or_default();
            found.kept.push(sent.rate() / before.rate());
            found.recorded.push(recorded as f64 * 100.0 / sent.frames as f64);
            found.cpu.push(cpu.as_secs_f64() * 1e6 / recorded.max(1) as f64);
        }
        round += 1;
    }
    let row = |(tool, Measured { kept, recorded, cpu }): (&Tool, &Measured)| Row {
        name: format!("{what}, {}", tool.name()),
        cells: vec![Cell::of(kept, 2), Cell::of(recorded, 1), Cell::of(cpu, 3), Cell::none()],
    };
    Ok(measured.iter().map(row).collect())
}

/// From the start of the program to its first packet, on a netdev where one passes each millisecond.
fn first_packet(scene: &Scene, tool: Tool, place: &str) -> Result<Duration> {
    let sender = Sender::open(scene.peer(1))?;
    let frames = Flow::between(scene.peer(1), scene.host(1)).frames(Protocol::Udp, 64, 1);
    let mut command = tool.command(scene, place, Path::new("-"))?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<()> {
            while !is_over.load(Ordering::Acquire) {
                sender.send(&frames)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        });
        let took = time_to_first_packet(&mut command).with_context(|| tool.name());
        is_over.store(true, Ordering::Release);
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        took
    })
}

fn time_to_first_packet(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut bytes = [0; FIRST_PACKET];
    let read = child.stdout.take().context("stdout is a pipe")?.read_exact(&mut bytes);
    let took = began.elapsed();
    child.wait()?;
    read.context("it has captured nothing")?;
    Ok(took)
}

/// A capture that runs.
struct Running {
    tool: Tool,
    child: Child,
    messages: BufReader<ChildStderr>,
    /// The daemon that works for it.
    daemon: Option<u32>,
}

impl Running {
    fn start(scene: &Scene, tool: Tool, target: &Path) -> Result<Self> {
        let mut command = tool.command(scene, NETDEV, target)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        process::confine(child.id(), RECORDER)?;
        let mut messages = BufReader::new(child.stderr.take().context("stderr is a pipe")?);
        let mut line = String::new();
        while !line.contains(tool.greeting()) {
            line.clear();
            ensure!(messages.read_line(&mut line)? > 0, "{} ended at once", tool.name());
        }
        let daemon = scene.daemon.pid().filter(|_| tool.is_ours() && tool != Tool::Alone);
        Ok(Self { tool, child, messages, daemon })
    }

    fn cpu_time(&self) -> Result<Duration> {
        let daemon = self.daemon.map_or(Ok(Duration::ZERO), process::cpu_time)?;
        Ok(daemon + process::cpu_time(self.child.id())?)
    }

    /// Ends it, and returns how many packets it says that it has captured.
    fn stop(mut self) -> Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let mut said = String::new();
        self.messages.read_to_string(&mut said)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}: {said}", self.tool.name());
        let count = said.split(['\r', '\n']).find_map(|line| match line.trim().split_once(" packets captured") {
            Some((count, _)) => count.parse().ok(),
            None => line.trim().strip_prefix("Packets captured: ")?.parse().ok(),
        });
        count.with_context(|| format!("{} does not say how many packets: {said}", self.tool.name()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
