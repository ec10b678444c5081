//! Names that exist, for keywords and operands that want one.

use polycube_api::{Help, Keyword, KeywordKind};
use polycube_plugin_api::keyword;

use crate::netdev::is_tap;
use crate::problem::Problem;
use crate::rest::context::Context;
use crate::rest::framework::netdevs::netdevs;
use crate::rest::route::Names;
use crate::topology::{Cube, Point, Role};

/// Looks for names.
pub(super) struct Asker<'a> {
    context: &'a Context,
}

impl<'a> Asker<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self { context }
    }

    /// Adds the names that exist to the leaves that want one.
    pub(super) async fn fill_in(&self, path: &[String], help: &mut Help) -> Result<(), Problem> {
        let topology = &self.context.view.topology;
        let cube = path.iter().find_map(|word| topology.get(word)).map(|(_, cube)| cube);
        for keyword in help.leaf.iter_mut().chain(&mut help.params).chain(&mut help.optional) {
            keyword.values.extend(match keyword.names.as_str() {
                "netdevs" => self.netdevs().await?,
                keyword::PLACES => self.names(Names::Points, &[]).await?,
                // Of the same cube.
                "ports" => cube.into_iter().flat_map(|cube| cube.ports()).map(|(port, _)| port.to_string()).collect(),
                _ => Vec::new(),
            });
        }
        Ok(())
    }

    /// The names of a kind, where `given` are the operands before.
    pub(super) async fn names(&self, names: Names, given: &[String]) -> Result<Vec<String>, Problem> {
        let topology = &self.context.view.topology;
        let is_attached = |cube: &String| !topology.points(cube).is_empty();
        Ok(match names {
            Names::Nothing => Vec::new(),
            Names::Services => self.context.services().map(str::to_owned).collect(),
            Names::Cubes => self.context.cubes().map(str::to_owned).collect(),
            Names::Netdevs => netdevs(self.context).await?.into_iter().map(|(name, _)| name).collect(),
            Names::Ports => self.ports(),
            Names::Points => self.ports().into_iter().chain(self.netdevs().await?).collect(),
            Names::OtherPoints => {
                let points = Box::pin(self.names(Names::Points, &[])).await?;
                points.into_iter().filter(|point| given.last() != Some(point)).collect()
            }
            Names::Transparent => self.transparent().collect(),
            Names::Attached => self.transparent().filter(is_attached).collect(),
            Names::PointsOfCube => {
                let cube = given.last().map_or("", String::as_str);
                let named = topology.points(cube).into_iter().filter(|(_, point)| topology.is_named(cube, point));
                named.map(|(_, point)| point.to_string()).collect()
            }
            Names::CubesAtPoint => {
                let point = given.last().and_then(|point| Point::parse(point).ok());
                let chain = point.map(|point| topology.chain(&point)).unwrap_or_default();
                chain.iter().map(|attachment| attachment.cube.to_string()).collect()
            }
        })
    }

    /// The names of a kind as words that can follow.
    pub(super) async fn keywords(&self, names: Names) -> Result<Vec<Keyword>, Problem> {
        Ok(match names {
            Names::Services => self.services(),
            Names::Cubes => self.cubes(|_| true),
            _ => self.names(names, &[]).await?.into_iter().map(|name| point(&name)).collect(),
        })
    }

    pub(super) fn services(&self) -> Vec<Keyword> {
        let services = self.context.view.registry.services();
        let about = services.map(|(name, service)| (name, service.model.service.description.as_str()));
        about.map(|(name, about)| Keyword::new(name, KeywordKind::Service, about)).collect()
    }

    /// The cubes that fit.
    pub(super) fn cubes(&self, fits: impl Fn(&Cube) -> bool) -> Vec<Keyword> {
        let cubes = self.context.view.topology.cubes().filter(|(_, cube)| fits(cube));
        let about = |cube: &Cube| format!("Cube of service {}", cube.service);
        cubes.map(|(name, cube)| Keyword::new(name.as_str(), KeywordKind::Cube, about(cube))).collect()
    }

    /// The netdevs that are not the daemon's own.
    async fn netdevs(&self) -> Result<Vec<String>, Problem> {
        let netdevs = netdevs(self.context).await?.into_iter().map(|(name, _)| name);
        let is_own = |name: &String| is_tap(name) || self.context.view.netdevs.link_port(name).is_some();
        Ok(netdevs.filter(|name| !is_own(name)).collect())
    }

    fn ports(&self) -> Vec<String> {
        let cubes = self.context.view.topology.cubes();
        cubes.flat_map(|(cube, found)| found.ports().map(move |(port, _)| format!("{cube}:{port}"))).collect()
    }

    fn transparent(&self) -> impl Iterator<Item = String> {
        let cubes = self.context.view.topology.cubes();
        cubes.filter(|(_, cube)| cube.role == Role::Transparent).map(|(name, _)| name.to_string())
    }
}

fn point(name: &str) -> Keyword {
    match Point::parse(name) {
        Ok(Point::Port(..)) => Keyword::new(name, KeywordKind::Port, "Port"),
        _ => Keyword::new(name, KeywordKind::Netdev, "Netdev"),
    }
}
