//! The directories and files of captures, held so that a name cannot come to mean another file.
//!
//! The daemon may be root, and the directory of a capture may belong to somebody else. Whoever can write to it can put a
//! link in the place of a file, or of a directory on the way, between any two of our calls. So no path is trusted twice:
//!
//! - A path that a user gives leads below one of the [`Roots`] that the operator allows.
//! - A [`Directory`] is opened without following a link below its root, and kept as a descriptor. Files are made, opened
//!   and deleted relative to it.
//! - An [`OwnFile`] knows the device, inode and time of birth of the file that was made. Each later opening follows no
//!   link and is of that very file, which still belongs to us, or fails.
//! - Files of ours carry a mark. Overwriting replaces what has it, and nothing else.
//!
//! What remains is the moment between looking at a name and deleting it. Whoever wins that race has us delete a file from
//! a directory that he can write to, where he could have deleted it himself.

#![forbid(unsafe_code)]

mod directory;
mod file;
mod root;

pub(crate) use directory::{Directory, Removal};
pub(crate) use file::{FileId, Form, OpenError, OwnFile, StoredFile};
pub(crate) use root::{Location, RootError, Roots};

#[cfg(test)]
mod tests;
