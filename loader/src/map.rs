//! A map of a cube.

use std::os::fd::OwnedFd;

use crate::bpf::MapShape;

/// A map of a cube, as the plugin will see it.
#[derive(Debug)]
pub struct CubeMap {
    pub fd: OwnedFd,
    /// The kernel's id of it.
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
}

impl CubeMap {
    pub fn new(fd: OwnedFd, id: u32, shape: MapShape) -> Self {
        let MapShape { key_size, value_size, max_entries, .. } = shape;
        Self { fd, id, key_size, value_size, max_entries }
    }
}
