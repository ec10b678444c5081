//! Data models: a service's JSON Schema, composed with the host's own, and requests checked against it. Pure.

mod coerce;
mod model;
mod node;

pub use model::{Model, ModelError, Operation};
pub use node::{Node, locate};

#[cfg(test)]
mod tests;
