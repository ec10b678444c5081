//! Packets in a cube's log.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PacketIn;
use crate::{Cube, Level};

/// Lines that a [`PacketLog`] writes in a second.
const LINES: u32 = 20;

/// Writes packets to the cube's log, as the cube's `loglevel` allows, and at most 20 lines in a second: the next line says how
/// many are missing.
pub struct PacketLog {
    cube: Cube,
    level: Level,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
    since: Instant,
    lines: u32,
    missing: u64,
}

impl Pace {
    /// Whether another line fits, and how many are missing before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.lines) = (now, 0);
        }
        if self.lines == LINES {
            self.missing += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.missing))
    }
}

impl PacketLog {
    /// A log of lines with this severity.
    pub fn new(cube: &Cube, level: Level) -> Self {
        Self { cube: cube.clone(), level, pace: Mutex::new(Pace { since: Instant::now(), lines: 0, missing: 0 }) }
    }

    /// Writes a line, if there is room for one.
    pub fn write(&self, message: impl fmt::Display) {
        let missing = self.pace.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        match missing {
            None => {}
            Some(0) => self.cube.log(self.level, &message.to_string()),
            Some(missing) => self.cube.log(self.level, &format!("{message} ({missing} lines before are left out)")),
        }
    }
}

impl fmt::Debug for PacketLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacketLog").field("cube", &self.cube.name()).field("level", &self.level).finish_non_exhaustive()
    }
}

/// `98 bytes from 02:00:00:00:00:01 to 02:00:00:00:00:02, type 0x0800`.
impl fmt::Display for PacketIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.length)?;
        if let Some(([to, from], rest)) =
            self.frame.split_at_checked(12).map(|(macs, rest)| ([&macs[..6], &macs[6..]], rest))
            && let [high, low, ..] = rest
        {
            let text = |mac: &[u8]| mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":");
            write!(f, " from {} to {}, type 0x{high:02x}{low:02x}", text(from), text(to))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_in_each_second_and_the_missing_ones_are_counted() {
        let begin = Instant::now();
        let mut pace = Pace { since: begin, lines: 0, missing: 0 };
        assert!((0..LINES).all(|_| pace.take(begin) == Some(0)));
        assert_eq!([pace.take(begin), pace.take(begin + Duration::from_millis(999))], [None, None]);
        let later = begin + Duration::from_secs(1);
        assert_eq!([pace.take(later), pace.take(later)], [Some(2), Some(0)]);
    }

    #[test]
    fn a_packet_is_described_in_a_line() {
        let frame = [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 6][..], &[0; 28]].concat();
        let packet = PacketIn { length: frame.len(), frame, ..PacketIn::default() };
        assert_eq!(packet.to_string(), "42 bytes from 02:00:00:00:00:01 to 02:00:00:00:00:02, type 0x0806");
        assert_eq!(PacketIn::default().to_string(), "0 bytes");
    }
}
