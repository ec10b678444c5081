//! Where a program is to run, and what it does with a packet once it has decided.

#![forbid(unsafe_code)]

/// The kind of program, which decides how it reaches a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// `BPF_PROG_TYPE_SCHED_CLS`: TCX, and the classifiers of tc.
    #[default]
    Tc,
    /// `BPF_PROG_TYPE_SOCKET_FILTER`: `SO_ATTACH_BPF`. Its programs cannot read the packet's memory directly.
    SocketFilter,
    /// `BPF_PROG_TYPE_XDP`, on Linux 5.18 or later. A tag that the network card has removed is not seen.
    Xdp,
}

/// A hook, and the exits of the program.
///
/// ```
/// use polycube_filter::{Counter, Element, Exit, Hook, Target};
///
/// // A TC program that is attached by itself: TCX_NEXT (-1) lets a packet pass, TCX_DROP (2) drops it.
/// let drop_matches = Target { hook: Hook::Tc, on_match: Exit::returning(2), on_mismatch: Exit::returning(-1) };
///
/// // A stage before another program, which counts what it keeps from it in an array per CPU.
/// let counter = Counter { map: "counters", element: Element::At(0), offset: 8 };
/// let stage = Target {
///     hook: Hook::Tc,
///     on_match: Exit::tail_call("programs", 1, -1),
///     on_mismatch: Exit::returning(-1).counted(counter),
/// };
/// # let _ = (drop_matches, stage);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where the program runs.
    pub hook: Hook,
    /// What it does with a packet that matches.
    pub on_match: Exit,
    /// What it does with any other packet.
    pub on_mismatch: Exit,
}

/// What a program does with a packet: it may count it, and then ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Where it is counted.
    pub count: Option<Counter>,
    /// How the program ends.
    pub then: Then,
}

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It returns this value: a verdict of its hook, or anything if another program calls it as a function.
    Return(i32),
    /// It continues with another program.
    TailCall {
        /// A `PROG_ARRAY`.
        map: &'static str,
        /// The program's place in it.
        slot: u32,
        /// What is returned if the slot is empty.
        otherwise: i32,
    },
}

/// A counter of 64 bits that one CPU writes: an element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The array.
    pub map: &'static str,
    /// The element.
    pub element: Element,
    /// Offset of the counter in the element, a multiple of 8.
    pub offset: i16,
}

/// Which element of an array a CPU counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// The one with the CPU's number, of a `BPF_MAP_TYPE_ARRAY` with one for each CPU.
    OfCpu,
    /// This one, of a `BPF_MAP_TYPE_PERCPU_ARRAY`.
    At(u32),
}

impl Target {
    /// A program that returns one of two values: the simplest target.
    pub const fn returning(hook: Hook, on_match: i32, on_mismatch: i32) -> Self {
        Self { hook, on_match: Exit::returning(on_match), on_mismatch: Exit::returning(on_mismatch) }
    }
}

impl Exit {
    /// Returns `value`.
    pub const fn returning(value: i32) -> Self {
        Self { count: None, then: Then::Return(value) }
    }

    /// Continues with the program in `slot` of `map`, or returns `otherwise` if there is none.
    pub const fn tail_call(map: &'static str, slot: u32, otherwise: i32) -> Self {
        Self { count: None, then: Then::TailCall { map, slot, otherwise } }
    }

    /// The same, counted before.
    #[must_use]
    pub const fn counted(self, counter: Counter) -> Self {
        Self { count: Some(counter), ..self }
    }
}
