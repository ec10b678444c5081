//! The service manager's socket: sd_notify(3).
//!
//! It is one datagram to a path in the environment, which takes less code than a dependency takes to follow.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A way to the service manager.
#[derive(Debug)]
pub(crate) struct Notifier {
    socket: UnixDatagram,
    manager: SocketAddr,
}

impl Notifier {
    /// The manager that has started this process, if one wants to hear of it.
    ///
    /// # Errors
    /// There is one, and no way to it.
    pub(crate) fn from_environment() -> io::Result<Option<Self>> {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        // A name that begins with @ is in the abstract namespace (unix(7)).
        let manager = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        Ok(Some(Self { socket: UnixDatagram::unbound()?, manager }))
    }

    /// Sends assignments, one in each line.
    ///
    /// # Errors
    /// The manager does not take them.
    pub(crate) fn send(&self, state: &str) -> io::Result<()> {
        self.socket.send_to_addr(state.as_bytes(), &self.manager).map(drop)
    }
}

/// Microseconds of the clock that a message about a reload has to have.
pub(crate) fn now() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
}

/// How often the manager wants a sign of life (sd_watchdog_enabled(3)), if this process is the one it means.
pub(crate) fn watchdog() -> Option<Duration> {
    interval(
        std::env::var("WATCHDOG_USEC").ok().as_deref(),
        std::env::var("WATCHDOG_PID").ok().as_deref(),
        std::process::id(),
    )
}

fn interval(microseconds: Option<&str>, meant: Option<&str>, own: u32) -> Option<Duration> {
    let is_meant = meant.is_none_or(|pid| pid.parse() == Ok(own));
    let microseconds: u64 = microseconds.filter(|_| is_meant)?.parse().ok()?;
    (microseconds > 0).then_some(Duration::from_micros(microseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_the_process_that_is_meant() {
        let second = Some(Duration::from_secs(1));
        for (microseconds, pid, expected) in [
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), None, second),
            (Some("1000000"), Some("8"), None),
            (Some("1000000"), Some("x"), None),
            (Some("0"), Some("7"), None),
            (Some("soon"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(interval(microseconds, pid, 7), expected, "{microseconds:?} {pid:?}");
        }
    }
}
