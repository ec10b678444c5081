//! The versions of a filter: what each sees of the frame, and how it reads it.

#![forbid(unsafe_code)]

use std::fmt;

/// What the filter sees of a frame whose VLAN tag the kernel may have taken out.
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
    /// Reads memory directly, behind checks of the packet's end; what these do not grant is left to the general mode.
    Linear,
    /// Reads by a function that reaches every byte of the packet.
    General,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Linear { "linear" } else { "general" })
    }
}

/// Which versions of a filter a program holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Modes {
    /// All that the filter can need.
    #[default]
    All,
    /// None that reads memory directly: tests try the general mode with it.
    General,
}
