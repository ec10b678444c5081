//! What is noted with a capture file when it is closed.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;

use serde::{Deserialize, Serialize};

use crate::format::pcapng::Section;
use crate::store::Attribute;
use crate::tally::Tally;

/// Most places that are noted, and most bytes of each: the note has little room.
const PLACES: usize = 16;
const PLACE: usize = 48;

/// Where a file is from, and how much is in it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) cube: String,
    pub(crate) places: Vec<String>,
    pub(crate) packets: u64,
    /// Times of the first and the last packet, in nanoseconds since 1970.
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl About {
    pub(crate) fn new(section: &Section, tally: &Tally) -> Self {
        let places = section.interfaces.iter().flatten().take(PLACES);
        let places = places.map(|place| place.name.chars().take(PLACE).collect()).collect();
        Self { cube: section.cube.clone(), places, packets: tally.packets, first: tally.first.0, last: tally.last.0 }
    }

    /// Notes it. On a file system without attributes, the list of files says less.
    pub(crate) fn write(&self, file: impl AsFd) {
        if let Ok(text) = serde_json::to_vec(self) {
            let _ = Attribute::About.set(file, &text);
        }
    }

    pub(crate) fn read(file: impl AsFd) -> Option<Self> {
        serde_json::from_slice(&Attribute::About.of(file)?).ok()
    }
}
