//! What the user sets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use polycube_filter::{Fields, Filters, FiltersError, Netmask, NetmaskError};
use polycube_plugin_api::{Direction, Refusal, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest copy: what no frame exceeds.
pub const MAX_SNAPLEN: u32 = 262_144;

/// The VNI's 24 bits, and the session id's 10.
const MAX_VNI: u32 = (1 << 24) - 1;
const MAX_SESSION: u32 = (1 << 10) - 1;

/// Configuration of a mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Config {
    /// Which packets to mirror
    pub direction: Mirrored,
    /// Where copies go on this machine: out of a netdev, or into a port of a cube (`br1:p1`), as if they had come in there
    #[schemars(extend("x-names" = "peers", "examples" = ["veth9", "br1:p1"]))]
    pub target: Option<String>,
    /// Where copies go on another machine, instead of `target`
    pub collector: Collector,
    /// Maximum bytes of a copy, without outer headers
    #[schemars(range(min = 1, max = MAX_SNAPLEN))]
    pub snaplen: u32,
    /// One in so many packets is mirrored, each chosen at random
    #[schemars(range(min = 1))]
    pub sample: u32,
    /// Which packets to mirror, within VLAN tags too; all conditions must hold
    pub filters: Filters,
    /// Which packets to mirror, in tcpdump's language (pcap-filter(7)); `all` or an empty value mirrors every packet
    #[schemars(extend("examples" = ["host 10.10.10.1 and tcp port 80"]))]
    pub filter: Option<String>,
    /// Mask of the network, on which `ip broadcast` in `filter` depends: its length, or a mask such as 255.255.255.0
    #[schemars(regex(pattern = "^(/?[0-9]{1,2}|[0-9.]{7,15})$"), extend("examples" = ["24"]))]
    pub netmask: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            direction: Mirrored::default(),
            target: None,
            collector: Collector::default(),
            snaplen: MAX_SNAPLEN,
            sample: 1,
            filters: Filters::default(),
            filter: None,
            netmask: None,
        }
    }
}

/// Directions to mirror: into the cube or netdev, out of it, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Mirrored {
    Ingress,
    Egress,
    #[default]
    Bidirectional,
}

impl Mirrored {
    /// The hooks at which packets are mirrored.
    pub(crate) fn directions(self) -> &'static [Direction] {
        match self {
            Self::Ingress => &[Direction::Ingress],
            Self::Egress => &[Direction::Egress],
            Self::Bidirectional => &[Direction::Ingress, Direction::Egress],
        }
    }
}

/// A collector on another machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Collector {
    /// Its address, IPv4 or IPv6
    #[schemars(extend("examples" = ["192.0.2.9", "2001:db8::9"]))]
    pub address: Option<IpAddr>,
    /// What copies are wrapped in
    pub encapsulation: Encapsulation,
    /// Source address; by default the one that the route to the collector has
    #[schemars(extend("examples" = ["192.0.2.1"]))]
    pub source: Option<IpAddr>,
    /// VNI of VXLAN (1 if not set), session of ERSPAN (0 to 1023; 1 if not set), or key of GRE (none if not set)
    pub id: Option<u32>,
    /// UDP port of VXLAN
    #[schemars(range(min = 1))]
    pub port: u16,
    /// TTL or hop limit
    #[schemars(range(min = 1))]
    pub ttl: u8,
    /// Differentiated services code point
    #[schemars(range(max = 63))]
    pub dscp: u8,
}

impl Default for Collector {
    fn default() -> Self {
        Self {
            address: None,
            encapsulation: Encapsulation::default(),
            source: None,
            id: None,
            // IANA, for vxlan (RFC 7348, section 8).
            port: 4789,
            ttl: 64,
            dscp: 0,
        }
    }
}

/// What copies are wrapped in: VXLAN (RFC 7348), GRE with Ethernet (RFC 2784, RFC 2890), or ERSPAN type II.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Encapsulation {
    #[default]
    Vxlan,
    Gre,
    Erspan,
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "VXLAN",
            Self::Gre => "GRE",
            Self::Erspan => "ERSPAN",
        })
    }
}

