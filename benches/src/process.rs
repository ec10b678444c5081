//! Processes that are measured: the core they run on, and their CPU time.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core that sends; the packets' path runs on it too.
pub(crate) const SENDER: usize = 0;
/// The core that records.
pub(crate) const RECORDER: usize = 1;

/// Pins every thread of a process, and all that they start, to one core.
pub(crate) fn confine(process: u32, core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    for task in tasks(process)? {
        sched_setaffinity(Pid::from_raw(task), &cores)
            .with_context(|| format!("cannot pin {process} to core {core}"))?;
    }
    Ok(())
}

/// The CPU time of the threads that a process has now.
///
/// In nanoseconds, from the scheduler (`Documentation/scheduler/sched-stats.rst`), because a capture runs for a few
/// ticks only.
pub(crate) fn cpu_time(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in tasks(process)? {
        // A thread may have ended in the meantime.
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
