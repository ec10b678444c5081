//! Help on `connect`, `disconnect`, `attach` and `detach`: their operands are names that exist.

use super::keyword::{Help, Keyword, Kind};
use crate::engine::View;
use crate::rest::Api;
use crate::rest::error::Refused;
use crate::rest::framework;
use crate::topology::{Point, Role, Topology};

/// Adds what can follow `word` and the operands that `given` has.
pub async fn complete(api: &Api, word: &str, given: &[String], help: &mut Help) -> Result<(), Refused> {
    let view = &*api.view;
    let topology = &view.topology;
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let param = match (word, given.as_slice()) {
        ("attach", []) => Keyword::key("cube", "Transparent cube", transparent(view)),
        ("attach", [_]) => {
            let points = [ports(topology), netdevs(api).await?].concat();
            Keyword { example: "br1:port1".into(), ..Keyword::key("port", "CUBE:PORT, or a netdev", points) }
        }
        ("attach", [_, point]) => {
            help.optional = places(topology, point);
            return Ok(());
        }
        ("detach", []) => {
            let is_attached = |cube: &String| !topology.points(cube).is_empty();
            let attached = transparent(view).into_iter().filter(is_attached).collect();
            Keyword::key("cube", "Transparent cube that is attached", attached)
        }
        ("detach", [cube]) => {
            let points = topology.points(cube).into_iter().map(|(_, point)| point.to_string()).collect();
            Keyword::key("port", "Where it is attached", points)
        }
        (_, []) => Keyword {
            example: "br1:port1".into(),
            ..Keyword::key("peer1", "One end: CUBE:PORT, or a netdev", ports(topology))
        },
        (_, [one]) => {
            let ends = [ports(topology), netdevs(api).await?].concat();
            let others = ends.into_iter().filter(|end| end != one).collect();
            Keyword { example: "veth1".into(), ..Keyword::key("peer2", "The other end", others) }
        }
        _ => return Ok(()),
    };
    help.params.push(param);
    Ok(())
}

fn transparent(view: &View) -> Vec<String> {
    let cubes = view.topology.cubes().filter(|(_, cube)| cube.role == Role::Transparent);
    cubes.map(|(name, _)| name.to_string()).collect()
}

pub fn ports(topology: &Topology) -> Vec<String> {
    topology.cubes().flat_map(|(cube, found)| found.ports().map(move |(port, _)| format!("{cube}:{port}"))).collect()
}

pub async fn netdevs(api: &Api) -> Result<Vec<String>, Refused> {
    Ok(framework::netdevs(api).await?.into_iter().map(|(name, _)| name).collect())
}

/// Where in the chain at `point` a newcomer can go.
fn places(topology: &Topology, point: &str) -> Vec<Keyword> {
    let chain = Point::parse(point).map(|point| topology.chain(&point)).unwrap_or_default();
    let chain: Vec<String> = chain.iter().map(|attachment| attachment.cube.to_string()).collect();
    let pair = |name: &str, about: &str, values: &[String], simpletype: &str| Keyword {
        pair: true,
        simpletype: simpletype.to_owned(),
        values: values.to_vec(),
        ..Keyword::new(name, Kind::Leaf, about)
    };
    let positions = ["auto", "first", "last"].map(str::to_owned);
    vec![
        pair("position", "Where in the chain: auto is outermost", &positions, "enum"),
        pair("before", "The cube that it goes before", &chain, "string"),
        pair("after", "The cube that it goes after", &chain, "string"),
    ]
}
