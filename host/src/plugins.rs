//! Plugins: finding and checking them, and calling them.
//!
//! A plugin's code can panic, be slow or never return. A panic ends its instance and nothing else. A slow call is
//! logged; one that does not return is reported as stuck, and the caller goes on without it. Calls that depend on each
//! other's effects (a change, an action, a tick, news of netdevs) take a cube's [`Turn`] and never run at the same time; a
//! cube whose turn is taken delays only calls of this very cube.

mod caller;
mod calls;
mod code;
mod cut;
mod doors;
#[cfg(test)]
pub(crate) mod double;
mod failures;
mod identity;
mod instance;
mod instances;
mod lines;
mod loader;
mod log;
mod object;
mod objects;
mod report;
mod shared;
mod ticker;
mod trial;
mod turn;

use polycube_loader::described;

pub(crate) use calls::{Calls, PATIENCE};
pub(crate) use failures::Failures;
pub(crate) use instance::{Acted, Failure, Instance, MakeMap, MapCopy, NetdevAt, Request, Stream};
pub(crate) use instances::{CaptureDirs, Instances, Surroundings};
pub(crate) use lines::Maps as LineMaps;
pub(crate) use loader::{LoadError, Plugin, load_directory, load_service};
pub(crate) use log::LOG_TARGET;
pub(crate) use shared::{delete_shared, shared};
pub(crate) use ticker::keep_ticking;
pub(crate) use trial::trial;

/// The version of the border.
pub(crate) use polycube_plugin_api::abi::{ABI_MAJOR, ABI_MINOR};
