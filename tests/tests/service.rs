//! Is the daemon a good service: of one configuration file, of a service manager, and of a unit that confines it?

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, Output, attempt, binary_dir};
use polycube_tests::http;
use polycube_tests::lab::Lab;
use polycube_tests::scene::eventually;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The most that `systemd-analyze security` may say of the unit, in tenths: from 0, confined, to 100, not at all.
const EXPOSURE: u32 = 25;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

/// Runs `polycubed check` on the text of a file.
fn check(text: &str) -> Result<Output> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("polycubed.toml");
    fs::write(&file, text)?;
    let mut command = Command::new(binary_dir()?.join("polycubed"));
    command.args(["check", "--config"]).arg(&file);
    Ok(Output::of("polycubed", command)?)
}

#[test]
fn a_file_is_checked_without_a_start() -> Result<()> {
    let plugins = binary_dir()?.display().to_string();
    let sound = check(&format!("port = 9000\nno-auth = true\nplugin-dir = [\"{plugins}\"]\n"))?.ok();
    for about in ["polycubed.toml: sound", "TCP: without TLS, for everybody", "warning: --no-auth", "packetcapture"] {
        assert!(sound.contains(about), "{about:?} is not in {sound}");
    }
    let wrong = check("log = 5\nprot = 1\n")?;
    assert_eq!(wrong.code, Some(78), "{wrong}");
    for about in ["polycubed.toml:1:7: `log` must be a string", "polycubed.toml:2:1: `prot` is not known: is `port`"] {
        assert!(wrong.stderr.contains(about), "{about:?} is not in {wrong}");
    }
    let many = check("port = 1\nlog = \"loud\"\ntoken-file = \"/no/token\"\nplugin-dir = [\"/no/plugins\"]\n")?;
    assert_eq!(many.code, Some(1), "{many}");
    for about in ["\"loud\" is not a level", "/no/token", "/no/plugins", "4 faults were found"] {
        assert!(many.stderr.contains(about), "{about:?} is not in {many}");
    }
    Ok(())
}

#[test]
fn a_daemon_with_a_wrong_file_does_not_start() -> Result<()> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("polycubed.toml");
    fs::write(&file, "capture_dir = \"/c\"\n")?;
    let refusal = attempt(&Lab::new()?, &["--config", &file.display().to_string()])?.one_line(78);
    assert!(refusal.contains(":1:1: `capture_dir` is not known: is `capture-dir` meant?"), "{refusal}");
    Ok(())
}

#[test]
fn a_reload_changes_the_log_and_says_what_needs_a_restart() -> Result<()> {
    let (lab, place) = (Lab::new()?, tempfile::tempdir()?);
    let file = place.path().join("polycubed.toml");
    fs::write(&file, "log = \"info\"\n")?;
    // The kit's own --log would win.
    let daemon = Daemon::start_with(&lab, &["--config", &file.display().to_string(), "--log-format", "json"])?;
    let hang_up = || -> Result<()> {
        let pid = daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it runs")?;
        Ok(kill_process(pid, Signal::HUP)?)
    };
    fs::write(&file, "attach = \"clsact\"\n")?;
    hang_up()?;
    eventually("a line about the restart", || {
        Ok(daemon.log().contains("read the configuration again; what has changed of attach needs a restart"))
    })?;
    fs::write(&file, "prot = 1\n")?;
    hang_up()?;
    eventually("a line about the fault", || Ok(daemon.log().contains("everything stays as it was")))?;
    daemon.ctl("cubes show").ok();
    Ok(())
}

/// A daemon whose service manager is the test.
struct Managed {
    child: Child,
    manager: UnixDatagram,
    journal: UnixDatagram,
    place: TempDir,
}

impl Managed {
    /// Starts one, with these lines in its configuration file.
    fn start(lab: &Lab, watchdog: Duration, lines: &str) -> Result<Self> {
        let place = tempfile::tempdir()?;
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("bpf"))?;
        mount("bpf", path("bpf"), "bpf", MountFlags::empty(), None)?;
        let manager = UnixDatagram::bind(path("notify"))?;
        manager.set_read_timeout(Some(Duration::from_secs(20)))?;
        let (binaries, at) = (binary_dir()?, place.path().display());
        let text = format!(
            "socket = \"{at}/s\"\nstate-dir = \"{at}/state\"\nbpffs = \"{at}/bpf/p\"\ncapture-dir = \"{at}\"\n\
             plugin-dir = [\"{}\"]\n{lines}",
            binaries.display()
        );
        fs::write(path("p.toml"), text)?;
        let log = fs::File::create(path("log"))?;
        // The journal's socket is where the daemon looks for it, in a mount namespace of its own.
        let mut command = lab.host().command("unshare");
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd && ln -s \"$1\" /run/systemd/journal && shift && exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(path("journal")).arg(binaries.join("polycubed"));
        fs::create_dir(path("journal"))?;
        let journal = UnixDatagram::bind(path("journal/socket"))?;
        journal.set_read_timeout(Some(Duration::from_secs(20)))?;
        let stream = log.metadata()?;
        command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
        command.arg("--config").arg(path("p.toml")).current_dir(place.path());
        command.env("NOTIFY_SOCKET", path("notify")).env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Ok(Self { child: command.spawn()?, manager, journal, place })
    }

    /// The manager's next message that has all of `parts`.
    fn hears(&self, parts: &[&str]) -> Result<String> {
        next(&self.manager, parts)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process")?;
        Ok(kill_process(pid, signal)?)
    }
}

