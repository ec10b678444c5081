//! Where records go: to files, to the queue of network mode, and to whoever reads a stream.

#![forbid(unsafe_code)]

mod backlog;
mod chores;
mod direct;
mod end;
mod file;
mod files;
mod journal;
mod name;
mod queue;
mod readers;
mod router;
mod snapshot;

pub(crate) use chores::Chores;
pub(crate) use end::{End, OnEnd};
pub(crate) use file::CaptureFile;
pub(crate) use files::Files;
pub(crate) use journal::{Journal, mend};
pub(crate) use name::timestamp;
pub(crate) use queue::{Queue, QueuedPacket};
pub(crate) use readers::{ReaderState, Readers};
pub(crate) use router::Router;
pub(crate) use snapshot::{bytes as bytes_in_a_pipe, snapshot};
