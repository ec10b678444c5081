//! System calls that do not concern the rings.

#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::process::setpriority_process;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::thread::{MembarrierCommand, membarrier};
use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

const NANOS: i64 = 1_000_000_000;

/// Distinguishes maps from one another.
///
/// Descriptors of maps share one inode, so the kernel's map id counts. Other files have an inode each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapId {
    inode: u64,
    map: Option<u32>,
}

impl MapId {
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let inode = rustix::fs::fstat(fd)?.st_ino;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
        Ok(Self { inode, map: map_id(&info) })
    }
}

fn map_id(info: &str) -> Option<u32> {
    info.lines().find_map(|line| line.strip_prefix("map_id:")?.trim().parse().ok())
}

/// The number of possible CPUs, as the kernel sizes its maps.
pub(crate) fn possible_cpus() -> io::Result<usize> {
    let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    highest(&text).map(|cpu| cpu + 1).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
}

fn highest(ranges: &str) -> Option<usize> {
    let ends = ranges.trim().split(',').map(|range| range.rsplit('-').next().and_then(|end| end.parse().ok()));
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The machine's memory in bytes, as far as the kernel says.
pub(crate) fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

/// Nanoseconds to add to `CLOCK_TAI` to get UTC.
pub(crate) fn utc_offset() -> i64 {
    // The clock has existed since Linux 3.10.
    let Ok(tai) = clock_gettime_dynamic(DynamicClockId::Tai) else { return 0 };
    let difference = utc_now() - nanos(tai);
    // The clocks are whole seconds apart; the rest passed between the two calls.
    (difference + NANOS / 2).div_euclid(NANOS) * NANOS
}

/// Unpredictable bytes.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// Nanoseconds of UTC since 1970.
pub(crate) fn utc_now() -> i64 {
    nanos(clock_gettime(ClockId::Realtime))
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec * NANOS + time.tv_nsec
}

/// Waits until each CPU has passed a full barrier and every running eBPF program has ended (`MEMBARRIER_CMD_GLOBAL` is
/// `synchronize_rcu`, kernel/sched/membarrier.c). The kernel refuses if a CPU runs without ticks.
pub(crate) fn barrier() -> io::Result<()> {
    Ok(membarrier(MembarrierCommand::Global)?)
}

/// Sets the nice value of this thread: the kernel's processes are threads.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    Ok(setpriority_process(None, nice)?)
}

/// Wakes a sleeping thread.
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn wake(&self) {
        // It fails if the counter is full, and then the sleeper wakes anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        // It fails if there was no call.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The event to wait for on a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PipeEvent {
    /// There is room to write.
    Writable,
    /// The read end was closed.
    Closed,
}

/// Waits until `wanted` happens on the pipe of `sender`, or `wake` is called.
///
/// # Errors
/// The pipe has no reader any more, or `timeout` has passed.
pub(crate) fn wait_for_pipe(
    sender: BorrowedFd<'_>,
    wanted: PipeEvent,
    wake: &Wake,
    timeout: Option<Duration>,
) -> io::Result<()> {
    let events = if wanted == PipeEvent::Writable { PollFlags::OUT } else { PollFlags::empty() };
    let mut fds = [PollFd::from_borrowed_fd(sender, events), PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) if fds[0].revents().contains(PollFlags::ERR) => Err(io::ErrorKind::BrokenPipe.into()),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Called,
    TimedOut,
}

/// Sleeps until one of `fds` is readable or `timeout` has passed.
pub(crate) fn sleep<'a>(fds: impl Iterator<Item = BorrowedFd<'a>>, timeout: Option<Duration>) -> io::Result<Woken> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect::<Vec<_>>();
    match poll(&mut fds, timeout.map(timespec).as_ref()) {
        Ok(0) => Ok(Woken::TimedOut),
        Ok(_) | Err(Errno::INTR) => Ok(Woken::Called),
        Err(error) => Err(error.into()),
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_cpu_is_found_in_the_kernels_ranges() {
        assert_eq!(highest("0-1\n"), Some(1));
        assert_eq!(highest("0\n"), Some(0));
        assert_eq!(highest("0-3,8-11"), Some(11));
        assert_eq!(highest("\n"), None);
    }

    #[test]
    fn a_maps_id_is_found_in_its_descriptors_info() {
        assert_eq!(map_id("pos:\t0\nmap_type:\t2\nmap_id:\t117\nfrozen:\t0\n"), Some(117));
        assert_eq!(map_id("pos:\t0\nmnt_id:\t15\n"), None);
    }

    #[test]
    fn the_machine_has_memory() {
        assert!(memory().unwrap() > 64 << 20);
    }

    #[test]
    fn the_offset_to_utc_is_in_whole_seconds() {
        assert_eq!(utc_offset() % NANOS, 0);
        assert!(utc_offset() <= 0);
    }
}