/// The next message that has all of `parts`.
fn next(socket: &UnixDatagram, parts: &[&str]) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 4096];
    while Instant::now() < deadline {
        let length = socket.recv(&mut buffer).with_context(|| format!("waiting for {parts:?}"))?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if parts.iter().all(|part| text.contains(part)) {
            return Ok(text);
        }
    }
    anyhow::bail!("nothing with {parts:?}")
}

impl Drop for Managed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = unmount(self.place.path().join("bpf"), UnmountFlags::DETACH);
    }
}

#[test]
fn the_service_manager_hears_of_start_work_reload_and_end() -> Result<()> {
    let lab = Lab::new()?;
    let mut managed = Managed::start(&lab, Duration::from_secs(2), "log = \"info\"\n")?;
    managed.hears(&["READY=1"])?;
    managed.hears(&["WATCHDOG=1", "STATUS=services: 5, cubes: 0, attachments: 0"])?;
    managed.hears(&["WATCHDOG=1"])?;
    managed.signal(Signal::HUP)?;
    managed.hears(&["RELOADING=1", "MONOTONIC_USEC="])?;
    managed.hears(&["READY=1"])?;
    managed.signal(Signal::TERM)?;
    managed.hears(&["STOPPING=1"])?;
    let status = managed.child.wait()?;
    ensure!(status.success(), "{status}: {}", fs::read_to_string(managed.place.path().join("log"))?);
    Ok(())
}

#[test]
fn the_journal_gets_fields() -> Result<()> {
    let lab = Lab::new()?;
    let managed = Managed::start(&lab, Duration::from_secs(60), "log = \"info\"\n")?;
    managed.hears(&["READY=1"])?;
    let added = http::request(&managed.place.path().join("s"), &[], "POST", "/polycube/v1/simplebridge/br1", None)?;
    assert_eq!(added.status, 201, "{}", added.text());
    // A field's name, and its value after a length of eight bytes (systemd.io, native journal protocol).
    let entry = next(&managed.journal, &["WHO", "uid 0 (root)", "CHANGE", "POST simplebridge/br1", "CUBE", "br1"])?;
    assert!(entry.starts_with("PRIORITY") && entry.contains("6\nTARGET"), "{entry:?}");
    let log = fs::read_to_string(managed.place.path().join("log"))?;
    assert_eq!(log, "", "it is in the journal alone");
    Ok(())
}

/// The unit as `systemd-analyze` reads it, in a directory in which the program that it starts exists.
fn unit() -> Result<(TempDir, PathBuf)> {
    let place = tempfile::tempdir()?;
    let (from, to) = (repository().join("packaging/systemd/polycubed.service"), place.path().join("polycubed.service"));
    let program = binary_dir()?.join("polycubed").display().to_string();
    let text = fs::read_to_string(&from).with_context(|| format!("{}", from.display()))?;
    fs::write(&to, text.replace("/usr/bin/polycubed", &program))?;
    let mount = "run-bpf-polycube.mount";
    fs::copy(repository().join("packaging/systemd").join(mount), place.path().join(mount))?;
    Ok((place, to))
}

fn analyze(words: &[&str]) -> Result<Output> {
    let mut command = Command::new("systemd-analyze");
    command.args(words).env("SYSTEMD_COLORS", "0");
    Output::of("systemd-analyze", command).context("is it installed? apt install systemd")
}

#[test]
fn the_unit_is_one_that_systemd_understands() -> Result<()> {
    let (_place, unit) = unit()?;
    let mount = unit.with_file_name("run-bpf-polycube.mount").display().to_string();
    let output = analyze(&["verify", "--man=no", &unit.display().to_string(), &mount])?;
    // What other units of this machine have wrong is not ours.
    let about_ours: Vec<&str> = output.stderr.lines().filter(|line| line.contains("polycube")).collect();
    assert!(about_ours.is_empty() && output.code == Some(0), "{output}");
    Ok(())
}

#[test]
fn the_unit_confines_the_daemon() -> Result<()> {
    let (_place, unit) = unit()?;
    let threshold = EXPOSURE.to_string();
    let words = ["security", "--offline=yes", "--no-pager", "--threshold", &threshold, &unit.display().to_string()];
    let output = analyze(&words)?;
    let about = "Overall exposure level for polycubed.service: ";
    let line = output.stdout.lines().find_map(|line| line.split_once(about)).context("a figure")?.1;
    assert_eq!(output.code, Some(0), "{line}: {output}");
    // docs/running.md has the figure.
    let figure = line.split(' ').next().context("a figure")?;
    let docs = fs::read_to_string(repository().join("docs/running.md"))?;
    assert!(docs.contains(&format!("exposure level of {figure}")), "docs/running.md does not have {figure}");
    Ok(())
}
