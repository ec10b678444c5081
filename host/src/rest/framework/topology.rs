//! Cubes of all services, and the chains at a point.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::netdevs::netdevs;
use super::{find, list};
use crate::model::Change;
use crate::problem::{Problem, Problems};
use crate::rest::call::Content;
use crate::rest::context::{Context, blocking};
use crate::rest::present::{chains_at, configured, placed, stored, unrestored};
use crate::rest::route::Input;
use crate::topology::Point;

/// How long plugins may take to say what their cubes do.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn all(context: &Context, _: &str) -> Result<Content, Problem> {
    Ok(list(cubes(context)))
}

pub(crate) fn cube(context: &Context, name: &str) -> Result<Content, Problem> {
    find("cube", name, with_settings(context))
}

/// By service, as Polycube's own client wants it: `{}` when there are none.
pub(crate) async fn by_service(context: Context) -> Result<Content, Problem> {
    let asked = context.clone();
    let summarized = timeout(PATIENCE, blocking(move || Ok(summarized(&asked)))).await;
    // A plugin that does not answer hides no cube.
    let cubes = summarized.ok().and_then(Result::ok).unwrap_or_else(|| with_settings(&context));
    let mut by_service = Map::new();
    for (_, json) in cubes {
        let service = json["service-name"].as_str().unwrap_or_default().to_owned();
        if let Value::Array(cubes) = by_service.entry(service).or_insert_with(|| json!([])) {
            cubes.push(json);
        }
    }
    Ok(Content::Document(by_service.into()))
}

pub(crate) fn create(input: Input) -> Result<Change, Problems> {
    let wrong = || Problem::bad("cubes", "the body is a list of cubes, each an object with name and service-name");
    match input.body {
        Value::Array(cubes) => Ok(Change::CreateCubes { cubes }),
        Value::Object(services) => {
            let lists = services.into_iter().map(|(service, cubes)| of_service(&service, cubes).ok_or_else(wrong));
            let cubes = lists.collect::<Result<Vec<_>, Problem>>()?.concat();
            Ok(Change::CreateCubes { cubes })
        }
        _ => Err(wrong().into()),
    }
}

/// Cubes as [`by_service`] lists them.
fn of_service(service: &str, cubes: Value) -> Option<Vec<Value>> {
    let Value::Array(mut cubes) = cubes else { return None };
    for cube in &mut cubes {
        let cube = cube.as_object_mut()?;
        if !cube.contains_key("service-name") {
            cube.insert("service-name".to_owned(), service.into());
        }
        if cube["service-name"] != service {
            return None;
        }
    }
    Some(cubes)
}

/// The chains at a port or a netdev.
pub(crate) async fn chains(context: Context, name: String) -> Result<Content, Problem> {
    let refused = |problem: Problem| problem.at(format!("topology/{name}"));
    let point = Point::parse(&name).map_err(refused)?;
    let view = &context.view;
    match &point {
        Point::Port(cube, port) => {
            view.topology.port(cube.as_str(), port.as_str()).map_err(refused)?;
        }
        // What is attached to a netdev that is gone can still be seen.
        Point::Netdev(netdev) if view.topology.chain(&point).is_empty() => {
            find("netdev", netdev, netdevs(&context).await?).map_err(refused)?;
        }
        Point::Netdev(_) | Point::Selector(_) => {}
    }
    Ok(Content::Document(chains_at(view, &point)))
}

fn with_settings(context: &Context) -> Vec<(String, Value)> {
    let view = &context.view;
    let cubes = view.topology.cubes().map(|(name, cube)| (name.to_string(), configured(view, name, cube)));
    cubes.chain(view.unrestored.iter().map(|(name, cube)| (name.to_string(), stored(name, cube)))).collect()
}

/// The cubes, with what their services say of them in short.
fn summarized(context: &Context) -> Vec<(String, Value)> {
    let mut cubes = with_settings(context);
    for (name, json) in &mut cubes {
        let Ok((name, cube)) = context.view.topology.cube(name) else { continue };
        let Ok(service) = context.view.registry.service(&cube.service) else { continue };
        let summary = &service.model.summary;
        let state = (!summary.is_empty()).then(|| context.view.instances[name].state().ok()).flatten();
        let (Some(state), Value::Object(members)) = (state, json) else { continue };
        for (leaf, value) in summary.iter().filter_map(|leaf| Some((leaf, leaf.value(&state)?))) {
            members.entry(leaf.name.as_str()).or_insert_with(|| value.clone());
        }
    }
    cubes
}

/// All cubes, by their names, with their places.
pub(super) fn cubes(context: &Context) -> Vec<(String, Value)> {
    let view = &context.view;
    let cubes = view.topology.cubes().map(|(name, cube)| (name.to_string(), placed(view, name, cube)));
    cubes.chain(view.unrestored.iter().map(|(name, cube)| (name.to_string(), unrestored(name, cube)))).collect()
}
