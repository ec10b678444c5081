//! Network namespaces joined by veth pairs: where a test runs the daemon and its peers.
//!
//! A namespace lives as long as a descriptor or a process in it. A plain [`Lab`] has no names on disk, so nothing is
//! left behind however the test process ends.

mod interface;
mod ioctl;
mod namespace;
mod netlink;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};

pub use interface::{Counters, Interface};
pub use ioctl::Offload;
pub use namespace::{Autoconf, Namespace};

static LABS: AtomicU32 = AtomicU32::new(0);

/// Where `ip netns` looks for names (iproute2 `include/namespace.h`, `NETNS_RUN_DIR`).
const NETNS_DIR: &str = "/run/netns";

/// Interface indexes count from here, and none is used twice in a lab. If both ends of a veth pair had the same index,
/// the kernel would treat them as one device and delay their carrier for a second (`net/core/link_watch.c`,
/// `linkwatch_urgent_event`).
const FIRST_INDEX: u32 = 1000;

/// Both ends of a veth pair.
#[derive(Debug, Clone)]
pub struct Wire {
    /// The end in the daemon's namespace.
    pub host: Interface,
    /// The end in the peer's namespace.
    pub peer: Interface,
}

/// One namespace for the daemon, and as many peers as the test asks for.
#[derive(Debug)]
pub struct Lab {
    tag: String,
    names: Names,
    host: Namespace,
    /// Kept, so that a wire lasts as long as the lab even if the test keeps neither end.
    peers: Mutex<Vec<Namespace>>,
    next_end: AtomicU16,
}

#[derive(Debug, Clone, Copy)]
enum Names {
    /// Descriptors only.
    None,
    /// Bind mounts under `/run/netns`, for `ip netns exec`.
    OnDisk,
}

impl Lab {
    /// A lab whose namespaces no other program can find.
    ///
    /// # Errors
    /// Fails without root.
    pub fn new() -> Result<Self> {
        Self::build(Names::None)
    }

    /// A lab whose namespaces appear as `pcnPID-N-NAME` in `/run/netns`, for people who want to look around in it.
    ///
    /// # Errors
    /// Fails without root, or when `/run/netns` cannot be written.
    pub fn named() -> Result<Self> {
        fs::create_dir_all(NETNS_DIR).with_context(|| format!("cannot create {NETNS_DIR}"))?;
        sweep_names(Path::new(NETNS_DIR))?;
        Self::build(Names::OnDisk)
    }

    fn build(names: Names) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run these tests as root (`./x test` does it for you)"
        );
        let tag = format!("pcn{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let host = make_namespace(&tag, "host", names)?;
        Ok(Self { tag, names, host, peers: Mutex::default(), next_end: AtomicU16::new(1) })
    }

    /// Unique on this machine while this process lives: `pcnPID-N`.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The namespace the daemon runs in.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Makes a namespace for a peer, which lasts as long as the lab. It sends nothing by itself: see
    /// [`Autoconf::Off`].
    ///
    /// # Errors
    /// Fails when the kernel refuses another namespace, or when the name is taken on disk.
    pub fn peer(&self, name: &str) -> Result<Namespace> {
        let peer = make_namespace(&self.tag, name, self.names)?;
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).push(peer.clone());
        Ok(peer)
    }

    /// Joins the daemon's namespace to a peer's. Both ends are up, with MTU 1500, known MAC addresses and no IP
    /// address.
    ///
    /// # Errors
    /// Fails when one of the names is taken in its namespace.
    pub fn veth(&self, host_end: &str, peer: &Namespace, peer_end: &str) -> Result<Wire> {
        self.join((&self.host, host_end), (peer, peer_end))
    }

    /// Joins any two namespaces of the lab.
    ///
    /// # Errors
    /// As [`Lab::veth`].
    pub fn join(&self, left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<Wire> {
        let end = |(namespace, name)| {
            let number = self.next_end.fetch_add(1, Ordering::Relaxed);
            let [high, low] = number.to_be_bytes();
            // Locally administered, and the same in every run, so that captures of two runs can be compared.
            let mac = [0x02, 0, 0, 0, high, low];
            netlink::VethEnd { namespace, name, mac, index: FIRST_INDEX + u32::from(number) }
        };
        netlink::add_veth(end(left), end(right))?;
        let wire = Wire { host: Interface::find(left.0, left.1)?, peer: Interface::find(right.0, right.1)? };
        wire.host.up()?;
        wire.peer.up()?;
        wire.host.wait_until_running()?;
        wire.peer.wait_until_running()?;
        Ok(wire)
    }

    /// Makes a kernel bridge without spanning tree in the daemon's namespace, with the interfaces as its ports.
    ///
    /// # Errors
    /// Fails when the name is taken, or an interface is not in the daemon's namespace.
    pub fn kernel_bridge(&self, name: &str, ports: &[&Interface]) -> Result<Interface> {
        netlink::add_bridge(&self.host, name)?;
        let bridge = Interface::find(&self.host, name)?;
        bridge.up()?;
        for port in ports {
            port.join(&bridge)?;
        }
        Ok(bridge)
    }
}

fn make_namespace(tag: &str, name: &str, names: Names) -> Result<Namespace> {
    let mount = match names {
        Names::None => None,
        Names::OnDisk => Some(Path::new(NETNS_DIR).join(format!("{tag}-{name}"))),
    };
    let namespace = Namespace::create(name, mount)?;
    netlink::set_loopback_up(&namespace)?;
    namespace.set_autoconf(Autoconf::Off)?;
    Ok(namespace)
}

/// Removes names whose process was killed before it could.
fn sweep_names(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let owner =
            file_name.to_str().and_then(|name| name.strip_prefix("pcn")).and_then(|rest| rest.split('-').next());
        if let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new("/proc").join(pid.to_string()).exists()
        {
            namespace::remove_name(&entry.path());
        }
    }
    Ok(())
}
