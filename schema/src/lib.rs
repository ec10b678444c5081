//! Data models: a service's JSON Schema, composed with the host's own, and requests checked against it. Pure.

pub mod action;
mod check;
mod coerce;
mod document;
mod format;
pub mod host;
mod key;
pub mod metric;
mod model;
mod node;
mod port;
pub mod problem;
mod scalar;
mod strict;
mod summary;
pub mod template;

pub use document::{Operation, absent};
pub use key::Key;
pub use model::{Model, ModelError, Source};
pub use node::{Node, is_read_only, locate, read, shown};
pub use port::{PORTS, take_read_only};
pub use scalar::word;

#[cfg(test)]
mod tests;
