//! Ports of standard cubes and their peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polycube_layout::chain::MAX_PORTS;
use serde_json::{Map, Value};

use super::{Attachment, Cube, CubeName, Point, PortName, Role, Topology, no_cube};
use crate::problem::Problem;

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Kept while the port exists; a new port gets the lowest free one.
    pub id: u32,
    pub uuid: String,
    /// What is on the other side: a netdev, or the port of another cube, which has to name this one too.
    pub peer: Option<Point>,
    /// What its cube's service lets one set at a port, defaults filled in: an object.
    pub settings: Value,
}

impl Topology {
    /// The cube `name`, of which a port is named.
    ///
    /// # Errors
    /// It does not exist: a problem that names the cubes that have ports.
    pub(super) fn owner(&self, name: &str) -> Result<(&CubeName, &Arc<Cube>), Problem> {
        self.get(name).ok_or_else(|| {
            let with_ports = self.cubes.iter().filter(|(_, cube)| cube.role != Role::Transparent);
            no_cube(name, with_ports.map(|(name, _)| name.as_str()))
        })
    }

    /// The port `port` of `cube`.
    ///
    /// # Errors
    /// The cube or the port does not exist, or the cube has no ports.
    pub(crate) fn port(&self, cube: &str, port: &str) -> Result<&Port, Problem> {
        let (name, cube) = self.owner(cube)?;
        let Role::Standard(ports) = &cube.role else { return Err(no_ports(name.as_str(), cube)) };
        ports.get(port).ok_or_else(|| {
            let message = format!("port `{port}` of cube `{name}` does not exist");
            let problem = Problem::missing(format!("{name}/ports/{port}"), message);
            problem.knowing(port, ports.keys().map(PortName::as_str))
        })
    }

    /// # Errors
    /// The cube cannot have ports, has one of this name, or has as many as it can.
    pub(crate) fn add_port(&mut self, cube: &str, port: PortName, uuid: String) -> Result<(), Problem> {
        let (name, found) = self.cube(cube)?;
        let Role::Standard(ports) = &found.role else { return Err(no_ports(name.as_str(), found)) };
        let path = format!("{cube}/ports/{port}");
        if ports.contains_key(&port) {
            return Err(Problem::exists(path, format!("port `{port}` of cube `{cube}` already exists")));
        }
        let taken: BTreeSet<u32> = ports.values().map(|port| port.id).collect();
        let id = (0..MAX_PORTS).find(|id| !taken.contains(id)).ok_or_else(|| {
            let message =
                format!("cube `{cube}` already has {MAX_PORTS} ports, the most that it can have: delete one first");
            Problem::bad(path, message)
        })?;
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role {
            ports.insert(port, Port { id, uuid, peer: None, settings: Value::Object(Map::new()) });
        }
        Ok(())
    }

    /// Sets what the service lets one set at a port.
    ///
    /// # Errors
    /// As [`Topology::port`].
    pub(crate) fn set_settings(&mut self, cube: &str, port: &str, settings: Value) -> Result<(), Problem> {
        self.port(cube, port)?;
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role
            && let Some(found) = ports.get_mut(port)
        {
            found.settings = settings;
        }
        Ok(())
    }

    /// What is set as the peer of the port at `point`.
    pub(crate) fn peer_at(&self, point: &Point) -> Option<&Point> {
        let Point::Port(cube, port) = point else { return None };
        self.port(cube.as_str(), port.as_str()).ok()?.peer.as_ref()
    }

    /// Removes a port, and detaches whatever is attached to it.
    ///
    /// # Errors
    /// As [`Topology::port`].
    pub(crate) fn remove_port(&mut self, cube: &str, port: &str) -> Result<(), Problem> {
        self.set_peer(cube, port, None)?;
        self.clear(&Point::Port(CubeName::parse(cube)?, PortName::parse(port)?));
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role {
            ports.remove(port);
        }
        Ok(())
    }

    /// Removes all ports.
    ///
    /// # Errors
    /// The cube does not exist or cannot have ports.
    pub(crate) fn remove_ports(&mut self, cube: &str) -> Result<(), Problem> {
        let (name, found) = self.cube(cube)?;
        let Role::Standard(ports) = &found.role else { return Err(no_ports(name.as_str(), found)) };
        let ports: Vec<PortName> = ports.keys().cloned().collect();
        ports.iter().try_for_each(|port| self.remove_port(cube, port.as_str()))
    }

