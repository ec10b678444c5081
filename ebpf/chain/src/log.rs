//! Lines to the cube's log: [`logging!`](crate::logging) declares what they need, once in an object, and
//! [`line!`](crate::line) writes one.
//!
//! ```text
//! use polycube_chain::{line, log::Level, logging};
//!
//! logging!();
//!
//! line!(Level::Info, "from %I, by port %u", source, ctx.port());
//! ```
//!
//! Formats: `%d %i %u %x %X %c` take 32 bits of their word, `%ld %lu %lx` all 64; `%I` is an IPv4 address, `[u8; 4]`; `%M` a
//! MAC address, `[u8; 6]`; `%P` the port of TCP or UDP in network byte order. A line that the cube's loglevel does not admit
//! costs nothing.

use aya_ebpf::{
    Global,
    helpers::generated::bpf_ktime_get_coarse_ns,
    maps::{PerCpuArray, RingBuf},
};
use polycube_layout::log::{Header, LONGEST, MAX_WORDS, PER_SECOND, State};

#[doc(hidden)]
pub use polycube_layout::log::{RING_SIZE, State as Counted};

/// How severe a line is.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Level {
    Error = 1,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What can be a word of a line.
pub trait Word {
    fn word(self) -> u64;
}

macro_rules! words {
    ($($number:ty),*) => {
        $(impl Word for $number {
            #[inline(always)]
            fn word(self) -> u64 {
                self as u64
            }
        })*
    };
}

words!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Word for [u8; 4] {
    #[inline(always)]
    fn word(self) -> u64 {
        u64::from(u32::from_le_bytes(self))
    }
}

impl Word for [u8; 6] {
    #[inline(always)]
    fn word(self) -> u64 {
        let [a, b, c, d, e, f] = self;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// A line in the ring.
#[repr(C)]
struct Line<const WORDS: usize, const LENGTH: usize> {
    header: Header,
    words: [u64; WORDS],
    format: [u8; LENGTH],
}

/// Declares what lines need. The host makes the maps, and sets the level to the cube's loglevel.
#[macro_export]
macro_rules! logging {
    () => {
        #[::aya_ebpf::macros::map(name = "pcn_log_lines")]
        static PCN_LOG_LINES: ::aya_ebpf::maps::RingBuf =
            ::aya_ebpf::maps::RingBuf::with_byte_size($crate::log::RING_SIZE, 0);
        #[::aya_ebpf::macros::map(name = "pcn_log_state")]
        static PCN_LOG_STATE: ::aya_ebpf::maps::PerCpuArray<$crate::log::Counted> =
            ::aya_ebpf::maps::PerCpuArray::with_max_entries(1, 0);
        #[unsafe(export_name = "pcn_log_level")]
        static PCN_LOG_LEVEL: ::aya_ebpf::Global<u8> = ::aya_ebpf::Global::new(3);
    };
}

/// Writes a line to the cube's log: a level, a format and at most eight words.
#[macro_export]
macro_rules! line {
    ($level:expr, $format:literal $(, $word:expr)* $(,)?) => {
        if $crate::log::admits(&PCN_LOG_LEVEL, $level) {
            const FORMAT: &[u8] = $format.as_bytes();
            const LENGTH: usize = FORMAT.len();
            const BYTES: [u8; LENGTH] = *FORMAT.first_chunk::<LENGTH>().unwrap();
            let words = [$($crate::log::Word::word($word)),*];
            $crate::log::write(&PCN_LOG_LINES, &PCN_LOG_STATE, $level, words, BYTES);
        }
    };
}

#[doc(hidden)]
#[inline(always)]
pub fn admits(highest: &Global<u8>, level: Level) -> bool {
    level as u8 <= highest.load()
}

#[doc(hidden)]
#[inline(always)]
pub fn write<const WORDS: usize, const LENGTH: usize>(
    lines: &RingBuf,
    states: &PerCpuArray<State>,
    level: Level,
    words: [u64; WORDS],
    format: [u8; LENGTH],
) {
    const { assert!(WORDS <= MAX_WORDS && LENGTH <= LONGEST) };
    let Some(state) = states.get_ptr_mut(0) else { return };
    // SAFETY: the element is this CPU's, and nothing else holds a reference to it.
    let state = unsafe { &mut *state };
    // SAFETY: takes nothing.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    if now.wrapping_sub(state.since) >= 1_000_000_000 {
        state.since = now;
        state.count = 0;
    }
    if state.count >= PER_SECOND {
        state.lost += 1;
        return;
    }
    state.count += 1;
    let Some(mut line) = lines.reserve::<Line<WORDS, LENGTH>>(0) else {
        state.lost += 1;
        return;
    };
    let header = Header { level: level as u8, words: WORDS as u8, length: LENGTH as u16, zero: 0 };
    line.write(Line { header, words, format });
    line.submit(0);
}
