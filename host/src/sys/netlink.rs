//! Netdevs, over rtnetlink.

mod message;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, MulticastGroup, new_connection, new_multicast_connection};
use sha2::{Digest as _, Sha256};

use crate::netdev::Link;
pub(crate) use message::Traffic;
use message::traffic;
pub(super) use message::{is_netdev, link};

/// A request that the kernel did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetlinkError {
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] io::Error),
    #[error(transparent)]
    Kernel(#[from] rtnetlink::Error),
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Clone)]
pub(crate) struct Netlink(Handle);

impl Netlink {
    /// Opens a socket. Has to be called in a tokio runtime, which then serves it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// A socket for what lists many things: the kernel refuses a second list on a socket before it has sent the first
    /// one whole (`__netlink_dump_start()` in net/netlink/af_netlink.c), even where nothing reads that any more. It
    /// has to be held until then.
    fn for_a_list() -> io::Result<Self> {
        Self::open()
    }

    /// What the kernel has counted on each netdev, by ifindex.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn traffic(&self) -> Result<BTreeMap<u32, Traffic>, NetlinkError> {
        let socket = Self::for_a_list()?;
        let links = socket.0.link().get().execute();
        Ok(links.map_ok(|message| (message.header.index, traffic(&message))).try_collect().await?)
    }

    /// What the kernel has counted on some netdevs, by ifindex. One that is gone is left out.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn traffic_of(&self, ifindexes: &[u32]) -> Result<BTreeMap<u32, Traffic>, NetlinkError> {
        let mut found = BTreeMap::new();
        for &ifindex in ifindexes {
            if let Some(message) = one(self.0.link().get().match_index(ifindex).execute()).await? {
                found.insert(ifindex, traffic(&message));
            }
        }
        Ok(found)
    }

    /// All netdevs, by ifindex.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let socket = Self::for_a_list()?;
        let links = socket.0.link().get().execute();
        Ok(links.map_ok(|message| link(&message)).try_collect().await?)
    }

    /// The IP addresses of each netdev with their prefix lengths, by ifindex: `192.0.2.1/24`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn addresses(&self) -> Result<BTreeMap<u32, Vec<String>>, NetlinkError> {
        let mut found = BTreeMap::<u32, Vec<String>>::new();
        let socket = Self::for_a_list()?;
        let mut messages = pin!(socket.0.address().get().execute());
        while let Some(AddressMessage { header, attributes, .. }) = messages.try_next().await? {
            let own = attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(address) => Some(address),
                _ => None,
            });
            // Beside an own one it is the prefix, or the other end of a point-to-point link.
            let general = attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(address),
                _ => None,
            });
            if let Some(address) = own.or(general) {
                found.entry(header.index).or_default().push(format!("{address}/{}", header.prefix_len));
            }
        }
        Ok(found)
    }
}

/// The one netdev that was asked for; `None` where there is none.
async fn one(
    answer: impl Stream<Item = Result<LinkMessage, rtnetlink::Error>>,
) -> Result<Option<LinkMessage>, rtnetlink::Error> {
    match pin!(answer).try_next().await {
        Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
        answer => answer,
    }
}

/// The largest MTU, which limits nothing (`ETH_MAX_MTU` in include/uapi/linux/if_ether.h).
const LARGEST_MTU: u32 = 65_535;

/// Numbers of pairs: as many digits as there is room for in the 15 bytes of a netdev's name.
const PAIRS: u32 = 100_000;

/// Bytes of an alias at most (`IFALIASZ` in include/uapi/linux/if.h, which counts a NUL).
const LONGEST_ALIAS: usize = 255;

/// Names and ifindexes of the ends of a veth pair.
pub(crate) type Pair = [(String, u32); 2];

/// How long the ends of a new veth pair may take to have carrier: the kernel tells them in a work queue.
const CARRIER_PATIENCE: Duration = Duration::from_millis(500);

impl Netlink {
    /// Makes a veth pair with the next free number from `number` on, whose ends are up, say nothing of their own, and are called `prefix`, a number, `a` or `b`.
    /// `alias` says what it links, to people and to the next daemon. Answers with names and ifindexes.
    ///
    /// # Errors
    /// The error from the kernel; no pair is left behind.
    pub(crate) async fn add_pair(&self, prefix: &str, number: &mut u32, alias: &str) -> Result<Pair, rtnetlink::Error> {
        let names = loop {
            let names = ["a", "b"].map(|end| format!("{prefix}{number}{end}"));
            let quiet = |name: &str| LinkUnspec::new_with_name(name).mtu(LARGEST_MTU).arp(false);
            let pair = LinkVeth::new(&names[0], &names[1]).mtu(LARGEST_MTU).arp(false);
            let pair = pair.set_info_data(InfoData::Veth(InfoVeth::Peer(quiet(&names[1]).build()))).build();
            match self.0.link().add(pair).execute().await {
                Err(error) if errno(&error) == Some(libc::EEXIST) => *number = (*number + 1) % PAIRS,
                Err(error) => return Err(error),
                Ok(()) => break names,
            }
        };
        match self.set_up(&names, alias).await {
            Ok([one, other]) => {
                let [a, b] = names;
                Ok([(a, one), (b, other)])
            }
            Err(error) => {
                if let Ok(end) = self.by_name(&names[0]).await {
                    // What went wrong first says more.
                    let _ = self.delete(end.header.index).await;
                }
                Err(error)
            }
        }
    }

