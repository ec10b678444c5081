//! What surrounds a capture, in one document: netdevs with their addresses, neighbours, routes, cubes and their counters.
//! Its reader has nothing but a file, months later, so netdevs are named and nothing refers to elsewhere.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use polycube_plugin_api::Topic;
use serde_json::{Map, Value, json};

use super::netdevs::netdevs;
use super::topology::cubes;
use crate::environment::Table;
use crate::problem::Problem;
use crate::rest::call::Content;
use crate::rest::context::{Context, blocking};
use crate::sys::environment::Observer;

/// The member of a cube's state that counts.
const COUNTERS: &str = "counters";

pub(crate) async fn answer(context: Context) -> Result<Content, Problem> {
    let netdevs = netdevs(&context).await?;
    let names: BTreeMap<u32, String> = netdevs
        .iter()
        .filter_map(|(name, link)| Some((link["index"].as_u64()?.try_into().ok()?, name.clone())))
        .collect();
    let cubes: Vec<Value> = cubes(&context).into_iter().map(|(_, cube)| cube).collect();
    let (table, counters) = blocking(move || {
        let topics = [Topic::Addresses, Topic::Neighbours, Topic::Routes].into();
        let read = Observer::open(topics).and_then(|mut observer| observer.refresh().cloned());
        let unknown = |error| Problem::failed("config/bundle", format!("cannot read routes and neighbours: {error}"));
        Ok((read.map_err(unknown)?, counters(&context)))
    })
    .await?;
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(Content::Document(json!({
        "seconds-since-1970": time,
        "links": netdevs.into_iter().map(|(_, link)| link).collect::<Vec<_>>(),
        "neighbours": neighbours(&table, &names),
        "routes": routes(&table, &names),
        "cubes": cubes,
        COUNTERS: counters,
    })))
}

/// What each cube has counted. One that does not answer has nothing.
fn counters(context: &Context) -> Map<String, Value> {
    let instances = context.view.instances.iter();
    let counted = instances.filter_map(|(name, instance)| {
        let counters = instance.state().ok()?.get_mut(COUNTERS)?.take();
        Some((name.to_string(), counters))
    });
    counted.collect()
}

/// The name of a netdev, or its number if it is gone.
fn named(names: &BTreeMap<u32, String>, ifindex: u32) -> String {
    names.get(&ifindex).cloned().unwrap_or_else(|| ifindex.to_string())
}

fn neighbours(table: &Table, names: &BTreeMap<u32, String>) -> Vec<Value> {
    let neighbours = table.neighbours.values();
    let shown = neighbours.map(|neighbour| {
        json!({
            "netdev": named(names, neighbour.ifindex),
            "address": neighbour.address,
            "mac": neighbour.mac,
            "state": neighbour.state,
        })
    });
    shown.collect()
}

fn routes(table: &Table, names: &BTreeMap<u32, String>) -> Vec<Value> {
    let routes = table.routes.values();
    let shown = routes.map(|route| {
        let hops = route.hops.iter();
        let hops = hops.map(|hop| json!({ "netdev": named(names, hop.ifindex), "gateway": hop.gateway }));
        json!({
            "network": format!("{}/{}", route.network, route.prefix),
            "metric": route.metric,
            "hops": hops.collect::<Vec<_>>(),
        })
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::{Hop, Neighbour, NeighbourState, Route};

    use super::*;

    #[test]
    fn netdevs_have_their_names() {
        let names = BTreeMap::from([(3, "eth0".to_owned())]);
        let mut table = Table::default();
        let address = [192, 0, 2, 1].into();
        let neighbour = Neighbour { ifindex: 3, address, mac: None, state: NeighbourState::Stale };
        table.neighbours.insert((3, address), neighbour);
        let hops = vec![Hop { ifindex: 3, gateway: Some(address) }, Hop { ifindex: 9, gateway: None }];
        table.routes.insert(
            ([0, 0, 0, 0].into(), 0, 100),
            Route { network: [0, 0, 0, 0].into(), prefix: 0, metric: 100, hops },
        );
        assert_eq!(
            neighbours(&table, &names),
            [json!({ "netdev": "eth0", "address": "192.0.2.1", "mac": null, "state": "stale" })]
        );
        let hops = json!([{ "netdev": "eth0", "gateway": "192.0.2.1" }, { "netdev": "9", "gateway": null }]);
        assert_eq!(routes(&table, &names), [json!({ "network": "0.0.0.0/0", "metric": 100, "hops": hops })]);
    }
}
