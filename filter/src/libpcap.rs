//! libpcap, loaded at run time.

#![allow(unsafe_code, reason = "libpcap is C")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use super::classic::Raw;
use super::link::Link;

/// Its names in distributions: the soname that libpcap gives itself, and Debian's.
const NAMES: [&str; 2] = ["libpcap.so.1", "libpcap.so.0.8"];

/// The return value for a match; libpcap's `MAXIMUM_SNAPLEN`.
const SNAPLEN: c_int = 262_144;
/// Maximum bytes of an expression. Without the optimizer, 8 KiB of ports take 6 s and 16 KiB 50 to 80 s.
const LONGEST: usize = 8 << 10;
/// Expressions up to this many bytes are always compiled quickly.
const SHORT: usize = 1 << 10;
/// Maximum instructions to pass to the optimizer, which then takes some seconds at most: its time grows with the third
/// power of the length, to 120 s for 800 ports.
const MOST_UNOPTIMIZED: usize = 16_384;

/// This machine has no libpcap.
#[derive(Debug, thiserror::Error)]
#[error(
    "filters need libpcap, which this machine lacks: install libpcap0.8 (Debian, Ubuntu), libpcap0.8t64 (Ubuntu \
         24.04 and later) or libpcap (Fedora)"
)]
pub struct Missing(#[source] libloading::Error);

/// Why libpcap does not compile an expression.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("the expression is {0} bytes long, and {LONGEST} is the most: use a shorter one")]
    Long(usize),
    #[error("the expression is too long: it has {0} instructions before libpcap optimizes them")]
    Unoptimized(usize),
    #[error("the expression contains a NUL byte")]
    Nul,
    #[error("libpcap is out of memory")]
    Memory,
    /// libpcap's own message.
    #[error("{0}")]
    Libpcap(String),
}

/// `struct bpf_program`.
#[repr(C)]
struct Program {
    length: u32,
    instructions: *mut Raw,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut Program, *const c_char, c_int, u32) -> c_int;
type GetError = unsafe extern "C" fn(*mut c_void) -> *const c_char;
type FreeCode = unsafe extern "C" fn(*mut Program);
type Close = unsafe extern "C" fn(*mut c_void);

/// The functions of libpcap that filters need.
pub(super) struct Libpcap {
    open_dead: OpenDead,
    compile: Compile,
    get_error: GetError,
    free_code: FreeCode,
    close: Close,
    _library: Library,
}

