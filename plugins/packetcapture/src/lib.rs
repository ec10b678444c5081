//! packetcapture: records the packets that pass a point in a capture file.
//!
//! The program `capture` writes finished pcap records into memory-mapped rings, one per CPU. This side passes spans of
//! the rings to `pwritev` and releases them: it neither parses nor copies packets. From the bottom up: `ring` (the
//! mapping) · `merge` (one order from many rings) · `drain` (a round from the rings to the sink) · `consumer` (the
//! thread that makes the rounds) · `session` (from the first ring to the last) · `cube`.

#![deny(unsafe_code)]

mod about;
mod calendar;
mod catalogue;
mod consumer;
mod copying;
mod cube;
mod datapath;
mod drain;
mod filter;
mod format;
mod index;
mod keys;
mod larger;
mod lock;
mod log;
mod machine;
mod memory;
mod outcome;
mod over_ip;
mod patience;
mod pattern;
mod places;
mod query;
mod ring;
mod session;
mod settings;
mod shared;
mod sink;
mod source;
mod store;
mod streams;
mod sys;
mod tally;

pub mod anonymize;
pub mod config;
#[doc(hidden)]
pub mod merge;
pub mod state;

#[cfg(test)]
mod fixture;

pub use cube::PacketCapture;

polycube_plugin_api::export_plugin!(PacketCapture);
