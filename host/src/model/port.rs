//! Ports and their peers.

use serde_json::{Value, json};

use super::body::{Peer, PortBody, named, uuid_of_new};
use super::change::Draft;
use super::netdev::Use;
use super::port_config::{PortConfig, create};
use crate::problem::{Problem, Problems};
use crate::schema::Operation;
use crate::topology::{Place, Point, PortName};

impl Draft<'_> {
    pub(super) fn create_port(&mut self, cube: &str, port: &str, body: Value) -> Result<(), Problems> {
        self.require_working(cube)?;
        let path = format!("{cube}/ports/{port}");
        let mut body = if body.is_null() { json!({}) } else { body };
        let (uuid, source) = uuid_of_new(&mut body).map_err(|problem| problem.under(&path))?;
        self.add_port(cube, port, uuid)?;
        let registry = self.model.registry.clone();
        let model = registry.service(&self.model.topology.cube(cube)?.1.service)?.port()?;
        let made = named(port, body).and_then(|body| create(model, source, body));
        let PortConfig { peer, settings } = made.map_err(|problems| problems.under(&path))?;
        self.model.topology.set_settings(cube, port, settings)?;
        Ok(self.set_peer(cube, port, &peer)?)
    }

    /// Adds a port that has neither peer nor settings yet.
    pub(super) fn add_port(&mut self, cube: &str, port: &str, uuid: Option<String>) -> Result<(), Problem> {
        let path = format!("{cube}/ports/{port}");
        let name = PortName::parse(port).map_err(|problem| problem.at(path.as_str()))?;
        let uuid = self.identify(uuid).map_err(|problem| problem.under(&path))?;
        self.model.topology.add_port(cube, name, uuid)
    }

    /// Adds a port as a body describes it, without its peer, which goes to `peers`.
    pub(super) fn add_described(&mut self, cube: &str, port: PortBody, peers: &mut Vec<Peer>) -> Result<(), Problem> {
        let PortBody { name, config, uuid } = port;
        self.add_port(cube, &name, uuid)?;
        self.model.topology.set_settings(cube, &name, config.settings)?;
        peers.push((name, config.peer));
        Ok(())
    }

    /// Changes what is set at a port, at `path` below it.
    pub(super) fn configure_port(
        &mut self,
        (cube, port): (&str, &str),
        path: &[String],
        operation: Operation,
        body: Value,
    ) -> Result<(), Problems> {
        let old = PortConfig::of(self.model.topology.port(cube, port)?);
        let registry = self.model.registry.clone();
        let model = registry.service(&self.model.topology.cube(cube)?.1.service)?.port()?;
        let body = if path.is_empty() { named(port, body) } else { Ok(body) };
        let new = body.and_then(|body| model.change(&old.clone().whole(), path, operation, body));
        let new = PortConfig::from(new.map_err(|problems| problems.under(&format!("{cube}/ports/{port}")))?);
        if new.settings != old.settings {
            self.require_working(cube)?;
            self.model.topology.set_settings(cube, port, new.settings)?;
        }
        // The peer that it already has may be gone for a while, which is no reason to refuse it.
        if new.peer == old.peer { Ok(()) } else { Ok(self.set_peer(cube, port, &new.peer)?) }
    }

    pub(super) fn set_peers(&mut self, cube: &str, peers: Vec<Peer>) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (port, peer) in peers {
            problems.extend(self.set_peer(cube, &port, &peer).err());
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    pub(super) fn set_peer(&mut self, cube: &str, port: &str, peer: &str) -> Result<(), Problem> {
        let set = self.peer(peer).and_then(|peer| self.model.topology.set_peer(cube, port, peer));
        set.map_err(|problem| problem.at(format!("{cube}/ports/{port}/peer")))
    }

    /// What a port's `peer` names; `None` if it is empty.
    pub(super) fn peer(&self, peer: &str) -> Result<Option<Point>, Problem> {
        if peer.is_empty() {
            return Ok(None);
        }
        let peer = self.primary(Point::parse(peer)?);
        if let Point::Netdev(netdev) = &peer {
            self.check_netdev(netdev, Use::Peer)?;
        }
        Ok(Some(peer))
    }

    /// Attaches a cube to everything in `points`, each of which comes with the path of the member that names it.
    pub(super) fn attach_all(&mut self, cube: &str, points: &[(String, String)]) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for (path, point) in points {
            let attached = self.attach(cube, point, &Place::Auto);
            problems.extend(attached.err().map(|problem| problem.unless_about(cube, path)));
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// Attaches a cube. Problems that are not about the cube are about `port`.
    pub(super) fn attach(&mut self, cube: &str, port: &str, place: &Place) -> Result<(), Problem> {
        let point = self.primary(Point::parse(port)?);
        let found = self.model.topology.get(cube);
        let purpose = self.model.place(found.map(|(name, _)| name));
        match &point {
            Point::Netdev(netdev) => self.check_netdev(netdev, purpose)?,
            Point::Selector(selector) => self.check_selector(selector)?,
            Point::Port(..) => {}
        }
        self.require_working(cube)?;
        self.model.topology.attach(cube, point, place)
    }
}
