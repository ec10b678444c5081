//! The kit of which black-box tests, the demo and the benches are made.
//!
//! A [`lab`] gives namespaces and wires, [`traffic`] sends through them, a [`daemon`] works in between, and [`hook`]
//! says what it has attached, [`marks`] whom a frame passed; a [`scene`] is all of these with a bridge. A [`capture`] of
//! the kit's own says what crossed a wire, and a [`comparison`] whether the daemon's file, read by [`pcap`], says the
//! same. A [`sniffer`] tells of itself. A [`disk`] is small. [`bpf`] runs programs over single packets.

pub mod bpf;
pub mod capture;
pub mod comparison;
pub mod daemon;
pub mod disk;
pub mod hook;
pub mod http;
pub mod lab;
pub mod marks;
pub mod pcap;
pub mod scene;
pub mod sniffer;
pub mod traffic;

mod packet_socket;
