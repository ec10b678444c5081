//! What the demo uses on the machine, counted while it runs and again when it should be gone.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use polycube_tests::hook::programs_loaded;

use super::stage::Stage;

/// The kernel frees programs and namespaces shortly after their last user is gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names that distinguish the demo's namespaces from others.
pub(super) struct Footprint {
    /// Files under `/run/netns`.
    namespaces: Vec<PathBuf>,
    /// Inodes of the same namespaces: a process in one of them belongs to the demo.
    inodes: Vec<u64>,
    /// The kernel's ids of the programs that the daemon holds.
    programs: Vec<u32>,
    running: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    namespaces: usize,
    processes: usize,
    programs: usize,
    pins: usize,
}

impl Footprint {
    pub(super) fn of(stage: &Stage) -> Result<Self> {
        let places = stage.hosts.iter().map(|host| &host.namespace).chain([stage.lab.host()]);
        let namespaces: Vec<PathBuf> = places.filter_map(|place| place.path().map(Into::into)).collect();
        let inodes = namespaces.iter().map(|path| Ok(fs::metadata(path)?.ino())).collect::<Result<_>>()?;
        let programs = stage.daemon.pid().map(programs_held).transpose()?.unwrap_or_default();
        let pins = stage.daemon.pins()?.len();
        let mut footprint = Self { namespaces, inodes, programs, running: Counts::default() };
        footprint.running = footprint.count(pins)?;
        Ok(footprint)
    }

    /// Prints what is left, and fails if there is anything.
    pub(super) fn prove_gone(&self, pins_left: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut left = self.count(pins_left)?;
        while left != Counts::default() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
            left = self.count(pins_left)?;
        }
        let Counts { namespaces, processes, programs, pins } = self.running;
        println!("\n{:24}{:>8}{:>8}", "", "running", "now");
        for (what, running, now) in [
            ("network namespaces", namespaces, left.namespaces),
            ("processes", processes, left.processes),
            ("programs in the kernel", programs, left.programs),
            ("pins in the bpf fs", pins, left.pins),
        ] {
            println!("{what:24}{running:>8}{now:>8}");
        }
        if left != Counts::default() {
            bail!("the demo left something behind: see the table above");
        }
        println!("Nothing is left in the kernel, and no process is running.");
        Ok(())
    }

    fn count(&self, pins: usize) -> Result<Counts> {
        let loaded = programs_loaded()?;
        Ok(Counts {
            namespaces: self.namespaces.iter().filter(|path| path.exists()).count(),
            processes: self.processes()?,
            programs: self.programs.iter().filter(|id| loaded.contains(id)).count(),
            pins,
        })
    }

    fn processes(&self) -> Result<usize> {
        let processes = fs::read_dir("/proc").context("cannot list /proc")?.flatten();
        // A process may end while it is examined: then it no longer counts.
        let inodes = processes.filter_map(|process| Some(fs::metadata(process.path().join("ns/net")).ok()?.ino()));
        Ok(inodes.filter(|inode| self.inodes.contains(inode)).count())
    }
}

/// What `/proc/PID/fdinfo` says about the programs that a process holds (`kernel/bpf/syscall.c`,
/// `bpf_prog_show_fdinfo`).
fn programs_held(process: u32) -> Result<Vec<u32>> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).context("the daemon has gone")?.flatten();
    let texts = descriptors.filter_map(|descriptor| fs::read_to_string(descriptor.path()).ok());
    let mut ids: Vec<u32> = texts
        .flat_map(|text| {
            text.lines().filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok()).collect::<Vec<_>>()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}
