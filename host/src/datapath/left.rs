//! What an earlier daemon left in the kernel, to look at.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::found::Found;
use super::marks::{Mark, Marks};
use super::pins::Pins;

/// What is there. Nothing is changed by looking.
pub(crate) struct Left {
    pub pins: BTreeSet<PathBuf>,
    /// The netdevs that are in promiscuous mode because of it, by ifindex.
    pub promiscuous: Vec<u32>,
}

impl Left {
    /// # Errors
    /// A directory cannot be read.
    pub(crate) fn look(pins: &Pins) -> io::Result<Self> {
        let found = Found::look(pins)?;
        let marks = Marks::read(pins.directory(), Mark::Promiscuous)?;
        // Without our root on it, a netdev may be another one.
        let promiscuous = marks.all().into_iter().filter(|ifindex| found.has_root_on(*ifindex)).collect();
        Ok(Self { pins: found.all().map(|pin| pins.path(pin)).collect(), promiscuous })
    }
}
