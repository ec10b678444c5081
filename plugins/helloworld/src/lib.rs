//! helloworld: the smallest standard cube, with two ports at most. It drops packets, forwards them from one port to the
//! other, or hands them to user space, which logs and counts them.

mod cube;
mod datapath;

pub mod config;
pub mod state;

pub use cube::HelloWorld;

polycube_plugin_api::export_plugin!(HelloWorld);
