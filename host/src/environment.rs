//! Addresses, neighbours and routes of the daemon's network namespace, as plain data. Pure: `sys` fills the table in.
//!
//! Copies share what they have in common. So each cube keeps the table that it was told of, and what it has not heard yet is
//! the difference to the table that there is: however much happens while a plugin is busy, nothing is queued, nothing is
//! lost, and what came and went meanwhile costs nothing.

use std::net::IpAddr;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use polycube_plugin_api::{Address, Changes, Environment, Neighbour, Route, Topic};

/// What a report says at most at once: a plugin gets a large table in parts.
const PART: usize = 1000;

/// What identifies a neighbour: netdev and address.
pub(crate) type NeighbourKey = (u32, IpAddr);

/// What identifies a route: network, prefix and metric.
pub(crate) type RouteKey = (IpAddr, u8, u32);

/// What there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    pub addresses: OrdMap<Address, ()>,
    pub neighbours: OrdMap<NeighbourKey, Neighbour>,
    pub routes: OrdMap<RouteKey, Route>,
}

impl Table {
    /// The same without the topics that are not asked for.
    pub(crate) fn of(&self, topics: &[Topic]) -> Self {
        let mut table = self.clone();
        let has = |topic| topics.contains(&topic);
        if !has(Topic::Addresses) {
            table.addresses = OrdMap::new();
        }
        if !has(Topic::Neighbours) {
            table.neighbours = OrdMap::new();
        }
        if !has(Topic::Routes) {
            table.routes = OrdMap::new();
        }
        table
    }
}

/// What one cube has heard, and what there is.
#[derive(Debug, Default)]
pub(crate) struct Told {
    told: Table,
    /// `None` until the daemon has looked.
    now: Option<Table>,
    is_begun: bool,
}

impl Told {
    /// Notes what there is. Answers whether the cube has not heard that yet.
    pub(crate) fn set(&mut self, now: Table) -> bool {
        let is_news = !self.is_begun || self.told != now;
        self.now = Some(now);
        is_news
    }

    /// The next part of what the cube has not heard yet; `None` if there is none.
    pub(crate) fn next(&mut self) -> Option<Environment> {
        let now = self.now.as_ref()?;
        let mut room = PART;
        let addresses = part(&mut self.told.addresses, &now.addresses, &mut room, |address, ()| address.clone());
        let neighbours = part(&mut self.told.neighbours, &now.neighbours, &mut room, |_, found| found.clone());
        let routes = part(&mut self.told.routes, &now.routes, &mut room, |_, found| found.clone());
        let is_whole = !std::mem::replace(&mut self.is_begun, true);
        (is_whole || room < PART).then(|| {
            let is_partial = self.told != *now;
            if !is_partial {
                // Two tables that share their parts are compared in no time.
                self.told = now.clone();
            }
            Environment { is_whole, is_partial, addresses, neighbours, routes }
        })
    }
}

