//! Lines that programs write to their cube's log.
//!
//! A line is a [`Header`], its words, and its format, which the host puts the words into. On each CPU, programs write at most
//! [`PER_SECOND`] lines of a cube a second, and count the rest; of what all CPUs write, the host logs as many. So nobody who
//! sends packets fills the log, and a flood costs little.

/// Map, `RINGBUF`, [`RING_SIZE`] bytes: the lines of a cube. The host reads it.
pub const LINES: &str = "pcn_log_lines";
/// Map, `PERCPU_ARRAY` of one [`State`].
pub const STATE: &str = "pcn_log_state";
/// Global, `u8`: the highest level that is written, 0 for none. The host sets it to the cube's `loglevel`.
pub const LEVEL: &str = "pcn_log_level";

/// A power of two, and pages on every machine. All lines of a second fit.
pub const RING_SIZE: u32 = 1 << 16;
/// Lines of a cube that are written in one second.
pub const PER_SECOND: u64 = 100;
/// Words that a line can have.
pub const MAX_WORDS: usize = 8;
/// Bytes that the format of a line can have.
pub const LONGEST: usize = 200;

/// What a line begins with. Its words follow, 8 bytes each, and then its format.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// 1 (error) to 5 (trace).
    pub level: u8,
    pub words: u8,
    /// Bytes of the format.
    pub length: u16,
    pub zero: u32,
}

/// What is counted of a cube's lines on one CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// `CLOCK_MONOTONIC` (coarse) nanoseconds at which the current second began.
    pub since: u64,
    /// Lines since then.
    pub count: u64,
    /// Lines that were left out, ever.
    pub lost: u64,
}
