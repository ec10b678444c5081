//! One line for a packet, for people without tcpdump.

mod summary;

use crate::records::{Direction, Packet};
use crate::terminal::escape;

/// The line, without its end: time of day in UTC, direction if it is known, source and destination, what it is, and its
/// length on the wire.
pub(crate) fn line(packet: &Packet<'_>) -> String {
    let seconds = packet.time.as_secs() % 86_400;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let micros = packet.time.subsec_micros();
    let direction = match packet.direction {
        Some(Direction::In) => "in  ",
        Some(Direction::Out) => "out ",
        None => "",
    };
    let what = summary::of(packet.bytes);
    let length = packet.length;
    escape(&format!("{hours:02}:{minutes:02}:{seconds:02}.{micros:06} {direction}{what}, {length} bytes"))
}

#[cfg(test)]
mod tests;
