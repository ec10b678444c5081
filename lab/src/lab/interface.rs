//! One network interface in a namespace of the lab.

use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::Namespace;
use super::ioctl::{self, Offload};
use super::netlink::{self, Setting};

const RUNNING_PATIENCE: Duration = Duration::from_secs(5);
/// Multicast listener reports for a new IPv6 address: RFC 3810, section 9.1, default robustness.
const LISTENER_REPORTS: u64 = 2;
/// The reports follow within milliseconds of each other under [`super::Autoconf::Off`]; an interface without carrier
/// sends none.
const LISTENER_PATIENCE: Duration = Duration::from_secs(1);

/// An interface, by namespace and name.
#[derive(Debug, Clone)]
pub struct Interface {
    namespace: Namespace,
    name: String,
    index: u32,
    mac: [u8; 6],
}

/// What the kernel has counted on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received.
    pub rx_frames: u64,
    /// Frames dropped on receipt.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Frames dropped on sending.
    pub tx_dropped: u64,
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace.name(), self.name)
    }
}

impl Interface {
    /// Finds an interface, including one that the daemon made.
    ///
    /// # Errors
    /// Fails when the namespace has no such interface.
    pub fn find(namespace: &Namespace, name: &str) -> Result<Self> {
        let (index, mac) = namespace
            .enter(|| ioctl::index_and_mac(name))
            .with_context(|| format!("no interface {name} in namespace {}", namespace.name()))?;
        Ok(Self { namespace: namespace.clone(), name: name.to_owned(), index, mac })
    }

    /// The namespace it is in.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its name, such as `eth0`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's index, unique in its namespace only.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Brings it up.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn up(&self) -> Result<()> {
        self.set(Setting::Up)
    }

    /// Waits until everything above the driver sees it up and with carrier. Before that, a bridge does not forward to
    /// it and IPv6 sends nothing.
    ///
    /// # Errors
    /// Fails after 5 s; most often the other end of the wire is down.
    pub fn wait_until_running(&self) -> Result<()> {
        let deadline = Instant::now() + RUNNING_PATIENCE;
        self.namespace.enter(|| {
            while !ioctl::is_running(&self.name)? {
                ensure!(Instant::now() < deadline, "{self} has no carrier after {RUNNING_PATIENCE:?}");
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    }

    /// Whether `ip link` shows that it takes frames to others.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn is_promiscuous(&self) -> Result<bool> {
        Ok(self.namespace.enter(|| ioctl::is_promiscuous(&self.name))?)
    }

    /// Takes it down; its peer loses carrier.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn down(&self) -> Result<()> {
        self.set(Setting::Down)
    }

    /// Deletes it, and its veth peer with it.
    ///
    /// # Errors
    /// Fails when it is already gone.
    pub fn delete(self) -> Result<()> {
        netlink::delete(&self.namespace, self.index()).with_context(|| format!("cannot delete {self}"))
    }

    /// Sets the MTU in bytes; a frame may be 14 bytes longer, or 18 with a tag.
    ///
    /// # Errors
    /// Fails when the driver refuses the value.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        self.set(Setting::Mtu(mtu))
    }

    /// Makes it a port of a kernel bridge.
    pub(super) fn join(&self, bridge: &Self) -> Result<()> {
        self.set(Setting::Bridge(bridge.index))
    }

    fn set(&self, setting: Setting) -> Result<()> {
        netlink::set(&self.namespace, self.index, setting).with_context(|| format!("cannot set {setting:?} on {self}"))
    }

    /// Adds an address such as `10.0.0.1/24` or `fd00::1/64`, usable at once. An IPv6 address turns IPv6 on here and
    /// waits until the kernel has sent its listener reports, so that no later capture contains them.
    ///
    /// # Errors
    /// Fails when the text is not an address with a prefix length, or when the interface already has the address.
    pub fn add_address(&self, address: &str) -> Result<IpAddr> {
        let Some((ip, prefix)) = address.split_once('/') else {
            bail!("{address} lacks a prefix length, as in 10.0.0.1/24");
        };
        let ip: IpAddr = ip.parse().with_context(|| format!("{address} is not an IP address"))?;
        let prefix = prefix.parse().with_context(|| format!("bad prefix length in {address}"))?;
        if ip.is_ipv6() {
            self.namespace.set_sysctl(&format!("net/ipv6/conf/{}/disable_ipv6", self.name), "0")?;
        }
        let before = self.counters()?.tx_frames;
        netlink::add_address(&self.namespace, self.index(), ip, prefix)
            .with_context(|| format!("cannot add {address} to {self}"))?;
        let deadline = Instant::now() + LISTENER_PATIENCE;
        while ip.is_ipv6() && self.counters()?.tx_frames < before + LISTENER_REPORTS && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        Ok(ip)
    }

    /// Turns an offload on or off (`ethtool -K`).
    ///
    /// # Errors
    /// Fails when the driver cannot change it.
    pub fn set_offload(&self, offload: Offload, on: bool) -> Result<()> {
        self.namespace
            .enter(|| ioctl::set_offload(&self.name, offload, on))
            .with_context(|| format!("cannot set {offload:?} to {on} on {self}"))
    }

    /// Whether an offload is on.
    ///
    /// # Errors
    /// Fails when the driver does not support it.
    pub fn offload(&self, offload: Offload) -> Result<bool> {
        self.namespace
            .enter(|| ioctl::offload(&self.name, offload))
            .with_context(|| format!("cannot read {offload:?} of {self}"))
    }

    /// What the kernel has counted since the interface was created.
    ///
    /// # Errors
    /// Fails when it is gone.
    pub fn counters(&self) -> Result<Counters> {
        let table = self.namespace.enter(|| fs::read_to_string("/proc/thread-self/net/dev"))?;
        let line = table.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.trim() == self.name);
        let (_, figures) = line.with_context(|| format!("{self} is gone"))?;
        let figures: Vec<u64> = figures.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        // Columns of net/core/net-procfs.c, dev_seq_printf_stats: eight for receipt, eight for sending.
        let &[rx_bytes, rx_frames, _, rx_dropped, _, _, _, _, tx_bytes, tx_frames, _, tx_dropped, ..] = &figures[..]
        else {
            bail!("/proc/net/dev has {} columns for {self}, 16 expected", figures.len());
        };
        Ok(Counters { rx_bytes, rx_frames, rx_dropped, tx_bytes, tx_frames, tx_dropped })
    }
}
