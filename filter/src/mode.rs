//! The versions of a filter: what each sees of the frame, and how it reads it.

#![forbid(unsafe_code)]

use std::fmt;

/// What the filter sees of a frame from which the kernel may have removed the VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum View {
    /// The frame as it is.
    Untagged,
    /// The frame with the tag put back at bytes 12 to 15.
    Tagged,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Untagged { "untagged" } else { "tagged" })
    }
}

/// How a version reads the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// Reads memory directly, after checks of the packet's end; falls back on the general mode if they fail.
    Linear,
    /// Reads with a function that reaches every byte of the packet.
    General,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Linear { "linear" } else { "general" })
    }
}
