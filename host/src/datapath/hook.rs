//! Roots on netdevs: TCX links, or clsact filters where the kernel has no TCX.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};
use polycube_plugin_api::Direction;

use super::clsact::Clsact;
use super::{DatapathError, failed};
use crate::sys::bpf::{self, Order, Tcx};
use crate::wiring::Hook;

/// How roots are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AttachMode {
    /// TCX links: several owners get along, and a link can be pinned. Linux 6.6 or later.
    Tcx,
    /// Filters of the clsact queueing discipline.
    Clsact,
}

impl AttachMode {
    /// The better one that a kernel of this version has.
    pub(crate) fn of_kernel(version: (u32, u32)) -> Self {
        if version >= (6, 6) { Self::Tcx } else { Self::Clsact }
    }
}

/// Where roots go among the programs of others on the same TCX hook. What the kernel attaches as a clsact filter without a
/// priority always comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// After those that are there, which keep their places.
    Last,
    /// Next to the wire, where tcpdump looks, too: first where packets come in, because others may take them away, and last
    /// where they go out, because others may still hold them back.
    NextToWire,
}

impl Rank {
    fn order(self, hook: Tcx) -> Order {
        match (self, hook) {
            (Self::NextToWire, Tcx::Ingress) => Order::First,
            (Self::NextToWire, Tcx::Egress) | (Self::Last, _) => Order::Last,
        }
    }
}

/// How a root is attached to its netdev.
#[derive(Default)]
pub(super) enum Attachment {
    #[default]
    None,
    /// The thread of [`TcxThread`] is making the link.
    Pending(mpsc::Receiver<io::Result<OwnedFd>>),
    Tcx(OwnedFd),
    Clsact(SchedClassifierLink),
}

/// The link that [`TcxThread::attach`] makes.
///
/// # Errors
/// What the kernel says.
pub(super) fn wait_for(link: &mpsc::Receiver<io::Result<OwnedFd>>) -> io::Result<OwnedFd> {
    link.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that attaches has ended")))
}

struct Job {
    program: OwnedFd,
    ifindex: u32,
    hook: Tcx,
    link: mpsc::Sender<io::Result<OwnedFd>>,
}

/// Makes TCX links in a thread of its own: the kernel waits for its readers each time (`tcx_entry_sync()` in
/// include/net/tcx.h: two to four ticks of the clock), and there are other things to do meanwhile.
pub(super) struct TcxThread {
    jobs: mpsc::Sender<Job>,
}

impl TcxThread {
    /// Starts the thread, which gives roots this rank. It ends with the value.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(rank: Rank) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new().name("attach".to_owned()).spawn(move || {
            for Job { program, ifindex, hook, link } in inbox {
                // If nothing waits for the link any more, it is dropped here, which detaches it.
                let _ = link.send(bpf::link_create(program.as_fd(), ifindex, hook, rank.order(hook)));
            }
        })?;
        Ok(Self { jobs })
    }

    /// Attaches `program` to the hook.
    ///
    /// # Errors
    /// The descriptor cannot be copied.
    pub(super) fn attach(&self, program: BorrowedFd<'_>, hook: &Hook) -> io::Result<Attachment> {
        let tcx = match hook.direction {
            Direction::Ingress => Tcx::Ingress,
            Direction::Egress => Tcx::Egress,
        };
        let (link, pending) = mpsc::channel();
        let job = Job { program: program.try_clone_to_owned()?, ifindex: hook.netdev.ifindex, hook: tcx, link };
        self.jobs.send(job).map_err(|_| io::Error::other("the thread that attaches has ended"))?;
        Ok(Attachment::Pending(pending))
    }
}

/// Makes a filter of the root program that is pinned at `pin`.
///
/// # Errors
/// What the kernel says.
pub(super) fn attach_clsact(hook: &Hook, pin: &Path, clsact: &mut Clsact) -> Result<Attachment, DatapathError> {
    let direction = match hook.direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    };
    clsact.add(&hook.netdev)?;
    let attach = || {
        let mut program = SchedClassifier::from_pin(pin)?;
        let options = TcAttachOptions::Netlink(NlOptions::default());
        let id = program.attach_with_options(&hook.netdev.name, direction, options)?;
        Ok(Attachment::Clsact(program.take_link(id)?))
    };
    attach().map_err(|source| failed(&hook.netdev, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_is_used_from_linux_6_6_on() {
        for (version, mode) in [
            ((5, 19), AttachMode::Clsact),
            ((6, 1), AttachMode::Clsact),
            ((6, 5), AttachMode::Clsact),
            ((6, 6), AttachMode::Tcx),
            ((6, 12), AttachMode::Tcx),
            ((7, 0), AttachMode::Tcx),
        ] {
            assert_eq!(AttachMode::of_kernel(version), mode, "{version:?}");
        }
    }

    #[test]
    fn a_link_whose_thread_has_ended_is_an_error_and_no_wait() {
        let (link, pending) = mpsc::channel();
        drop(link);
        assert!(wait_for(&pending).is_err());
    }
}
