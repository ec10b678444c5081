//! The only raw system calls of the host.

pub(crate) mod bpf;
pub(crate) mod capabilities;
pub(crate) mod clsact;
pub(crate) mod code;
pub(crate) mod netdevs;
pub(crate) mod netlink;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod socket;
