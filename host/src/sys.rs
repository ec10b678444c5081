//! The only raw system calls of the host.

pub mod bpf;
pub mod capabilities;
pub mod clsact;
pub mod netdevs;
pub mod netlink;
pub mod packet;
pub mod process;
pub mod socket;
