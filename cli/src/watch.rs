//! One line for a packet, for people without tcpdump.

mod summary;

use std::io;

use crate::clock::Clock;
use crate::grammar;
use crate::records::{Direction, Packet};
use crate::terminal::{Colour, escape, has_colours, paint};

/// How lines look.
pub(crate) struct Lines {
    clock: Clock,
    /// Whether they have a date.
    is_dated: bool,
    colours: bool,
}

impl Lines {
    /// For standard output.
    pub(crate) fn new(clock: grammar::Clock) -> Self {
        Self { clock: Clock::new(clock), is_dated: false, colours: has_colours(&io::stdout()) }
    }

    /// The same, for packets of any day.
    pub(crate) fn dated(self) -> Self {
        Self { is_dated: true, ..self }
    }

    /// The line, without its end: date, time of day, the place if there are several, direction if it is known, source and
    /// destination, what it is, and its length on the wire.
    pub(crate) fn line(&self, packet: &Packet<'_>, place: &str) -> String {
        let second = self.clock.second_of_day(packet.time);
        let (hours, minutes, seconds) = (second / 3_600, second / 60 % 60, second % 60);
        let date = if self.is_dated { format!("{} ", self.clock.date(packet.time)) } else { String::new() };
        let time = format!("{date}{hours:02}:{minutes:02}:{seconds:02}.{:06}", packet.time.subsec_micros());
        let direction = match packet.direction {
            Some(Direction::In) => "in  ",
            Some(Direction::Out) => "out ",
            None => "",
        };
        let what = escape(&if packet.is_raw_ip { summary::of_ip(packet.bytes) } else { summary::of(packet.bytes) });
        let (time, direction) = (self.paint(&time, Colour::Aside), self.paint(direction, Colour::Title));
        let (gap, place) = (if place.is_empty() { "" } else { " " }, escape(place));
        format!("{time} {place}{gap}{direction}{what}, {} bytes", packet.length)
    }

    fn paint(&self, text: &str, colour: Colour) -> String {
        paint(text, self.colours.then_some(colour)).to_string()
    }
}

#[cfg(test)]
mod tests;
