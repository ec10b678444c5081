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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Whether a netdev can carry packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetdevState {
    /// It is set up, and has carrier.
    Up,
    /// It is set up and has no carrier: no cable, or the other end is down.
    NoCarrier,
    /// It is not set up, or is in a state that this version does not know.
    #[serde(other)]
    Down,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_hosts_may_say_more() {
        let text =
            r#"{ "points": [{ "at": 1, "name": "eth0", "state": "testing", "epoch": 7, "mtu": 1500 }], "x": 1 }"#;
        let expected = Netdev { at: 1, name: "eth0".to_owned(), state: NetdevState::Down, epoch: 7 };
        let found: Netdevs = serde_json::from_str(text).unwrap();
        assert_eq!(found, Netdevs { ports: Vec::new(), points: vec![expected] });
    }

    #[test]
    fn states_are_written_as_documented() {
        let states = [NetdevState::Up, NetdevState::NoCarrier, NetdevState::Down];
        assert_eq!(serde_json::to_string(&states).unwrap(), r#"["up","no-carrier","down"]"#);
    }
}
