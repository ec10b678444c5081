//! What is wanted, and how a change makes another of it. Pure: no I/O, no plugin call, no clock.
//!
//! A [`Model`] is a value. [`change`] takes one, what a user asks for and the [`Facts`] about the machine, and answers
//! with the next model or with everything that is wrong with the request. It can be refused at no cost, tested without
//! a kernel, and computed again when its cubes are busy. Whether kernel and plugins can follow shows afterwards, when
//! `reconcile` carries the difference out. What cannot follow a netdev is part of the model too: it is *deferred*.

mod apply;
mod body;
mod bulk;
mod change;
mod choice;
mod configuration;
mod cube;
mod deferred;
mod export;
mod facts;
mod link;
mod netdev;
mod port;
mod port_config;
mod restore;
mod saved;
mod service;
#[cfg(test)]
mod tests;

pub(crate) use apply::answer;
pub(crate) use change::{Change, change};
pub(crate) use configuration::{Absent, Apply, Mode, Others};
pub(crate) use cube::{ActionInput, action_input};
pub(crate) use deferred::{Deferred, Origin, Part};
pub(crate) use export::{export, from_wire};
pub(crate) use facts::{Facts, Look, Looks};
pub(crate) use netdev::{renamed, unfit};
pub(crate) use port_config::{CONFIG, PortConfig};
pub(crate) use restore::{Unrestored, restore, restore_again};
pub(crate) use saved::{Row, Saved, SavedCube, SavedPort, UnreadableCube, rows};
#[cfg(test)]
pub(crate) use saved::{SavedAttachment, SavedService};

use std::sync::Arc;

use imbl::OrdMap;

use crate::registry::Registry;
use crate::topology::{CubeName, Topology};

/// Everything that is wanted, and what had to be put off. Copies share what they have in common.
#[derive(Clone)]
pub(crate) struct Model {
    pub topology: Topology,
    pub registry: Registry,
    pub deferred: Deferred,
    /// Cubes that are stored and could not be brought back.
    pub unrestored: OrdMap<CubeName, Arc<Unrestored>>,
}

impl Model {
    /// A model without cubes.
    pub(crate) fn new(registry: Registry) -> Self {
        Self { topology: Topology::default(), registry, deferred: Deferred::default(), unrestored: OrdMap::new() }
    }
}
