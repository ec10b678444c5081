//! Looks whether the pins are still there, and makes those again that somebody removed.
//!
//! Without its pins, the datapath works until the daemon ends, and then packets would lose their way.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use polycube_layout::chain::{ACCEPT, NEXT};

use super::hook::Attachment;
use super::object::Loaded;
use super::{Datapath, DatapathError, pins};

impl Datapath {
    /// Pins again what is not pinned any more. Answers with what that was.
    ///
    /// # Errors
    /// The first pin that cannot be made.
    pub(crate) fn repin(&self) -> Result<Vec<PathBuf>, DatapathError> {
        let mut made = Vec::new();
        if !self.roots.is_empty() {
            for (pin, map) in self.shared() {
                self.repin_one(&pin, map, &mut made)?;
            }
        }
        for map in self.maps.values() {
            self.repin_one(&map.pin, map.object.fd.as_fd(), &mut made)?;
        }
        for node in self.nodes.values() {
            self.repin_program(&node.loaded.pin, &node.loaded.object, &mut made)?;
        }
        for root in self.roots.values() {
            self.repin_program(&root.pin, &root.program, &mut made)?;
            if let Attachment::Tcx(link) = &root.attachment {
                self.repin_one(&root.pin.join(pins::LINK), link.as_fd(), &mut made)?;
            }
        }
        Ok(made)
    }

    fn repin_program(&self, pin: &Path, loaded: &Loaded, made: &mut Vec<PathBuf>) -> Result<(), DatapathError> {
        let parts = [
            (pins::PROGRAM, Some(&loaded.program)),
            (ACCEPT, loaded.accept.as_ref()),
            (pins::RODATA, loaded.rodata.as_ref()),
            (NEXT, Some(&loaded.next)),
        ];
        for (table, map) in &loaded.jumps {
            self.repin_one(&pin.join(pins::jumps(table)), map.as_fd(), made)?;
        }
        for (name, part) in parts {
            if let Some(part) = part {
                self.repin_one(&pin.join(name), part.as_fd(), made)?;
            }
        }
        Ok(())
    }

    fn repin_one(&self, pin: &Path, object: BorrowedFd<'_>, made: &mut Vec<PathBuf>) -> Result<(), DatapathError> {
        let is_gone = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if std::fs::symlink_metadata(self.pins.path(pin)).is_err_and(is_gone) {
            self.pins.pin(object, pin)?;
            made.push(self.pins.path(pin));
        }
        Ok(())
    }
}
