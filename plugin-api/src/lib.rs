//! The only crate that a polycube plugin depends on: a safe SDK over a small stable ABI.
//!
//! A plugin is a `cdylib` named `libpcn_<service>.so`. It implements [`Service`] for a type that represents one cube,
//! and exports it:
//!
//! ```
//! use polycube_plugin_api::{Cube, Datapath, Refusal, Service, ServiceKind, Wanted, export_plugin};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
//! #[serde(rename_all = "kebab-case", default)]
//! struct Config {
//!     /// Name used in the greeting
//!     greeting: String,
//! }
//!
//! #[derive(serde::Serialize, schemars::JsonSchema)]
//! struct State {
//!     /// Length of the cube's name, in bytes
//!     length: usize,
//! }
//!
//! struct Hello(Cube);
//!
//! impl Service for Hello {
//!     const NAME: &'static str = "hello";
//!     const DESCRIPTION: &'static str = "Says hello and passes every packet";
//!     const KIND: ServiceKind = ServiceKind::Transparent;
//!     type Config = Config;
//!     type State = State;
//!
//!     fn create(cube: Cube) -> Result<Self, Refusal> {
//!         Ok(Self(cube))
//!     }
//!     fn datapath(&self, _: &Wanted<Config>) -> Result<Datapath, Refusal> {
//!         Ok(Datapath::default())
//!     }
//!     fn state(&self) -> Result<State, Refusal> {
//!         Ok(State { length: self.0.name().len() })
//!     }
//! }
//!
//! export_plugin!(Hello);
//! # fn main() {}
//! ```
//!
//! The plugin describes programs and the host loads them: a plugin needs no `bpf(2)` call to be in a packet's path. What
//! most plugins need besides is here as well, without unsafe code in the plugin:
//!
//! - [`Staged`]: a value that belongs to a configuration, and follows the two phases of a change by itself;
//! - [`maps`]: typed access to the cube's maps, and a thread that reads a ring;
//! - [`packets`]: packets to user space, and from there;
//! - [`counters!`]: counters declared once, from the map to the metrics.
//!
//! This crate does no I/O except on the maps and the device that the host hands over.

#![warn(missing_docs)]

pub mod abi;
mod action;
mod counters;
mod cube;
mod datapath;
mod environment;
mod export;
mod guard;
pub mod identity;
pub mod maps;
mod netdevs;
pub mod packets;
mod refusal;
mod schema;
mod service;
mod shared;
mod staged;
mod stages;
#[cfg(test)]
mod testing;
mod threads;

pub use action::{ActionCall, Outcome};
pub use cube::{Cube, Level};
pub use datapath::{
    Code, Count, Datapath, Direction, InnerMap, Jumps, LeftOut, Map, MapKind, MapSpec, Maps, Program, Target, constant,
};
pub use environment::{Address, Changes, Environment, Hop, Neighbour, NeighbourState, Route, Topic};
pub use netdevs::{Netdev, NetdevState, Netdevs};
pub use refusal::{Refusal, Tag};
pub use schema::{Action, Parameter, ServiceKind, ServiceSchema, Stream, keyword};
pub use service::{Opened, Point, Port, Service, Wanted};
pub use staged::Staged;

#[doc(hidden)]
pub mod __private {
    /// What [`counters!`](crate::counters!) needs.
    pub mod counters {
        pub use crate::counters::{Counter, get, schema, serialize, set};
    }

    pub use crate::export::{describe, instantiate};
    pub use crate::guard::install_hook;
    pub use abi_stable;
    pub use schemars;
    pub use serde;
}

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
