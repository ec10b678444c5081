//! The destinations of records: files, network mode's queue, and readers of streams.

#![forbid(unsafe_code)]

mod backlog;
mod direct;
mod excerpt;
mod file;
mod file_worker;
mod files;
mod journal;
mod name;
mod opener;
mod queue;
mod readers;
mod router;
mod snapshot;
mod space;
mod stop;

pub(crate) use excerpt::Excerpt;
pub(crate) use file::CaptureFile;
pub(crate) use file_worker::FileWorker;
pub(crate) use files::Files;
pub(crate) use journal::{Journal, mend, take_back};
pub(crate) use name::timestamp;
pub(crate) use opener::FileContext;
pub(crate) use queue::{Queue, QueuedPacket};
pub(crate) use readers::{ReaderState, Readers};
pub(crate) use router::{Outlets, Router};
pub(crate) use snapshot::{bytes as bytes_in_a_pipe, is_there, snapshot};
pub(crate) use stop::{OnStop, StopCondition};
