//! One line for a packet, for people without tcpdump.

mod summary;

use crate::records::{Direction, Packet};
use crate::terminal::escape;

/// The line, without its end: time of day in UTC, direction if it is known, source and destination, what it is, and its
/// length on the wire.
pub(crate) fn line(packet: &Packet<'_>) -> String {
    line_at(packet, packet.time.as_secs() % 86_400, "")
}

/// The same with another second of the day, and with the place, if there are several.
pub(crate) fn line_at(packet: &Packet<'_>, seconds: u64, place: &str) -> String {
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let micros = packet.time.subsec_micros();
    let direction = match packet.direction {
        Some(Direction::In) => "in  ",
        Some(Direction::Out) => "out ",
        None => "",
    };
    let what = if packet.is_raw_ip { summary::of_ip(packet.bytes) } else { summary::of(packet.bytes) };
    let length = packet.length;
    escape(&format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {place}{direction}{what}, {length} bytes"))
}

#[cfg(test)]
mod tests;
