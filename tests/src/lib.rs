//! The kit of which black-box tests, the demo and the benches are made.
//!
//! A [`lab`] gives namespaces and wires, [`traffic`] sends through them.

pub mod lab;
pub mod traffic;

mod packet_socket;
