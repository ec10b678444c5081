//! `connect` and `disconnect`: two ends that name each other.

use super::change::Draft;
use super::netdev::Use;
use crate::problem::{Problem, Problems};
use crate::topology::{CubeName, Point, PortName};

impl Draft<'_> {
    pub(super) fn connect(&mut self, one: &str, other: &str) -> Result<(), Problems> {
        let ends = self.ends("connect", one, other)?;
        let mut to_set = Vec::new();
        for (cube, port, peer) in ports(&ends) {
            let found = self.model.topology.port(cube.as_str(), port.as_str())?;
            match &found.peer {
                None => to_set.push((cube, port, peer)),
                // The other side does not name this one yet, or its netdev returned a moment ago.
                Some(named) if named == peer && self.facts.wired.of_port(cube, port, found).is_none() => {
                    if let Point::Netdev(netdev) = peer {
                        self.check_netdev(netdev, Use::Peer).map_err(|problem| problem.at("connect"))?;
                    }
                }
                Some(named) => {
                    let message = format!("{cube}:{port} already has a peer, {named}: disconnect it first");
                    return Err(Problem::bad("connect", message).into());
                }
            }
        }
        for (cube, port, peer) in to_set {
            self.set_peer(cube.as_str(), port.as_str(), &peer.to_string())?;
        }
        Ok(())
    }

    pub(super) fn disconnect(&mut self, one: &str, other: &str) -> Result<(), Problems> {
        let ends = self.ends("disconnect", one, other)?;
        let mut to_clear = Vec::new();
        for (cube, port, peer) in ports(&ends) {
            if self.model.topology.port(cube.as_str(), port.as_str())?.peer.as_ref() == Some(peer) {
                to_clear.push((cube, port));
            }
        }
        if to_clear.is_empty() {
            let [one, other] = &ends;
            return Err(Problem::bad("disconnect", format!("{one} is not connected to {other}")).into());
        }
        for (cube, port) in to_clear {
            self.model.topology.set_peer(cube.as_str(), port.as_str(), None)?;
        }
        Ok(())
    }

    /// Both ends of a link, a port first. `call` is what was asked for.
    fn ends(&self, call: &str, one: &str, other: &str) -> Result<[Point; 2], Problem> {
        let parse = |text, key: &str| {
            let point = Point::parse(text).map_err(|problem| problem.at(format!("{call}/{key}")))?;
            Ok::<Point, Problem>(self.primary(point))
        };
        match (parse(one, "peer1")?, parse(other, "peer2")?) {
            (Point::Netdev(_), Point::Netdev(_)) => {
                Err(Problem::bad(call, format!("neither {one} nor {other} is a port: one is written CUBE:PORT")))
            }
            (netdev @ Point::Netdev(_), port) => Ok([port, netdev]),
            (port, other) => Ok([port, other]),
        }
    }
}

/// The ports of a link, each with what it is linked to.
fn ports([one, other]: &[Point; 2]) -> impl Iterator<Item = (&CubeName, &PortName, &Point)> {
    [(one, other), (other, one)].into_iter().filter_map(|(end, peer)| match end {
        Point::Port(cube, port) => Some((cube, port, peer)),
        Point::Netdev(_) | Point::Selector(_) => None,
    })
}
