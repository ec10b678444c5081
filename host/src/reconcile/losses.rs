//! Roots that somebody else took off their netdevs.
//!
//! Anybody with the right to do so can detach a TCX link or delete a queueing discipline, and then packets pass beside
//! every cube without a word. So the hooks are looked at once in a while. A root that is gone is attached again at once.
//! Whoever takes it off again and again is not fought: the netdev is deferred, each time for twice as long.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Cubes, Kernel, Reconciler};
use crate::model::{Model, Part};
use crate::netdev::Table;
use crate::wiring::{Hook, Netdev};

/// How long a netdev is left alone when its root was taken off for the second time.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The longest that it is left alone.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// After this time, a loss is forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// What was taken off, by ifindex.
#[derive(Default)]
pub struct Losses {
    known: BTreeMap<u32, Loss>,
    /// Netdevs whose hooks are to be wired again.
    pub open: BTreeSet<Netdev>,
}

struct Loss {
    netdev: Netdev,
    times: u32,
    last: Instant,
    until: Instant,
}

impl Losses {
    /// Enters a loss. Answers how long the netdev is to be left alone.
    fn add(&mut self, netdev: &Netdev, now: Instant) -> Duration {
        let times =
            self.known.get(&netdev.ifindex).filter(|loss| now - loss.last < MEMORY).map_or(0, |loss| loss.times);
        let pause = match times {
            0 => Duration::ZERO,
            times => FIRST_PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_PAUSE),
        };
        let loss = Loss { netdev: netdev.clone(), times: times + 1, last: now, until: now + pause };
        self.known.insert(netdev.ifindex, loss);
        self.open.insert(netdev.clone());
        pause
    }

    /// Defers the netdevs in use that are to be left alone.
    pub fn defer(&self, model: &mut Model) {
        let now = Instant::now();
        for loss in self.known.values().filter(|loss| loss.until > now) {
            if !model.wants(&loss.netdev.name) {
                continue;
            }
            let reason =
                format!("another program took our program off {} times: it is left alone for a while", loss.times);
            model.deferred.add(Part::Netdev(loss.netdev.clone()), reason);
        }
    }
}

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Looks for roots that somebody took off, and forgets them: the next reconciliation wires their netdevs again.
    /// Answers whether there are any.
    pub fn find_losses(&mut self, present: &Table) -> bool {
        // A netdev that is gone takes its hooks along; that is followed like any netdev's going.
        let is_there = |hook: &Hook| present.link(hook.netdev.ifindex).is_some();
        let lost: Vec<Hook> = self.kernel.lost().into_iter().filter(is_there).collect();
        let netdevs: BTreeSet<Netdev> = lost.iter().map(|hook| hook.netdev.clone()).collect();
        for hook in &lost {
            self.wiring.hooks.remove(hook);
            self.kernel.detach(hook);
            self.kernel.unload_root(hook);
        }
        for netdev in &netdevs {
            let pause = self.losses.add(netdev, Instant::now());
            if pause.is_zero() {
                tracing::warn!(netdev = netdev.name, "another program took our program off: attaching it again");
            }
        }
        !netdevs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_left_alone_for_twice_as_long_until_it_is_forgotten() {
        let mut losses = Losses::default();
        let netdev = Netdev { ifindex: 3, name: "veth1".to_owned() };
        let begin = Instant::now();
        let pauses: Vec<u64> =
            (0..8).map(|second| losses.add(&netdev, begin + Duration::from_secs(second)).as_secs()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(losses.add(&netdev, begin + 2 * MEMORY), Duration::ZERO);
        let other = Netdev { ifindex: 4, name: "veth2".to_owned() };
        assert_eq!(losses.add(&other, begin), Duration::ZERO);
    }
}
