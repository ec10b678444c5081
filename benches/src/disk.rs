//! What the disk of this program takes, through the page cache and past it: the least that a recorder spends on writing;
//! and what a capture spends, in each way of `storage direct`.

mod capture;

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::pwritev;
use rustix::time::{ClockId, clock_gettime};

use crate::figures::{Samples, goes_on};
use crate::recorded;
use crate::report::{Cell, Row, Table};

const BLOCK: usize = 1 << 20;
const ALIGNMENT: usize = 4096;
const BYTES: u64 = 512 << 20;
/// A record of 1500 bytes.
const RECORD: f64 = 1516.0;

/// A way to write.
struct Way {
    name: &'static str,
    direct: bool,
    /// Blocks of one request.
    blocks: usize,
    /// Requests at once.
    threads: usize,
}

const WAYS: [Way; 6] = [
    Way { name: "through the page cache", direct: false, blocks: 1, threads: 1 },
    Way { name: "past it, requests of 1 MiB", direct: true, blocks: 1, threads: 1 },
    Way { name: "past it, requests of 2 MiB", direct: true, blocks: 2, threads: 1 },
    Way { name: "past it, requests of 4 MiB", direct: true, blocks: 4, threads: 1 },
    Way { name: "past it, two requests of 1 MiB at once", direct: true, blocks: 1, threads: 2 },
    Way { name: "past it, four requests of 1 MiB at once", direct: true, blocks: 1, threads: 4 },
];

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let program = std::env::current_exe()?;
    let directory = program.parent().context("a program without a directory")?;
    recorded::warm(directory, BYTES)?;
    let mut measured = WAYS.map(|_| [Samples::default(), Samples::default()]);
    let mut round = 0;
    while goes_on(round, rounds, measured.iter().map(|[rate, _]| rate)) {
        for (way, [rate, cpu]) in WAYS.iter().zip(&mut measured) {
            let (took, spent) = way.write(directory)?;
            rate.push(BYTES as f64 / took.as_secs_f64() / 1e6);
            cpu.push(spent.as_secs_f64() * RECORD * 1e6 / BYTES as f64);
        }
        round += 1;
    }
    let rows = WAYS.iter().zip(&measured).map(|(way, [rate, cpu])| Row {
        name: way.name.to_owned(),
        cells: vec![Cell::of(rate, 0), Cell::of(cpu, 3), Cell::none()],
    });
    Ok(Table {
        bench: "disk",
        what: format!("{} MiB written to a new file, and captures", BYTES >> 20),
        columns: vec!["MB/s", "CPU-s for a million records of 1500 B", "% in the file"],
        rows: rows.chain(capture::rows(rounds)?).collect(),
    })
}

impl Way {
    /// Writes a new file; returns how long that took, and the CPU time of this program.
    fn write(&self, directory: &Path) -> Result<(Duration, Duration)> {
        let file = tempfile::tempfile_in(directory)?;
        let flags = OFlags::WRONLY | if self.direct { OFlags::DIRECT } else { OFlags::empty() };
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = File::from(open(again, flags, Mode::empty()).context("no direct writes here")?);
        let next = AtomicU64::new(0);
        let request = (self.blocks * BLOCK) as u64;
        let (cpu, begin) = (cpu_time(), Instant::now());
        thread::scope(|scope| {
            let write = || {
                let memory = vec![1; BLOCK + ALIGNMENT];
                let block = &memory[memory.as_ptr().align_offset(ALIGNMENT)..][..BLOCK];
                let slices = vec![IoSlice::new(block); self.blocks];
                loop {
                    let at = next.fetch_add(request, Ordering::Relaxed);
                    if at >= BYTES {
                        return Ok(());
                    }
                    let count = pwritev(&file, &slices, at).context("cannot write")?;
                    ensure!(count as u64 == request, "{count} of {request} bytes");
                }
            };
            let threads = (0..self.threads).map(|_| scope.spawn(write)).collect::<Vec<_>>();
            threads.into_iter().try_for_each(|thread| -> Result<()> {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok((begin.elapsed(), cpu_time() - cpu))
    }
}

/// CPU time of all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
