//! The kit that the black-box tests, the demo and the benches are built on.
//!
//! A [`lab`] has namespaces and wires, [`traffic`] sends through them, and a [`daemon`] works in between; a [`scene`]
//! sets all of them up, with the cubes that a test needs. [`hook`] lists what is attached, [`marks`] which cubes a
//! frame passed, and [`sniffer`] what a capture reports. The kit's own [`capture`] records what crossed a wire, and a
//! [`comparison`] checks the daemon's file, read by [`pcap`], against it. A [`disk`] is small, [`bpf`] runs
//! programs on single packets, [`object`] loads them, and [`patience`] waits.

pub mod bpf;
pub mod capture;
pub mod comparison;
pub mod daemon;
pub mod disk;
pub mod hook;
pub mod http;
pub mod marks;
pub mod object;
pub mod patience;
pub mod pcap;
pub mod scene;
pub mod sniffer;

pub use polycube_lab::{lab, traffic};

use polycube_lab::packet_socket;