    /// Sets or clears a port's peer. The caller knows whether a netdev exists.
    ///
    /// # Errors
    /// The port does not exist, or cannot have this peer.
    pub(crate) fn set_peer(&mut self, cube: &str, port: &str, peer: Option<Point>) -> Result<(), Problem> {
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
            Some(Point::Selector(selector)) => {
                return refuse(format!(
                    "`{selector}` can stand for several netdevs, and a port has one peer: name a netdev"
                ));
            }
            None => {}
        }
        self.put_peer(cube, port, peer);
        Ok(())
    }

    /// Has the ports of a cube that was added as a whole own the netdevs that are their peers.
    ///
    /// # Errors
    /// A netdev is the peer of another port.
    pub(crate) fn take_peers(&mut self, cube: &str) -> Result<(), Problem> {
        let (name, found) = self.cube(cube)?;
        let netdevs = found.ports().filter_map(|(port, found)| match &found.peer {
            Some(Point::Netdev(netdev)) => Some((netdev.clone(), (name.clone(), port.clone()))),
            _ => None,
        });
        for (netdev, owner) in netdevs.collect::<Vec<_>>() {
            if let Some((other, port)) = self.peer_owner(&netdev).filter(|other| *other != owner) {
                let message = format!("netdev `{netdev}` is the peer of {other}:{port}");
                return Err(Problem::bad(format!("{cube}/ports/{}/peer", owner.1), message));
            }
            self.owners.insert(netdev, owner);
        }
        Ok(())
    }

    /// Sets the peer of a port that exists.
    fn put_peer(&mut self, cube: &str, port: &str, peer: Option<Point>) {
        let Some((name, _)) = self.cubes.get_key_value(cube) else { return };
        let name = name.clone();
        let Ok(Cube { role: Role::Standard(ports), .. }) = self.cube_mut(cube) else { return };
        let Some((port, found)) = ports.get_key_value_mut(port) else { return };
        let owner = (name, port.clone());
        let before = std::mem::replace(&mut found.peer, peer.clone());
        if let Some(Point::Netdev(netdev)) = before
            && self.owners.get(&netdev) == Some(&owner)
        {
            self.owners.remove(&netdev);
        }
        if let Some(Point::Netdev(netdev)) = peer {
            self.owners.insert(netdev, owner);
        }
    }

    /// Renames netdevs, old name to new, in peers and attachments. Several may have exchanged their names. Where a cube
    /// waits for a netdev of the new name that nothing renames, that name wins, and the old one stays as it is.
    pub(crate) fn rename_netdevs(&mut self, mut names: BTreeMap<String, String>) {
        let is_wanted =
            |name: &str| self.peer_owner(name).is_some() || !self.chain(&Point::Netdev(name.to_owned())).is_empty();
        while let Some(taken) = names.iter().find(|(_, new)| is_wanted(new) && !names.contains_key(*new)) {
            let taken = taken.0.clone();
            names.remove(&taken);
        }
        // All old names are cleared before any new one is set: they may have exchanged them.
        let mut owners = Vec::new();
        let mut chains = Vec::new();
        for (old, new) in names {
            if let Some((cube, port)) = self.owners.get(&old).cloned() {
                self.put_peer(cube.as_str(), port.as_str(), None);
                owners.push((cube, port, new.clone()));
            }
            if let Some(chain) = self.chains.remove(&Point::Netdev(old)) {
                chains.push((Point::Netdev(new), chain));
            }
        }
        for (cube, port, new) in owners {
            self.put_peer(cube.as_str(), port.as_str(), Some(Point::Netdev(new)));
        }
        for (point, chain) in chains {
            for Attachment { cube, id, .. } in chain.iter() {
                self.attached.entry(cube.clone()).or_default().insert(*id, point.clone());
            }
            self.chains.insert(point, chain);
        }
    }

    /// The port whose peer `netdev` is.
    pub(crate) fn peer_owner(&self, netdev: &str) -> Option<(CubeName, PortName)> {
        self.owners.get(netdev).cloned()
    }

    /// The port of another cube that a port is linked to: each is the other's peer.
    pub(crate) fn link_of(&self, cube: &CubeName, port: &PortName) -> Option<(CubeName, PortName)> {
        let Some(Point::Port(other, its)) = &self.port(cube.as_str(), port.as_str()).ok()?.peer else { return None };
        let back = self.port(other.as_str(), its.as_str()).ok()?.peer.as_ref();
        let is_mutual = matches!(back, Some(Point::Port(c, p)) if (c, p) == (cube, port));
        is_mutual.then(|| (other.clone(), its.clone()))
    }
}

fn no_ports(name: &str, cube: &Cube) -> Problem {
    Problem::bad(
        name,
        format!("cube `{name}` (service {}) is transparent and has no ports: attach it to one", cube.service),
    )
}
