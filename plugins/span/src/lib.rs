//! span: mirrors the packets that pass a point.
//!
//! The program `mirror` makes the copies; `copy` cuts them and puts them into tunnels. This side says where they go: `way`
//! finds the netdev, the route and the neighbour, again every second, and `header` makes the outer header. The host loads the
//! programs.

#![forbid(unsafe_code)]

mod cube;
mod datapath;
mod header;
mod netlink;
mod way;

pub mod config;
pub mod state;

pub use cube::Span;

polycube_plugin_api::export_plugin!(Span);