impl Libpcap {
    /// Loads the library, which stays loaded.
    ///
    /// # Errors
    /// [`Missing`]. The next call tries again.
    pub(crate) fn get() -> Result<&'static Self, Missing> {
        static LOADED: OnceLock<Libpcap> = OnceLock::new();
        if let Some(libpcap) = LOADED.get() {
            return Ok(libpcap);
        }
        let loaded = Self::load()?;
        Ok(LOADED.get_or_init(|| loaded))
    }

    fn load() -> Result<Self, Missing> {
        let [first, second] = NAMES;
        // SAFETY: libpcap's initialisers set up libpcap itself and touch nothing of ours.
        let library = unsafe { Library::new(first).or_else(|_| Library::new(second)) }.map_err(Missing)?;
        // SAFETY: the types are those of pcap/pcap.h, which the soname guarantees.
        unsafe {
            Ok(Self {
                open_dead: *library.get(b"pcap_open_dead\0").map_err(Missing)?,
                compile: *library.get(b"pcap_compile\0").map_err(Missing)?,
                get_error: *library.get(b"pcap_geterr\0").map_err(Missing)?,
                free_code: *library.get(b"pcap_freecode\0").map_err(Missing)?,
                close: *library.get(b"pcap_close\0").map_err(Missing)?,
                _library: library,
            })
        }
    }

    /// The optimized classic program for an expression. Long expressions need a larger stack than threads
    /// have by default. Only `ip broadcast` needs a netmask.
    ///
    /// This looks up host names, and takes as long as that does.
    ///
    /// # Errors
    /// [`CompileError`].
    pub(crate) fn compile(&self, expression: &str, link: Link) -> Result<Vec<Raw>, CompileError> {
        if expression.len() > LONGEST {
            return Err(CompileError::Long(expression.len()));
        }
        let text = CString::new(expression).map_err(|_| CompileError::Nul)?;
        if expression.len() > SHORT {
            let count = self.compile_as((&text, link), false, <[Raw]>::len)?;
            if count > MOST_UNOPTIMIZED {
                return Err(CompileError::Unoptimized(count));
            }
        }
        self.compile_as((&text, link), true, <[Raw]>::to_vec)
    }

    /// Compiles `text` and passes the program to `read`.
    fn compile_as<T>(
        &self,
        (text, link): (&CStr, Link),
        is_optimized: bool,
        read: impl FnOnce(&[Raw]) -> T,
    ) -> Result<T, CompileError> {
        // SAFETY: it only takes numbers.
        let handle = unsafe { (self.open_dead)(link.link_type.number(), SNAPLEN) };
        if handle.is_null() {
            return Err(CompileError::Memory);
        }
        let mut program = Program { length: 0, instructions: ptr::null_mut() };
        let optimize = c_int::from(is_optimized);
        // SAFETY: the handle is open, the program is ours and the text ends with NUL. Concurrent calls are safe since
        // 1.8 of 2016 (pcap_compile(3PCAP), "BUGS"); our programs need Linux 6.1, of 2022.
        let result =
            unsafe { (self.compile)(handle, &raw mut program, text.as_ptr(), optimize, link.netmask.number()) };
        let compiled = if result == 0 {
            // SAFETY: libpcap returned 0, so `instructions` is an array of `length` until it is freed.
            let found = read(unsafe { std::slice::from_raw_parts(program.instructions, program.length as usize) });
            // SAFETY: libpcap made the program, and it is not used again.
            unsafe { (self.free_code)(&raw mut program) };
            Ok(found)
        } else {
            // SAFETY: the text belongs to the handle, which stays open until below.
            let reason = unsafe { CStr::from_ptr((self.get_error)(handle)) };
            Err(CompileError::Libpcap(reason.to_string_lossy().into_owned()))
        };
        // SAFETY: the handle is open and is not used again.
        unsafe { (self.close)(handle) };
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FilterError, raw};

    #[test]
    fn an_expression_becomes_a_program() {
        let program = raw("ip", Link::default()).unwrap();
        let raw = |code, jt, jf, k| Raw { code, jt, jf, k };
        assert_eq!(program, [raw(0x28, 0, 0, 12), raw(0x15, 0, 1, 0x800), raw(6, 0, 0, 262_144), raw(6, 0, 0, 0)]);
    }

    /// Retries after a timeout, which a busy machine may cause.
    fn settled(expression: &str) -> Result<Vec<Raw>, FilterError> {
        let mut answers = std::iter::repeat_with(|| raw(expression, Link::default())).take(30);
        answers.find(|answer| !matches!(answer, Err(FilterError::Timeout))).expect("an answer in a minute")
    }

    #[track_caller]
    fn check_refused(expression: &str, reason: &str) {
        match settled(expression) {
            Err(FilterError::Expression(refused)) => assert_eq!(refused.reason, reason),
            other => panic!("{} bytes: {other:?}", expression.len()),
        }
    }

    #[test]
    fn an_expression_that_takes_too_long_is_refused() {
        let of = |count| vec!["host 10.0.0.1"; count].join(" or ");
        assert!(settled(&of(100)).is_ok());
        check_refused(&of(500), "the expression is 8496 bytes long, and 8192 is the most: use a shorter one");
        check_refused(
            &format!("ip[0] = 1{}", "+1".repeat(3000)),
            "the expression is too long: it has 18016 instructions before libpcap optimizes them",
        );
    }

    /// libpcap recurses.
    #[test]
    fn deep_expressions_end_no_thread() {
        for deep in ["(".repeat(LONGEST), "!".repeat(LONGEST), "ip[".repeat(LONGEST / 3)] {
            assert!(matches!(settled(&deep), Err(FilterError::Expression(_))));
        }
        assert!(settled(&format!("{}ip", "not ".repeat(2000))).is_ok());
    }
}
