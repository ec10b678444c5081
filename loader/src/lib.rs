//! How what a plugin describes gets into the kernel: the part that the daemon and the test kit for plugins share.
//!
//! [`described`] checks a description before anything is loaded. [`object`] creates its maps and loads its programs, and
//! [`chain`] says which slots join them. [`lines`] reads what programs write to a log, and [`bpf`] makes the system calls.
//! Where programs are attached, and what an earlier daemon left, is the daemon's business.

pub mod bpf;
pub mod chain;
pub mod described;
mod error;
pub mod lines;
mod map;
pub mod object;

pub use error::LoadError;
pub use map::CubeMap;
