//! Where records go.

#![forbid(unsafe_code)]

mod file;
mod name;

pub(crate) use file::{CaptureFile, Shortfall, Target, probe};
