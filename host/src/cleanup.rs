//! `polycubed cleanup`: removes what a daemon that is not running left in the kernel.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use crate::daemon::{link_prefix, remove_pins};
use crate::datapath::{AttachMode, Datapath, Pins, Rank};
use crate::lock;
use crate::options::Options;
use crate::sys::capabilities;
use crate::sys::netlink::Netlink;
use crate::sys::process;

/// Removes what is pinned below `--bpffs`, and the links between cubes; with `dry_run`, only says what that is.
///
/// # Errors
/// A daemon runs on the same state or pins, something else is pinned there, or what the kernel says.
pub(crate) fn run(options: &Options, dry_run: bool) -> Result<()> {
    capabilities::check(options.kept_capabilities())?;
    process::raise_descriptor_limit();
    let _lock = lock::take(&options.state_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let netlink = {
        let _context = runtime.enter();
        Netlink::open().context("cannot open a netlink socket")?
    };
    let (links, broken) = runtime.block_on(netlink.pairs(&link_prefix(&options.bpffs)?))?;
    let is_pinned = options.bpffs.is_dir();
    if is_pinned {
        let pins = Pins::take(&options.bpffs).with_context(|| format!("--bpffs {}", options.bpffs.display()))?;
        let version = process::kernel_version(&process::kernel_release()).unwrap_or_default();
        let mode = options.attach.unwrap_or_else(|| AttachMode::of_kernel(version));
        let mut datapath = Datapath::new(pins, mode, Rank::Last)?;
        for pin in datapath.found() {
            println!("{}", pin.display());
        }
        for ifindex in datapath.promiscuous.all() {
            println!("promiscuous mode of the netdev with ifindex {ifindex}");
            if !dry_run {
                datapath.promiscuous.remove(ifindex);
                if let Err(error) = runtime.block_on(netlink.set_promiscuous(ifindex, false)) {
                    // A netdev that is gone has taken its mode along.
                    tracing::debug!(ifindex, %error, "leaving promiscuous mode");
                }
            }
        }
        if !dry_run {
            datapath.release_found(&BTreeSet::new());
            datapath.wait_for_detached(std::time::Duration::from_secs(60));
            drop(datapath);
            remove_pins(&options.bpffs);
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
    if !is_pinned && links.is_empty() {
        println!("nothing is left");
    }
    Ok(())
}
