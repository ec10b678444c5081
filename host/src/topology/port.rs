//! Ports of standard cubes and their peers.

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
    /// The netdev on the other side.
    pub peer: Option<String>,
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

    /// Sets or clears a port's peer. Whether the netdev exists is the caller's to know.
    pub fn set_peer(&mut self, cube: &str, port: &str, peer: Option<String>) -> Result<(), Problem> {
        self.port(cube, port)?;
        if let Some(netdev) = &peer
            && let Some((owner, owning)) = self.peer_owner(netdev)
            && (owner.as_str(), owning.as_str()) != (cube, port)
        {
            return Err(Problem::bad(
                format!("{cube}/ports/{port}/peer"),
                format!("netdev `{netdev}` is already the peer of {owner}:{owning}: disconnect it there first"),
            ));
        }
        if let Role::Standard(ports) = &mut self.cube_mut(cube)?.role
            && let Some(port) = ports.get_mut(port)
        {
            port.peer = peer;
        }
        Ok(())
    }

    /// Follows a netdev to its new name, with what is attached to it. Where that name is wanted already, whoever wants it
    /// gets it.
    pub fn rename_netdev(&mut self, old: &str, new: &str) {
        let (from, to) = (Point::Netdev(old.to_owned()), Point::Netdev(new.to_owned()));
        if self.peer_owner(new).is_some() || self.chains.contains_key(&to) {
            return;
        }
        if let Some((cube, port)) = self.peer_owner(old)
            && let Some(cube) = self.cubes.get_mut(cube.as_str())
            && let Role::Standard(ports) = &mut Arc::make_mut(cube).role
            && let Some(port) = ports.get_mut(port.as_str())
        {
            port.peer = Some(new.to_owned());
        }
        if let Some(chain) = self.chains.remove(&from) {
            self.chains.insert(to, chain);
        }
    }

    /// The port whose peer `netdev` is.
    pub fn peer_owner(&self, netdev: &str) -> Option<(CubeName, PortName)> {
        self.cubes.iter().find_map(|(name, cube)| {
            let (port, _) = cube.ports().find(|(_, port)| port.peer.as_deref() == Some(netdev))?;
            Some((name.clone(), port.clone()))
        })
    }
}

fn no_ports(name: &str, cube: &Cube) -> Problem {
    Problem::bad(
        name,
        format!("cube `{name}` (service {}) is transparent and has no ports: attach it to one", cube.service),
    )
}
