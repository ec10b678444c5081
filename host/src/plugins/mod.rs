//! Plugins: finding and checking them, and calling them.

mod identity;
mod instance;
mod loader;

pub use instance::{Failure, Instance, LOG_TARGET, Request, Stream};
pub use loader::{LoadError, Plugin, find, load, load_directory};
