//! Data models: a service's JSON Schema, composed with the host's own, and requests checked against it. Pure.

mod check;
mod coerce;
mod document;
mod format;
pub(crate) mod metric;
mod model;
mod node;
mod scalar;
mod strict;
mod summary;

pub(crate) use document::{Operation, absent};
pub(crate) use model::{Model, ModelError, Source};
pub(crate) use node::{Node, is_read_only, locate, read, shown, word};

#[cfg(test)]
mod tests;
