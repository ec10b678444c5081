//! Data models: a service's JSON Schema, composed with the host's own, and requests checked against it. Pure.

mod check;
mod coerce;
mod document;
mod format;
pub mod host;
pub mod metric;
mod model;
mod node;
mod port;
pub mod problem;
mod scalar;
mod strict;
mod summary;

pub use document::{Operation, absent};
pub use model::{Model, ModelError, Source};
pub use node::{Node, is_read_only, locate, read, shown, word};
pub use port::{PORTS, take_read_only};

#[cfg(test)]
mod tests;