impl Collector {
    /// The collector, if it has an address.
    ///
    /// # Errors
    /// Values that do not go together.
    pub(crate) fn checked(&self) -> Result<Option<(IpAddr, &Self)>, Refusal> {
        let refuse = |path: &str, why: String| Refusal::new(Tag::InvalidValue, why).at(format!("collector/{path}"));
        let most = match self.encapsulation {
            Encapsulation::Vxlan => MAX_VNI,
            Encapsulation::Erspan => MAX_SESSION,
            Encapsulation::Gre => u32::MAX,
        };
        if let Some(id) = self.id.filter(|id| *id > most) {
            let name = if most == MAX_VNI { "a VNI of VXLAN" } else { "a session of ERSPAN" };
            return Err(refuse("id", format!("{name} is at most {most}, not {id}")));
        }
        let Some(address) = self.address else { return Ok(None) };
        let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_multicast() || is_broadcast {
            return Err(refuse("address", format!("{address} is not the address of one machine")));
        }
        if matches!(address, IpAddr::V6(address) if address.is_unicast_link_local()) {
            let why = "is link-local, which does not say by which netdev: give another address of the collector, or set \
                       `target` to a netdev that leads there";
            return Err(refuse("address", format!("{address} {why}")));
        }
        if let Some(source) = self.source.filter(|source| source.is_unspecified() || source.is_multicast()) {
            return Err(refuse("source", format!("{source} is not an address of this machine")));
        }
        if let Some(source) = self.source.filter(|source| source.is_ipv4() != address.is_ipv4()) {
            return Err(refuse("source", format!("{source} and the collector's {address} are of different families")));
        }
        Ok(Some((address, self)))
    }
}

impl Config {
    /// The parsed filter fields.
    ///
    /// # Errors
    /// A text that is not a prefix or protocol, with the field's path.
    pub(crate) fn fields(&self) -> Result<Fields, Refusal> {
        let refused = |error: FiltersError| {
            Refusal::new(Tag::InvalidValue, error.to_string()).at(format!("filters/{}", error.field()))
        };
        self.filters.fields().map_err(refused)
    }

    /// The network's mask, unknown if it is not set.
    ///
    /// # Errors
    /// A text that is not a netmask.
    pub(crate) fn netmask(&self) -> Result<Netmask, Refusal> {
        let refused = |error: NetmaskError| Refusal::new(Tag::InvalidValue, error.to_string()).at("netmask");
        self.netmask.as_deref().map_or(Ok(Netmask::default()), str::parse).map_err(refused)
    }

    /// The expression; empty if there is none.
    pub(crate) fn expression(&self) -> &str {
        self.filter.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(collector: &Value, expected: Result<bool, (&str, &str)>) {
        let collector: Collector = serde_json::from_value(collector.clone()).unwrap();
        let found = collector.checked().map(|found| found.is_some());
        let found = found.as_ref().map_err(|refusal| (refusal.path.as_str(), refusal.message.as_str()));
        assert_eq!(found.copied(), expected);
    }

    #[test]
    fn values_of_a_collector_go_together() {
        check(&json!({}), Ok(false));
        check(&json!({ "address": "2001:db8::9", "encapsulation": "gre", "id": 4_294_967_295_u32 }), Ok(true));
        let why = "a session of ERSPAN is at most 1023, not 1024";
        check(&json!({ "encapsulation": "erspan", "id": 1024 }), Err(("collector/id", why)));
        check(&json!({ "id": 1 << 24 }), Err(("collector/id", "a VNI of VXLAN is at most 16777215, not 16777216")));
        let why = "224.0.0.1 is not the address of one machine";
        check(&json!({ "address": "224.0.0.1" }), Err(("collector/address", why)));
        let why = "fe80::9 is link-local, which does not say by which netdev: give another address of the collector, or set \
                   `target` to a netdev that leads there";
        check(&json!({ "address": "fe80::9" }), Err(("collector/address", why)));
        let why = "0.0.0.0 is not an address of this machine";
        check(&json!({ "address": "192.0.2.9", "source": "0.0.0.0" }), Err(("collector/source", why)));
        let why = "::1 and the collector's 192.0.2.9 are of different families";
        check(&json!({ "address": "192.0.2.9", "source": "::1" }), Err(("collector/source", why)));
    }
}
