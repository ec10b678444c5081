//! The maps that all roots share: where packets from user space go on in a chain.
//!
//! They are pinned while there are roots: a daemon that starts takes over the roots, which refer to these very maps.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use polycube_layout::slow::{KEY, RESUME, RESUME_SLOTS};

use super::found::Found;
use super::pins::{self, Pins};
use super::{Datapath, DatapathError};
use crate::slow_path::Shared;
use crate::sys::bpf::{self, MapShape};
use crate::wiring::CubeExits;

/// Opens what an earlier daemon left, or makes it, with a new key.
///
/// # Errors
/// What the kernel says.
pub(super) fn open(pins: &Pins, found: &Found) -> io::Result<Shared> {
    let [resume, key] = Shared::SHAPES.map(|(name, shape)| open_or_make(pins, found, name, shape));
    let (resume, key) = (resume?, key?);
    // Places of an earlier daemon: nothing leads there any more.
    if pins.path(&pin(RESUME)).exists() {
        for slot in 0..RESUME_SLOTS {
            bpf::map_clear(resume.as_fd(), slot)?;
        }
    }
    // Sixty random bits, and never 0.
    let secret = uuid::Uuid::new_v4();
    bpf::map_update(key.as_fd(), 0, &secret.as_bytes()[..8])?;
    Ok(Shared { resume, key })
}

fn open_or_make(pins: &Pins, found: &Found, name: &str, shape: MapShape) -> io::Result<OwnedFd> {
    let path = pins.path(&pin(name));
    match bpf::open(&path) {
        Ok(map) => {
            let (id, is) = bpf::map_info(map.as_fd())?;
            if is == shape && found.has_root_with(id) {
                return Ok(map);
            }
            if found.has_roots() {
                tracing::warn!(pin = %path.display(), "is not the map that roots use: it is replaced");
            }
            std::fs::remove_file(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // Not ours.
        Err(_) => std::fs::remove_file(&path)?,
    }
    bpf::map_create(name, shape, None)
}

fn pin(name: &str) -> PathBuf {
    Path::new(pins::SHARED).join(name)
}

impl Datapath {
    /// Says where packets that plugins send can go.
    pub(crate) fn set_exits(&self, exits: &[CubeExits]) {
        for CubeExits { owner, exits } in exits {
            self.slow_path.set(owner, exits, |node| self.nodes.get(node)?.loaded.object.next.try_clone().ok());
        }
    }

    /// The shared maps, and where they are pinned.
    pub(super) fn shared(&self) -> [(PathBuf, BorrowedFd<'_>); 2] {
        let Shared { resume, key } = self.slow_path.shared();
        [(pin(RESUME), resume.as_fd()), (pin(KEY), key.as_fd())]
    }

    /// Pins the shared maps, if they are not pinned.
    pub(super) fn pin_shared(&self) -> Result<(), DatapathError> {
        for (pin, map) in self.shared() {
            if !self.pins.path(&pin).exists() {
                self.pins.pin(map, &pin)?;
            }
        }
        Ok(())
    }

    /// Unpins them if there is no root any more.
    pub(super) fn unpin_shared(&self) {
        if self.roots.is_empty() && !self.found.has_roots() {
            for (pin, _) in self.shared() {
                self.pins.unpin(&pin);
            }
        }
    }
}
