//! A root of a distribution, and a container in it.
//!
//! systemd-nspawn boots it: a mere chroot has no systemd that would start the service, and none of the unit's confinement.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::Place;

/// How long a boot or a shutdown may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a script calls instead of `!`, whose failures do not end it.
const NOT: &str = "not() { if \"$@\"; then return 1; fi; }\n";

/// A root that nothing runs in.
pub(super) struct Root {
    suite: String,
    directory: PathBuf,
}

impl Root {
    /// Copies the root of `suite` that is kept, or makes that first.
    pub(super) fn make(suite: &str, at: &Place<'_>) -> Result<Self> {
        let roots = at.roots;
        let (kept, directory) = (roots.join(suite), roots.join(format!("{suite}.trial")));
        let mark = roots.join(format!("{suite}.complete"));
        if !mark.exists() {
            remove(&kept)?;
            bootstrap(suite, at.mirror, &kept)?;
            File::create(&mark).context("cannot note that the root is complete")?;
        }
        remove(&directory)?;
        run(Command::new("cp").args(["--archive", "--reflink=auto"]).arg(&kept).arg(&directory))?;
        Ok(Self { suite: suite.to_owned(), directory })
    }

    /// Boots it, with what is in `packages` as /packages.
    pub(super) fn boot(self, packages: &Path) -> Result<Container> {
        eprintln!("./x: {}: booting", self.suite);
        let mut bind = packages.as_os_str().to_owned();
        bind.push(":/packages");
        let log = File::create(self.directory.with_extension("log"))?;
        let mut command = Command::new("systemd-nspawn");
        command.args(["--quiet", "--boot", "--private-network", "--register=no", "--keep-unit"]);
        command.args(["--capability=CAP_BPF,CAP_NET_ADMIN,CAP_PERFMON", "--system-call-filter=bpf"]);
        command.arg(format!("--machine=polycube-trial-{}", std::process::id()));
        command.arg("--directory").arg(&self.directory).arg("--bind-ro").arg(bind);
        // systemd of Debian 13 boots with the second version of control groups alone.
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot run systemd-nspawn: apt install systemd-container")?;
        let mut container = Container { root: self, child, init: 0 };
        container.wait_until_running()?;
        Ok(container)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            eprintln!("./x: {error:#}");
        }
    }
}

/// A root with what the trial installs in its cache, because the container has no network.
fn bootstrap(suite: &str, mirror: Option<&str>, directory: &Path) -> Result<()> {
    eprintln!("./x: {suite}: making a root with debootstrap, which takes a minute or more");
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", "--include=systemd,systemd-sysv,dbus"]).arg(suite).arg(directory).args(mirror);
    let scripts = Path::new("/usr/share/debootstrap/scripts");
    if mirror.is_some() && !scripts.join(suite).exists() {
        // A release of Ubuntu that is newer than this debootstrap: it has one script for all of them.
        command.arg(scripts.join("gutsy"));
    }
    let log = directory.with_extension("bootstrap.log");
    let output = File::create(&log)?;
    command.stdout(output.try_clone()?).stderr(output);
    let status = command.status().context("cannot run debootstrap: apt install debootstrap")?;
    ensure!(status.success(), "debootstrap {suite} failed ({status}); {} has its output", log.display());
    let fetch = "apt-get update -qq && apt-get install -qq -y --download-only iproute2 iputils-ping tcpdump";
    run(Command::new("chroot").arg(directory).args(["sh", "-ec", fetch]))
}

/// A booted root.
pub(super) struct Container {
    root: Root,
    child: Child,
    /// Its first process.
    init: u32,
}

impl Container {
    fn wait_until_running(&mut self) -> Result<()> {
        let log = self.root.directory.with_extension("log");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("systemd-nspawn has ended ({status}); {} has its output", log.display());
            }
            if let Some(init) = first_child(self.child.id())? {
                self.init = init;
                let state = self.command("systemctl is-system-running").output()?;
                // Degraded: one of the distribution's own units does not work in a container.
                if matches!(String::from_utf8_lossy(&state.stdout).trim(), "running" | "degraded") {
                    return Ok(());
                }
            }
            thread::sleep(Duration::from_millis(200));
        }
        bail!("{} has not booted within {} s; {} has its output", self.root.suite, PATIENCE.as_secs(), log.display())
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.init.to_string(), "--", "/bin/bash", "-euxo", "pipefail", "-c"]);
        command.arg(format!("{NOT}{script}"));
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a script there.
    ///
    /// # Errors
    /// A line fails; the error has the whole output.
    pub(super) fn run(&self, script: &str) -> Result<()> {
        let output = self.command(script).output().context("cannot run nsenter, of util-linux")?;
        if !output.status.success() {
            let journal = self.command("journalctl --no-pager --lines 60 --unit polycubed").output()?;
            for text in [&output.stdout, &output.stderr, &journal.stdout] {
                std::io::stderr().write_all(text)?;
            }
            bail!("a command of the step failed ({}): its output and the service's journal are above", output.status);
        }
        Ok(())
    }

    /// Shuts it down as a machine.
    ///
    /// # Errors
    /// It goes on, or its end is a failure.
    pub(super) fn shut_down(mut self) -> Result<()> {
        // The connection ends with the machine, so its own status says nothing.
        self.command("systemctl poweroff").output()?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                ensure!(ExitStatus::success(&status), "systemd-nspawn: {status}");
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        bail!("{} does not shut down", self.root.suite)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // The container's processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process that nspawn has started as the container's first, once it has.
fn first_child(process: u32) -> Result<Option<u32>> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(children.split_whitespace().next().and_then(|child| child.parse().ok()))
}

fn remove(directory: &Path) -> Result<()> {
    if directory.exists() {
        // What is mounted below it would be removed as well.
        let mounts = fs::read_to_string("/proc/mounts")?;
        let inside = directory.display().to_string();
        ensure!(!mounts.contains(&inside), "something is mounted in {inside}: unmount it first");
        fs::remove_dir_all(directory).with_context(|| format!("cannot remove {inside}"))?;
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