/// Takes over what differs, as much as there is room for.
fn part<K: Ord + Clone, V: PartialEq + Clone, T>(
    told: &mut OrdMap<K, V>,
    now: &OrdMap<K, V>,
    room: &mut usize,
    as_told: impl Fn(&K, &V) -> T,
) -> Changes<T> {
    let mut changes = Changes::default();
    let before = told.clone();
    for item in before.diff(now).take(*room) {
        *room -= 1;
        match item {
            DiffItem::Add(key, value) | DiffItem::Update { new: (key, value), .. } => {
                changes.set.push(as_told(key, value));
                told.insert(key.clone(), value.clone());
            }
            DiffItem::Remove(key, value) => {
                changes.gone.push(as_told(key, value));
                told.remove(key);
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::{Hop, NeighbourState};
    use proptest::prelude::*;

    use super::*;

    fn route(number: u32, metric: u32, ifindex: u32) -> (RouteKey, Route) {
        let network = IpAddr::from(number.to_be_bytes());
        let hops = vec![Hop { ifindex, gateway: None }];
        ((network, 32, metric), Route { network, prefix: 32, metric, hops })
    }

    fn table(routes: impl IntoIterator<Item = (u32, u32)>) -> Table {
        let routes = routes.into_iter().map(|(number, ifindex)| route(number, 0, ifindex)).collect();
        Table { routes, ..Table::default() }
    }

    /// Takes in reports as a plugin does.
    fn hear(known: &mut OrdMap<RouteKey, Route>, news: &Environment) {
        if news.is_whole {
            known.clear();
        }
        let key = |route: &Route| (route.network, route.prefix, route.metric);
        for route in &news.routes.gone {
            assert!(known.remove(&key(route)).is_some(), "{route:?} is gone and was not there");
        }
        for route in &news.routes.set {
            known.insert(key(route), route.clone());
        }
    }

    #[test]
    fn the_first_report_is_whole_even_if_there_is_nothing() {
        let mut told = Told::default();
        assert_eq!(told.next(), None, "the daemon has not looked yet");
        told.set(Table::default());
        assert_eq!(told.next(), Some(Environment { is_whole: true, ..Environment::default() }));
        assert_eq!(told.next(), None);
    }

    #[test]
    fn a_large_table_comes_in_parts_of_which_the_first_is_whole() {
        let mut told = Told::default();
        told.set(table((0..2500).map(|number| (number, 1))));
        let parts: Vec<Environment> = std::iter::from_fn(|| told.next()).collect();
        let sizes: Vec<_> = parts.iter().map(|p| (p.is_whole, p.is_partial, p.routes.set.len())).collect();
        assert_eq!(sizes, [(true, true, 1000), (false, true, 1000), (false, false, 500)]);
    }

    #[test]
    fn what_comes_and_goes_while_nobody_listens_is_not_reported() {
        let mut told = Told::default();
        told.set(table([(1, 1)]));
        told.next();
        told.set(table([(1, 1), (2, 1)]));
        told.set(table([(1, 1)]));
        assert_eq!(told.next(), None);
        told.set(table([(1, 2)]));
        let news = told.next().unwrap();
        assert_eq!((news.is_whole, news.routes.set.len(), news.routes.gone.len()), (false, 1, 0));
    }

    #[test]
    fn only_what_was_asked_for_is_there() {
        let address = Address { ifindex: 1, address: [10, 0, 0, 1].into(), prefix: 8 };
        let neighbour =
            Neighbour { ifindex: 1, address: [10, 0, 0, 2].into(), mac: None, state: NeighbourState::Failed };
        let whole = Table {
            addresses: [(address, ())].into_iter().collect(),
            neighbours: [((1, neighbour.address), neighbour)].into_iter().collect(),
            ..table([(1, 1)])
        };
        let sizes = |topics: &[Topic]| {
            let Table { addresses, neighbours, routes } = whole.of(topics);
            [addresses.len(), neighbours.len(), routes.len()]
        };
        assert_eq!(sizes(&[]), [0, 0, 0]);
        assert_eq!(sizes(&[Topic::Addresses, Topic::Routes]), [1, 0, 1]);
        assert_eq!(sizes(&[Topic::Neighbours, Topic::Other]), [0, 1, 0]);
    }

    proptest! {
        #[test]
        fn all_reports_together_say_what_there_is(
            states in prop::collection::vec(prop::collection::btree_map(0_u32..3000, 0_u32..3, 0..1500), 1..5),
            heard in prop::collection::vec(0_usize..3, 5),
        ) {
            let (mut told, mut known) = (Told::default(), OrdMap::new());
            for (state, parts) in states.iter().zip(heard) {
                told.set(table(state.iter().map(|(number, ifindex)| (*number, *ifindex))));
                for _ in 0..parts {
                    told.next().iter().for_each(|news| hear(&mut known, news));
                }
            }
            while let Some(news) = told.next() {
                hear(&mut known, &news);
            }
            let last = states.last().into_iter().flatten().map(|(number, ifindex)| (*number, *ifindex));
            prop_assert_eq!(known, table(last).routes);
        }
    }
}
