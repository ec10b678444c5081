//! Roots on netdevs: TCX links, or clsact filters where the kernel has no TCX.

use std::path::Path;

use aya::programs::links::{FdLink, Link as _, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use polycube_plugin_api::Direction;

use super::DatapathError;
use super::clsact::Clsact;
use crate::wiring::Hook;

/// How roots are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AttachMode {
    /// TCX links: several owners get along, and a link can be pinned. Linux 6.6 or later.
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

impl AttachMode {
    /// The better one that a kernel of this version has.
    pub fn of_kernel(version: (u32, u32)) -> Self {
        if version >= (6, 6) { Self::Tcx } else { Self::Clsact }
    }
}

/// A root on its netdev.
pub enum Attached {
    Tcx(PinnedLink),
    Clsact(SchedClassifierLink),
}

/// Attaches the root program that is pinned in the directory `pins`, and pins the link beside it.
pub fn attach(hook: &Hook, pins: &Path, mode: AttachMode, clsact: &mut Clsact) -> Result<Attached, DatapathError> {
    let netdev = &hook.netdev.name;
    let failed = |source| DatapathError::Attach { netdev: netdev.clone(), source };
    let link_failed = |source| DatapathError::Link { netdev: netdev.clone(), source };
    let direction = match hook.direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    };
    let mut program = SchedClassifier::from_pin(pins.join("program")).map_err(failed)?;
    let options = match mode {
        AttachMode::Tcx => TcAttachOptions::TcxOrder(LinkOrder::default()),
        AttachMode::Clsact => {
            clsact.add(&hook.netdev).map_err(|error| failed(error.into()))?;
            TcAttachOptions::Netlink(NlOptions::default())
        }
    };
    let id = program.attach_with_options(netdev, direction, options).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    match mode {
        AttachMode::Clsact => Ok(Attached::Clsact(link)),
        AttachMode::Tcx => {
            let link = FdLink::try_from(link).map_err(link_failed)?;
            let pinned = link.pin(pins.join("link"));
            Ok(Attached::Tcx(pinned.map_err(|source| DatapathError::PinLink { netdev: netdev.clone(), source })?))
        }
    }
}

impl Attached {
    pub fn detach(self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Self::Tcx(link) => link.unpin()?.detach()?,
            Self::Clsact(link) => link.detach()?,
        }
        Ok(())
    }
}
