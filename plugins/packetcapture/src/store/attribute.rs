//! What we note about a capture file, in extended attributes of the file itself: the notes go where the file goes, and go
//! when it goes.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

/// A note. All of a file's must fit into one block of ext4 (4 KiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// JSON: where it is from, and how much is in it.
    About,
    /// What is in its packets.
    Index,
}

/// Longer than any note.
const LONGEST: usize = 4096;

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            Self::About => "user.polycube.about",
            Self::Index => "user.polycube.index",
        }
    }

    /// The file's note; `None` if it has none that can be read.
    pub(crate) fn of(self, file: impl AsFd) -> Option<Vec<u8>> {
        let mut value = vec![0; LONGEST];
        let length = fgetxattr(file, self.name(), &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// Notes it, in place of a former note.
    ///
    /// # Errors
    /// The file system has no such attributes, or no room for this one.
    pub(crate) fn set(self, file: impl AsFd, value: &[u8]) -> io::Result<()> {
        Ok(fsetxattr(file, self.name(), value, XattrFlags::empty())?)
    }

    /// Copies all notes of a file. What cannot be noted is found out again by reading the file.
    pub(crate) fn copy_all(from: impl AsFd, to: impl AsFd) {
        for attribute in [Self::About, Self::Index] {
            if let Some(value) = attribute.of(from.as_fd()) {
                let _ = attribute.set(to.as_fd(), &value);
            }
        }
    }
}
