//! Black-box tests of polycube plugins: a [`lab`] of network namespaces joined by wires, [`traffic`] of exact frames, and a
//! real [`Daemon`] in between. It needs root.

mod daemon;
pub mod lab;
#[doc(hidden)]
pub mod packet_socket;
pub mod traffic;

pub use daemon::Daemon;
pub use lab::Lab;
