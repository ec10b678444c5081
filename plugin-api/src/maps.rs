//! Typed maps: what a cube's programs and its plugin share.
//!
//! A map is described in [`Datapath::maps`](crate::Datapath::maps), made by the host, and opened in
//! [`Service::prepare`](crate::Service::prepare) by its name:
//!
//! ```
//! use polycube_plugin_api::maps::{Hash, PerCpuArray};
//! use polycube_plugin_api::{Maps, Refusal};
//!
//! struct Running {
//!     /// Packets and bytes.
//!     counters: PerCpuArray<[u64; 2]>,
//!     /// MAC address, padded, to port.
//!     stations: Hash<[u8; 8], u32>,
//! }
//!
//! fn open(mut maps: Maps) -> Result<Running, Refusal> {
//!     Ok(Running { counters: maps.open("counters")?, stations: maps.open("stations")? })
//! }
//! ```
//!
//! What the kernel says of the map decides: another type, or another size of its keys or values, is refused with a message
//! that names both. Every method is a call to the kernel, of about a microsecond, and takes `&self`: the kernel serialises.
//! Errors name the map and become a [`Refusal`](crate::Refusal) with `?`.

mod array;
mod error;
mod plain;
mod raw;
mod reader;
mod ring;
mod slots;
mod sys;
mod table;
mod walk;

pub use array::{Array, PerCpuArray};
pub use error::{MapError, MapType, OpenError, Operation};
pub use plain::{Plain, Total};
pub(crate) use reader::Read;
pub use reader::RingReader;
pub use ring::Ring;
pub use slots::Slots;
pub use table::{Hash, LpmTrie, LruHash, LruPerCpuHash, PerCpuHash, PerCpuTable, Prefix, Table, kind};

use crate::{Map, Maps};

impl Maps {
    /// Takes the map called `name` and opens it as an `M`: an [`Array`], a [`Hash`](type@Hash), a [`Ring`] or another of the
    /// [typed maps](crate::maps).
    ///
    /// # Errors
    /// There is no such map (any more), or it is of another type or has other sizes.
    pub fn open<M: TryFrom<Map, Error = OpenError>>(&mut self, name: &str) -> Result<M, OpenError> {
        M::try_from(self.take(name).ok_or_else(|| OpenError::Missing { map: name.to_owned() })?)
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
