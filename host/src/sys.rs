//! The only raw system calls of the host; those of bpf(2) are in the loader, which the test kit shares.

pub(crate) mod capabilities;
pub(crate) mod clsact;
pub(crate) mod code;
pub(crate) mod environment;
pub(crate) mod inside;
pub(crate) mod namespaces;
pub(crate) mod netdevs;
pub(crate) mod netlink;
pub(crate) mod notify;
pub(crate) mod process;
pub(crate) mod regular;
pub(crate) mod socket;
pub(crate) mod tap;
pub(crate) mod wait;

pub(crate) use polycube_loader::bpf;
