//! Memory that the kernel side and the user side share: layouts, map names and limits.
//!
//! Both sides compile this crate, so a field that moves, moves for both. It holds no code that runs in a
//! packet's path and depends on nothing.

#![no_std]
#![forbid(unsafe_code)]

pub mod bridge;
pub mod chain;
pub mod ring;