    async fn set_up(&self, names: &[String; 2], alias: &str) -> Result<[u32; 2], rtnetlink::Error> {
        let mut indexes = [0; 2];
        for (name, index) in names.iter().zip(&mut indexes) {
            let off = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
            if let Err(error) = std::fs::write(off, "1") {
                tracing::debug!(netdev = name, %error, "cannot turn IPv6 off: the kernel may send its own there");
            }
            *index = self.by_name(name).await?.header.index;
            let change = LinkUnspec::new_with_index(*index).alias(alias).up().build();
            self.0.link().set(change).execute().await?;
        }
        let deadline = Instant::now() + CARRIER_PATIENCE;
        for name in names {
            while !self.by_name(name).await?.header.flags.contains(LinkFlags::Running) && Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(indexes)
    }

    async fn by_name(&self, name: &str) -> Result<LinkMessage, rtnetlink::Error> {
        let found = one(self.0.link().get().match_name(name).execute()).await?;
        found.ok_or(rtnetlink::Error::RequestFailed)
    }

    /// Deletes a netdev, and its veth peer with it.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn delete(&self, ifindex: u32) -> Result<(), rtnetlink::Error> {
        self.0.link().del(ifindex).execute().await
    }

    /// Whether a netdev's users have put it into promiscuous mode (`ip link set promisc on`).
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn is_promiscuous(&self, ifindex: u32) -> Result<bool, NetlinkError> {
        let link = one(self.0.link().get().match_index(ifindex).execute()).await?;
        Ok(link.is_some_and(|message| message.header.flags.contains(LinkFlags::Promisc)))
    }

    /// # Errors
    /// What the kernel says.
    pub(crate) async fn set_promiscuous(&self, ifindex: u32, on: bool) -> Result<(), NetlinkError> {
        let change = LinkUnspec::new_with_index(ifindex).promiscuous(on).build();
        Ok(self.0.link().set(change).execute().await?)
    }

    /// The pairs that an earlier daemon made with this `prefix`, by their aliases; and an end of each one that is half made,
    /// down, or cannot be told apart.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) async fn pairs(
        &self,
        prefix: &str,
    ) -> Result<(HashMap<String, Pair>, Vec<(String, u32)>), NetlinkError> {
        let socket = Self::for_a_list()?;
        let mut ends = BTreeMap::new();
        let mut messages = pin!(socket.0.link().get().execute());
        while let Some(message) = messages.try_next().await? {
            let name = link(&message).name;
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let Some((number, end)) = rest.split_at_checked(rest.len().saturating_sub(1)) else { continue };
            let is_ours = matches!(end, "a" | "b") && number.bytes().all(|byte| byte.is_ascii_digit());
            if let Some(number) = number.parse::<u32>().ok().filter(|_| is_ours) {
                let is_up = message.header.flags.contains(LinkFlags::Up);
                let alias = alias(&message).filter(|_| is_up);
                ends.insert((number, end.to_owned()), (name.clone(), message.header.index, alias));
            }
        }
        let (mut pairs, mut broken) = (HashMap::new(), Vec::new());
        while let Some(((number, _), (name, ifindex, alias))) = ends.pop_first() {
            let other = ends.remove(&(number, "b".to_owned()));
            match (alias, other) {
                (Some(alias), Some((other, its, Some(same)))) if alias == same && !pairs.contains_key(&alias) => {
                    pairs.insert(alias, [(name, ifindex), (other, its)]);
                }
                _ => broken.push((name, ifindex)),
            }
        }
        Ok((pairs, broken))
    }
}

/// What a netdev is for, as `ip link set alias` says it.
fn alias(message: &LinkMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfAlias(alias) => Some(alias.clone()),
        _ => None,
    })
}

/// Bytes of a digest in an alias. Links of one daemon are told apart by it.
const ALIAS_DIGEST: usize = 16;

/// The aliases that say that a pair links these ports, in this order: the one to set first, then that of daemons up to
/// version 0.1.0, which cut off what the kernel does not take.
pub(crate) fn link_aliases(one: &str, other: &str) -> [String; 2] {
    let whole = format!("{one} - {other}");
    let cut = whole[..whole.floor_char_boundary(LONGEST_ALIAS)].to_owned();
    if whole.len() < LONGEST_ALIAS {
        return [whole, cut];
    }
    let digest: String = Sha256::digest(&whole)[..ALIAS_DIGEST].iter().map(|byte| format!("{byte:02x}")).collect();
    let end = format!("… {digest}");
    let start = &whole[..whole.floor_char_boundary(LONGEST_ALIAS - 1 - end.len())];
    [format!("{start}{end}"), cut]
}

fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

/// Calls `report` whenever something has happened to a netdev, from now on. Must be called in a tokio runtime.
///
/// # Errors
/// What the kernel says.
pub(crate) fn watch(report: impl Fn() + Send + 'static) -> io::Result<()> {
    let (connection, handle, mut messages) = new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::spawn(connection);
    tokio::spawn(async move {
        // The connection ends with its last handle.
        let _handle = handle;
        while messages.next().await.is_some() {
            report();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_told_apart_however_long_the_names_of_its_ends_are() {
        assert_eq!(link_aliases("br1:p", "br2:q"), ["br1:p - br2:q", "br1:p - br2:q"]);
        let [cube, port] = ["c", "p"].map(|letter| letter.repeat(63));
        let ends = ["1", "2", "é"].map(|last| format!("{cube}{last}:{port}{last}"));
        let links = [(0, 1), (1, 0), (0, 2), (1, 2)].map(|(one, other)| link_aliases(&ends[one], &ends[other]));
        for [alias, cut] in &links {
            assert!(alias.len() < LONGEST_ALIAS && cut.len() <= LONGEST_ALIAS, "{alias}");
            assert!(alias.starts_with(&cube), "people can read what it begins with: {alias}");
        }
        assert_eq!(links.iter().map(|[alias, _]| alias).collect::<std::collections::BTreeSet<_>>().len(), links.len());
    }
}
