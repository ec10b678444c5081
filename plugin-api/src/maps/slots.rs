//! Maps of maps.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use super::error::{MapError, MapType, OpenError};
use super::raw::{Expected, Presence, Raw};
use crate::Map;

/// A map of type `ARRAY_OF_MAPS`: slots for maps, with the indices from 0. All are empty in the beginning.
#[derive(Debug)]
pub struct Slots {
    raw: Raw,
}

impl TryFrom<Map> for Slots {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        let expected = Expected { kind: MapType::ARRAY_OF_MAPS, key: 4, value: 4 };
        Ok(Self { raw: Raw::open(map, &expected)? })
    }
}

impl Slots {
    /// Puts `map` into the slot with `index`. A program finds the map before or this one. The slot keeps the map alive.
    ///
    /// # Errors
    /// There is no such slot, or the kernel refuses: the map is not what the description says of the maps in the slots.
    pub fn put(&self, index: u32, map: BorrowedFd<'_>) -> Result<(), MapError> {
        if index >= self.raw.info.max_entries {
            return Err(MapError::Index { map: self.raw.name.clone(), index, max_entries: self.raw.info.max_entries });
        }
        let fd = map.as_fd().as_raw_fd().to_ne_bytes();
        self.raw.update(&index.to_ne_bytes(), &fd, Presence::Any).map(drop)
    }
}
