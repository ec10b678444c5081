//! The directories and files of captures, held so that a name cannot come to mean another file.
//!
//! The daemon may be root, and a capture's directory may belong to somebody else, who can replace a file, or a
//! directory on the way, with a link between any two of our calls. So no path is trusted twice:
//!
//! - A path that a user gives must lead below one of the [`Roots`] that the operator allows.
//! - A [`Directory`] is opened without following links below its root, and kept as a descriptor. Files are created,
//!   opened and deleted relative to it.
//! - An [`OwnFile`] knows the device, inode and birth time of the file that was created. Opening it again follows no
//!   link, and fails unless it is that very file and still belongs to us.
//! - Our files carry a mark. Overwriting replaces marked files only.
//!
//! What remains is the moment between checking a name and deleting it. An attacker who wins that race makes us delete a
//! file from a directory that he can write to, where he could have deleted it himself.

#![forbid(unsafe_code)]

mod attribute;
mod directory;
mod file;
mod root;

pub(crate) use attribute::Attribute;
pub(crate) use directory::{Directory, Removal};
pub(crate) use file::{FileId, Form, OpenError, OwnFile, StoredFile};
pub(crate) use root::{Location, RootError, Roots};

#[cfg(test)]
mod tests;
