//! simplebridge: a learning switch, the standard cube of the examples.
//!
//! The program `bridge` learns, forwards and floods in the kernel. This side sets static entries, removes aged ones and
//! those of ports that go down, and shows the state. The host loads the program.

mod cube;
mod datapath;
mod fdb;
mod links;

pub mod config;
pub mod mac;
pub mod state;

pub use cube::SimpleBridge;

polycube_plugin_api::export_plugin!(SimpleBridge);
