//! Memory that the kernel side and the user side share: layouts, map names and limits.
//!
//! Both sides compile this crate, so a field that moves does so for both. It contains no code that runs in a
//! packet's path, and has no dependencies, except for the derives that the feature `zerocopy` adds for user space.

#![no_std]
#![forbid(unsafe_code)]

pub mod bridge;
pub mod chain;
pub mod log;
pub mod ring;
pub mod slow;
pub mod span;
