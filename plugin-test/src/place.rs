//! Where packets enter a cube, and what becomes of them.

use std::fmt;

use polycube_plugin_api::Direction;

/// Where a packet enters a cube.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The port of a standard cube, by its id.
    Port(u32),
    /// On its way out of a port of a standard cube, by the port's id.
    Leaving(u32),
    /// From the netdev of a transparent cube's point, by its id.
    Ingress(u32),
    /// To the netdev of a transparent cube's point, by its id.
    Egress(u32),
}

impl Place {
    /// Point and direction of the programs that a packet passes from here.
    pub(crate) fn of_programs(self) -> (u32, Direction) {
        match self {
            Self::Port(_) => (0, Direction::Ingress),
            Self::Leaving(_) => (0, Direction::Egress),
            Self::Ingress(point) => (point, Direction::Ingress),
            Self::Egress(point) => (point, Direction::Egress),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(id) => write!(f, "port {id}"),
            Self::Leaving(id) => write!(f, "out of port {id}"),
            Self::Ingress(id) => write!(f, "point {id} ingress"),
            Self::Egress(id) => write!(f, "point {id} egress"),
        }
    }
}

/// What a cube's programs decide about a packet (`enum tcx_action_base` and `TC_ACT_…` in the kernel's headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The packet goes on to what is attached after the chain, and then to the stack or the wire: `TCX_NEXT`, -1.
    Next,
    /// The packet goes to the stack or the wire at once: `TCX_PASS`, 0.
    Pass,
    /// `TCX_DROP`, 2.
    Drop,
    /// The packet leaves through another netdev: `TCX_REDIRECT`, 7.
    Redirect,
    /// Any other number, which TCX takes for [`Verdict::Next`].
    Other(i32),
}

impl Verdict {
    pub(crate) fn of(number: i32) -> Self {
        match number {
            -1 => Self::Next,
            0 => Self::Pass,
            2 => Self::Drop,
            7 => Self::Redirect,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("next"),
            Self::Pass => f.write_str("pass"),
            Self::Drop => f.write_str("drop"),
            Self::Redirect => f.write_str("redirect"),
            Self::Other(number) => write!(f, "{number} (not a verdict of TCX)"),
        }
    }
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The decision.
    pub verdict: Verdict,
    /// The frame as the programs left it.
    pub frame: Vec<u8>,
    /// `skb->mark` as the programs left it.
    pub mark: u32,
    /// Where a packet with the verdict [`Verdict::Redirect`] goes.
    pub to: Option<Exit>,
    /// Where copies went, in their order: the first 15 of them.
    pub copies: Vec<Exit>,
}

/// Where a program sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exit {
    /// Out of a port of a standard cube, by its id.
    Port(u32),
    /// To another netdev, by its ifindex.
    Netdev(u32),
}

impl Answer {
    /// What becomes of a packet that no program sees.
    pub(crate) fn untouched(frame: &[u8]) -> Self {
        Self { verdict: Verdict::Next, frame: frame.to_vec(), mark: 0, to: None, copies: Vec::new() }
    }
}
