//! Ports of standard cubes and their peers.

use std::collections::BTreeMap;
use std::sync::Arc;

use polycube_layout::chain::MAX_PORTS;

use super::{Cube, CubeName, Point, PortName, Role, Topology};
use crate::problem::{Problem, suggestion};

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Stays while the port lives; the lowest that is free is given out.
    pub id: u32,
    pub uuid: String,
    /// What is on the other side: a netdev, or the port of another cube, which has to name this one too.
    pub peer: Option<Point>,
}

impl Topology {
    /// The port `port` of `cube`.
    ///
    /// # Errors
    /// The cube or the port does not exist, or the cube has no ports.
    pub fn port(&self, cube: &str, port: &str) -> Result<&Port, Problem> {
        let (name, cube) = self.cube(cube)?;
        let Role::Standard(ports) = &cube.role else { return Err(no_ports(name.as_str(), cube)) };
        ports.get(port).ok_or_else(|| {
            let known = suggestion(port, ports.keys().map(PortName::as_str));
            Problem::missing(
                format!("{name}/ports/{port}"),
                format!("port `{port}` of cube `{name}` does not exist{known}"),
            )
        })
    }

    pub fn add_port(&mut self, cube: &str, port: PortName, uuid: String) -> Result<(), Problem> {
        let target = self.cube_mut(cube)?;
        let service = target.clone();
        let Role::Standard(ports) = &mut target.role else { return Err(no_ports(cube, &service)) };
        let path = format!("{cube}/ports/{port}");
        if ports.contains_key(&port) {
            return Err(Problem::exists(path, format!("port `{port}` of cube `{cube}` exists already")));
        }
        let id = (0..MAX_PORTS).find(|id| ports.values().all(|port| port.id != *id));
        let id = id.ok_or_else(|| {
            Problem::bad(
                path,
                format!("cube `{cube}` has {MAX_PORTS} ports already, which is the most: delete one first"),
            )
        })?;
        ports.insert(port, Port { id, uuid, peer: None });
        Ok(())
    }

    pub fn remove_port(&mut self, cube: &str, port: &str) -> Result<(), Problem> {
        self.port(cube, port)?;
        self.chains.retain(|point, _| !matches!(point, Point::Port(c, p) if c.as_str() == cube && p.as_str() == port));
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role {
            ports.remove(port);
        }
        Ok(())
    }

    /// Takes all ports out.
    pub fn remove_ports(&mut self, cube: &str) -> Result<(), Problem> {
        let (name, found) = self.cube(cube)?;
        let Role::Standard(ports) = &found.role else { return Err(no_ports(name.as_str(), found)) };
        let ports: Vec<PortName> = ports.keys().cloned().collect();
        ports.iter().try_for_each(|port| self.remove_port(cube, port.as_str()))
    }

    /// Sets or clears a port's peer. Whether a netdev exists is the caller's to know.
    pub fn set_peer(&mut self, cube: &str, port: &str, peer: Option<Point>) -> Result<(), Problem> {
        self.port(cube, port)?;
        let refuse = |message| Err(Problem::bad(format!("{cube}/ports/{port}/peer"), message));
        match &peer {
            Some(Point::Netdev(netdev)) => {
                if let Some((owner, owning)) = self.peer_owner(netdev)
                    && (owner.as_str(), owning.as_str()) != (cube, port)
                {
                    return refuse(format!(
                        "netdev `{netdev}` is already the peer of {owner}:{owning}: disconnect it there first"
                    ));
                }
            }
            Some(Point::Port(other, _)) if other.as_str() == cube => {
                return refuse(format!("cube `{cube}` cannot be linked to itself: that would be a loop"));
            }
            Some(Point::Port(other, name)) => drop(self.port(other.as_str(), name.as_str())?),
            None => {}
        }
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role
            && let Some(port) = ports.get_mut(port)
        {
            port.peer = peer;
        }
        Ok(())
    }

    /// Follows netdevs to their new names, old to new, with what is attached to them. Several may have taken each other's.
    /// Where a name is wanted by whoever does not lose it, that one gets the netdev.
    pub fn rename_netdevs(&mut self, mut names: BTreeMap<String, String>) {
        let is_wanted =
            |name: &str| self.peer_owner(name).is_some() || !self.chain(&Point::Netdev(name.to_owned())).is_empty();
        while let Some(taken) = names.iter().find(|(_, new)| is_wanted(new) && !names.contains_key(*new)) {
            let taken = taken.0.clone();
            names.remove(&taken);
        }
        let renamed = |point: &Point| match point {
            Point::Netdev(name) => names.get(name).cloned().map(Point::Netdev),
            Point::Port(..) => None,
        };
        for cube in self.cubes.values_mut() {
            if cube.ports().all(|(_, port)| port.peer.as_ref().and_then(renamed).is_none()) {
                continue;
            }
            if let Role::Standard(ports) = &mut Arc::make_mut(cube).role {
                for port in ports.values_mut() {
                    port.peer = port.peer.take().map(|peer| renamed(&peer).unwrap_or(peer));
                }
            }
        }
        let chains = std::mem::take(&mut self.chains).into_iter();
        self.chains = chains.map(|(point, chain)| (renamed(&point).unwrap_or(point), chain)).collect();
    }

    /// The port whose peer `netdev` is.
    pub fn peer_owner(&self, netdev: &str) -> Option<(CubeName, PortName)> {
        self.cubes.iter().find_map(|(name, cube)| {
            let is_peer = |port: &Port| matches!(&port.peer, Some(Point::Netdev(peer)) if peer == netdev);
            let (port, _) = cube.ports().find(|(_, port)| is_peer(port))?;
            Some((name.clone(), port.clone()))
        })
    }

    /// Ports of two cubes that name each other, each pair once.
    pub fn links(&self) -> Vec<[(CubeName, PortName); 2]> {
        let ports = self.cubes.iter().flat_map(|(cube, found)| found.ports().map(move |port| (cube, port)));
        let links = ports.filter_map(|(cube, (name, port))| {
            let Some(Point::Port(other, its)) = &port.peer else { return None };
            let back = self.port(other.as_str(), its.as_str()).ok()?.peer.as_ref();
            let is_mutual = matches!(back, Some(Point::Port(c, p)) if (c, p) == (cube, name));
            (is_mutual && cube < other).then(|| [(cube.clone(), name.clone()), (other.clone(), its.clone())])
        });
        links.collect()
    }
}

fn no_ports(name: &str, cube: &Cube) -> Problem {
    Problem::bad(
        name,
        format!("cube `{name}` (service {}) is transparent and has no ports: attach it to one", cube.service),
    )
}
