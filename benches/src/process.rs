//! Processes that are measured: where they run, and how long they have.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core that sends; the packets' path runs on it as well.
pub(crate) const SENDER: usize = 0;
/// The core of whatever records.
pub(crate) const RECORDER: usize = 1;

/// Keeps every thread of a process, and all that they start, on one core.
pub(crate) fn confine(process: u32, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    for task in tasks(process)? {
        sched_setaffinity(Pid::from_raw(task), &cores)
            .with_context(|| format!("cannot keep {process} on core {core}"))?;
    }
    Ok(())
}

/// How long the threads that a process has now have run.
///
/// Nanoseconds, by the scheduler (`Documentation/scheduler/sched-stats.rst`): a capture runs for a few ticks only.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in tasks(process)? {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(format!("/proc/{process}/task/{task}/schedstat")).unwrap_or_default();
        nanos += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

fn tasks(process: u32) -> Result<Vec<i32>> {
    let directory = format!("/proc/{process}/task");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {directory}"))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
