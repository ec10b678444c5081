//! simplebridge: a learning switch, the standard cube that the examples use.
//!
//! The program `bridge` learns, forwards and floods in the kernel. This side sets static entries, drops what has aged
//! and shows what is there. Of aya it uses the typed maps alone: the host loads.

mod counters;
mod cube;
mod datapath;
mod fdb;

pub mod config;
pub mod mac;
pub mod state;

pub use cube::SimpleBridge;

polycube_plugin_api::export_plugin!(SimpleBridge);
