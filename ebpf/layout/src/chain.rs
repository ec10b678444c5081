//! What every program of a chain agrees on with the host.

/// Map, `PROG_ARRAY`, one slot: the next program. An empty slot ends the chain.
pub const NEXT: &str = "next";

/// Map, `PROG_ARRAY`, one slot, in a program that is not its cube's last: the cube's next program.
pub const ACCEPT: &str = "accept";

/// Global, `u32`, in a root: the id of the port that the netdev belongs to, or [`NO_PORT`].
pub const PORT: &str = "PORT";

/// Map, `ARRAY` of `u32`, [`MAX_PORTS`] entries, in a standard cube: port id to ifindex; 0 for a port
/// without a peer.
pub const PORTS: &str = "ports";

/// Ports a cube can have: those of a Linux bridge (`BR_MAX_PORTS` in net/bridge/br_private.h). Polycube's limit was 128, and
/// objects that were built for it have room for no more.
pub const MAX_PORTS: u32 = 1024;

/// The port id of a netdev that is not the peer of any port.
pub const NO_PORT: u32 = u32::MAX;

/// The word of `skb->cb[]` that carries the input port id from the root to the cube.
pub const CB_PORT: usize = 0;

/// Tail calls that the kernel allows one packet (`MAX_TAIL_CALL_CNT` in `include/linux/bpf.h`).
pub const MAX_TAIL_CALLS: usize = 33;
