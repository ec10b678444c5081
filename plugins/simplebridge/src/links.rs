//! Which ports have lost their link.

use std::collections::{BTreeMap, BTreeSet};

use polycube_plugin_api::{Netdev, NetdevState};

/// What was last reported of each port, by its id: the epoch of its netdev if that is up.
#[derive(Default)]
pub(crate) struct Links(BTreeMap<u32, Option<u64>>);

impl Links {
    /// Takes in a report. Answers with those of `ports` that have gone down since the last one, even if they are up again.
    ///
    /// A port without an earlier report may have addresses, too: the map outlives the daemon.
    pub(crate) fn update(&mut self, ports: &BTreeSet<u32>, netdevs: &[Netdev]) -> BTreeSet<u32> {
        let up = netdevs.iter().filter(|netdev| netdev.state == NetdevState::Up);
        let up: BTreeMap<u32, u64> = up.map(|netdev| (netdev.at, netdev.epoch)).collect();
        let now: BTreeMap<u32, Option<u64>> = ports.iter().map(|port| (*port, up.get(port).copied())).collect();
        let before = std::mem::replace(&mut self.0, now.clone());
        let is_lost = |(port, now): &(u32, Option<u64>)| match before.get(port) {
            Some(None) => false,
            Some(before) => before != now,
            None => now.is_none(),
        };
        now.into_iter().filter(is_lost).map(|(port, _)| port).collect()
    }
}

impl Links {
    /// Whether a port was reported last, and was down.
    pub(crate) fn is_down(&self, port: u32) -> bool {
        self.0.get(&port) == Some(&None)
    }

    /// Forgets what was reported of other ports than `ports`: their ids may become new ports'.
    pub(crate) fn retain(&mut self, ports: &BTreeSet<u32>) {
        self.0.retain(|port, _| ports.contains(port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports of port 1, as state and epoch, and whether the last one means that it was lost.
    #[track_caller]
    fn check(reports: &[Option<(NetdevState, u64)>], is_lost: bool) {
        let mut links = Links::default();
        let mut lost = BTreeSet::new();
        for report in reports {
            let netdev =
                |(state, epoch)| Netdev { at: 1, name: String::from("veth1"), state, epoch, ..Netdev::default() };
            let other =
                Netdev { at: 2, name: String::from("veth2"), state: NetdevState::Up, epoch: 9, ..Netdev::default() };
            let netdevs: Vec<_> = report.map(netdev).into_iter().chain([other]).collect();
            lost = links.update(&BTreeSet::from([1, 2]), &netdevs);
        }
        let expected = if is_lost { BTreeSet::from([1]) } else { BTreeSet::new() };
        assert_eq!(lost, expected, "{reports:?}");
    }

    #[test]
    fn a_port_is_lost_once_for_each_time_that_it_goes_down() {
        use NetdevState::{Down, NoCarrier, Up};
        check(&[Some((Up, 1))], false);
        check(&[Some((Up, 1)), Some((Up, 1))], false);
        check(&[Some((Up, 1)), Some((NoCarrier, 2))], true);
        check(&[Some((Up, 1)), Some((Down, 2))], true);
        check(&[Some((Up, 1)), None], true);
        check(&[Some((Up, 1)), Some((NoCarrier, 2)), Some((Down, 2))], false);
        check(&[Some((Up, 1)), Some((NoCarrier, 2)), Some((Up, 2))], false);
        // It was down between two reports.
        check(&[Some((Up, 1)), Some((Up, 2))], true);
    }

    #[test]
    fn a_port_that_is_down_when_the_bridge_starts_has_nothing_to_keep() {
        check(&[Some((NetdevState::NoCarrier, 1))], true);
        check(&[None], true);
        check(&[None, Some((NetdevState::Up, 1))], false);
    }

    #[test]
    fn ports_that_do_not_exist_any_more_are_forgotten() {
        let mut links = Links::default();
        let netdev =
            Netdev { at: 1, name: String::from("veth1"), state: NetdevState::Up, epoch: 1, ..Netdev::default() };
        links.update(&BTreeSet::from([1]), std::slice::from_ref(&netdev));
        assert_eq!(links.update(&BTreeSet::new(), &[]), BTreeSet::new());
        assert_eq!(links.update(&BTreeSet::from([1]), &[Netdev { epoch: 2, ..netdev }]), BTreeSet::new());
    }
}
