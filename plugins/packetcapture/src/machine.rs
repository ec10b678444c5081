//! What a file says of the machine that it comes from.

use std::collections::BTreeMap;

mod btf;
mod kernel;

pub(crate) use btf::checksum_state;
use kernel::Clock;
use polycube_plugin_api::Point;
use rustix::system::uname;

/// The machine, its clock, and what the user says of the capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) hardware: String,
    pub(crate) os: String,
    /// Each a sentence of its own.
    pub(crate) comments: Vec<String>,
}

impl Machine {
    /// This machine, as it is now.
    pub(crate) fn now(comment: Option<&str>) -> Self {
        let name = uname();
        let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
        let host = format!("host {}", text(name.nodename()));
        let clock = kernel::clock().as_ref().map(describe);
        Self {
            hardware: text(name.machine()),
            os: format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.version())),
            comments: comment.map(str::to_owned).into_iter().chain([host]).chain(clock).collect(),
        }
    }
}

fn describe(clock: &Clock) -> String {
    let Clock { is_synchronised, estimated, maximum, tai } = clock;
    let state = if *is_synchronised { "synchronised" } else { "not synchronised" };
    // A machine that was never told has 0 seconds.
    let tai = match tai {
        0 => String::from("offset to TAI unknown"),
        tai => format!("TAI is {tai} s ahead of UTC"),
    };
    format!("clock {state}, estimated error {estimated} us, maximum error {maximum} us, {tai}")
}

/// A netdev, as far as the daemon's network namespace has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Netdev {
    pub(crate) mac: Option<[u8; 6]>,
    /// Addresses and masks.
    pub(crate) ipv4: Vec<([u8; 4], [u8; 4])>,
    /// Addresses and the lengths of their prefixes.
    pub(crate) ipv6: Vec<([u8; 16], u8)>,
    /// Bits per second.
    pub(crate) speed: Option<u64>,
    /// What is left to the device, as ethtool names it; `None` if the kernel does not say.
    pub(crate) offloads: Option<Vec<&'static str>>,
}

/// Netdevs, by the ids of the points that they are at.
pub(crate) type Netdevs = BTreeMap<u32, Netdev>;

/// The netdevs at `points`. Most questions take the kernel's lock of all netdevs (RTNL), which is held while a program is
/// attached, until no CPU runs the programs before it: milliseconds.
fn netdevs(points: &[Point]) -> Netdevs {
    let named: Vec<_> = points.iter().filter_map(|point| Some((point.id, point.netdev.as_deref()?))).collect();
    let found = if named.is_empty() { BTreeMap::new() } else { kernel::addresses() };
    let look = |(id, name)| {
        let netdev: Netdev = found.get(name).cloned().unwrap_or_default();
        (id, Netdev { speed: kernel::speed(name), offloads: kernel::offloads(name), ..netdev })
    };
    named.into_iter().map(look).collect()
}

/// What the kernel said of the netdevs at points.
pub(crate) struct Asked {
    pub(crate) points: Vec<Point>,
    is_secret: bool,
    pub(crate) netdevs: Netdevs,
}

impl Asked {
    /// Asks nothing where the answer `is_secret`: addresses would say what packets hide.
    pub(crate) fn now(points: &[Point], is_secret: bool) -> Self {
        let netdevs = if is_secret { Netdevs::default() } else { netdevs(points) };
        Self { points: points.to_vec(), is_secret, netdevs }
    }

    pub(crate) fn is_for(&self, points: &[Point], is_secret: bool) -> bool {
        self.is_secret == is_secret && self.points == points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_described_in_a_sentence() {
        let clock = Clock { is_synchronised: true, estimated: 12, maximum: 3_000, tai: 37 };
        let expected = "clock synchronised, estimated error 12 us, maximum error 3000 us, TAI is 37 s ahead of UTC";
        assert_eq!(describe(&clock), expected);
        let unknown = describe(&Clock { is_synchronised: false, tai: 0, ..clock });
        assert!(unknown.starts_with("clock not synchronised") && unknown.ends_with("offset to TAI unknown"));
    }

    #[test]
    fn the_loopback_has_its_address() {
        let point = |netdev: &str| Point {
            id: 0,
            name: netdev.to_owned(),
            netdev: Some(netdev.to_owned()),
            is_loopback: true,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        let [found, absent] = ["lo", "absent"].map(|name| netdevs(&[point(name)]).remove(&0).unwrap());
        assert!(found.ipv4.contains(&([127, 0, 0, 1], [255, 0, 0, 0])), "{found:?}");
        assert!(found.offloads.as_ref().is_some_and(|offloads| offloads.contains(&"tx-checksumming")));
        assert_eq!(absent, Netdev::default());
        let twice = netdevs(&[point("lo"), Point { id: 1, ..point("lo") }]);
        assert!(twice[&0] == found && twice[&1] == found, "a port and its peer may both be places");
        let [secret, open] = [true, false].map(|is_secret| Asked::now(&[point("lo")], is_secret));
        assert!(secret.netdevs.is_empty() && open.netdevs[&0] == found);
        assert!(open.is_for(&[point("lo")], false) && !open.is_for(&[point("lo")], true) && !open.is_for(&[], false));
        let machine = Machine::now(Some("why"));
        assert_eq!(machine.comments[0], "why");
        assert!(machine.os.starts_with("Linux ") && machine.comments.len() == 3, "{machine:?}");
    }
}
