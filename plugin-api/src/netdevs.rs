//! The netdevs at a cube's ports and points, as the host reports them.

use serde::{Deserialize, Serialize};

/// The netdevs at a cube's ports and points. A port or point without a netdev is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netdevs {
    /// At the ports of a standard cube.
    #[serde(default)]
    pub ports: Vec<Netdev>,
    /// At the points of a transparent cube.
    #[serde(default)]
    pub points: Vec<Netdev>,
}

/// A netdev at a port or point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Netdev {
    /// Id of the port or point.
    pub at: u32,
    /// Name.
    pub name: String,
    /// Whether it can carry packets.
    pub state: NetdevState,
    /// Changes whenever the netdev was not up for a moment, and when it is replaced: a netdev that is up, with another
    /// number than before, was not up all the time.
    pub epoch: u64,
    /// The kernel's number of it; 0 from a host of ABI 1.2 or earlier.
    #[serde(default)]
    pub ifindex: u32,
    /// Its MAC address, `02:00:00:00:00:01`; empty where it has none.
    #[serde(default)]
    pub mac: String,
    /// Bytes that it takes after the Ethernet header.
    #[serde(default)]
    pub mtu: u32,
}

/// Whether a netdev can carry packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetdevState {
    /// It is set up, and has carrier.
    Up,
    /// It is set up and has no carrier: no cable, or the other end is down.
    NoCarrier,
    /// It is not set up, or is in a state that this version does not know.
    #[serde(other)]
    #[default]
    Down,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_hosts_may_say_more() {
        let text =
            r#"{ "points": [{ "at": 1, "name": "eth0", "state": "testing", "epoch": 7, "speed": 10 }], "x": 1 }"#;
        let expected = Netdev { at: 1, name: "eth0".to_owned(), epoch: 7, ..Netdev::default() };
        let found: Netdevs = serde_json::from_str(text).unwrap();
        assert_eq!(found, Netdevs { ports: Vec::new(), points: vec![expected] });
    }

    #[test]
    fn states_are_written_as_documented() {
        let states = [NetdevState::Up, NetdevState::NoCarrier, NetdevState::Down];
        assert_eq!(serde_json::to_string(&states).unwrap(), r#"["up","no-carrier","down"]"#);
    }
}
