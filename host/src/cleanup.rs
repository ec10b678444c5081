//! `polycubed cleanup`: removes what a daemon that is not running left in the kernel.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::runtime::Runtime;

use crate::daemon::{link_prefix, remove_pins};
use crate::datapath::{AttachMode, Datapath, Left, Pins, Rank};
use crate::lock;
use crate::options::Options;
use crate::sys::capabilities;
use crate::sys::netlink::Netlink;
use crate::sys::process;

/// How long the kernel may take to detach everything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Removes what is pinned below `--bpffs`, and the links between cubes; with `dry_run`, only says what that is, and changes
/// nothing.
///
/// # Errors
/// A daemon runs on the same state or pins, something else is pinned there, or what the kernel says.
pub(crate) fn run(options: &Options, dry_run: bool) -> Result<()> {
    capabilities::check(options.kept_capabilities())?;
    process::raise_descriptor_limit();
    let state_dir = &options.state_dir;
    if !state_dir.is_dir() {
        eprintln!("polycubed: --state-dir {}: there is no such directory, and so nothing stored", state_dir.display());
    }
    let _lock = lock::keep_out(state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let netlink = {
        let _context = runtime.enter();
        Netlink::open().context("cannot open a netlink socket")?
    };
    let (links, broken) = runtime.block_on(netlink.pairs(&link_prefix(&options.bpffs)?))?;
    let mut is_empty = links.is_empty() && broken.is_empty();
    if options.bpffs.is_dir() {
        let pins = Pins::take(&options.bpffs).with_context(|| format!("--bpffs {}", options.bpffs.display()))?;
        let left = Left::look(&pins)?;
        is_empty &= left.pins.is_empty() && left.promiscuous.is_empty();
        for pin in left.pins {
            println!("{}", pin.display());
        }
        for ifindex in left.promiscuous {
            println!("promiscuous mode of the netdev with ifindex {ifindex}");
        }
        if !dry_run {
            remove_pinned(options, pins, &runtime, &netlink)?;
        }
    }
    let links = links.iter().map(|(alias, [(name, ifindex), _])| (name, ifindex, alias.as_str()));
    let links: Vec<_> = links.chain(broken.iter().map(|(name, ifindex)| (name, ifindex, "half a link"))).collect();
    for (name, ifindex, what) in &links {
        println!("{name}: {what}");
        if !dry_run {
            runtime.block_on(netlink.delete(**ifindex)).with_context(|| format!("cannot delete {name}"))?;
        }
    }
    if is_empty {
        println!("nothing is left");
    }
    Ok(())
}

/// Takes everything that is pinned out of the kernel.
fn remove_pinned(options: &Options, pins: Pins, runtime: &Runtime, netlink: &Netlink) -> Result<()> {
    let version = process::kernel_version(&process::kernel_release()).unwrap_or_default();
    let mode = options.attach.unwrap_or_else(|| AttachMode::of_kernel(version));
    let mut datapath = Datapath::new(pins, mode, Rank::Last)?;
    for ifindex in datapath.promiscuous.all() {
        datapath.promiscuous.remove(ifindex);
        if let Err(error) = runtime.block_on(netlink.set_promiscuous(ifindex, false)) {
            // A netdev that is gone has taken its mode along.
            tracing::debug!(ifindex, %error, "leaving promiscuous mode");
        }
    }
    datapath.release_found(&BTreeSet::new());
    datapath.wait_for_detached(PATIENCE);
    drop(datapath);
    remove_pins(&options.bpffs);
    Ok(())
}
