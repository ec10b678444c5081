//! transparenthelloworld: the smallest transparent cube. In each direction it passes packets, drops them, or takes them
//! through user space, which logs and counts them and lets them go on.

mod cube;
mod datapath;

pub mod config;
pub mod state;

pub use cube::TransparentHelloWorld;

polycube_plugin_api::export_plugin!(TransparentHelloWorld);
