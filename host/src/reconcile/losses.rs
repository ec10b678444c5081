//! Roots that somebody else took off their netdevs.
//!
//! Another program can detach a TCX link or delete a queueing discipline, and then packets pass no cube any more, and
//! nothing says so. So the hooks are looked at every few seconds. A root that is gone is attached again at once. If it is
//! taken off again and again, we give way: the netdev is deferred, each time for twice as long.

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
pub(super) struct Losses {
    known: BTreeMap<u32, Loss>,
    /// Netdevs whose hooks are to be wired again, by ifindex: their names may change meanwhile.
    open: BTreeSet<u32>,
}

struct Loss {
    times: u32,
    last: Instant,
    until: Instant,
}

impl Losses {
    /// Enters a loss. Answers how long the netdev is to be left alone.
    fn add(&mut self, ifindex: u32, now: Instant) -> Duration {
        let times = self.known.get(&ifindex).filter(|loss| now - loss.last < MEMORY).map_or(0, |loss| loss.times);
        let pause = match times {
            0 => Duration::ZERO,
            times => FIRST_PAUSE.saturating_mul(1 << (times - 1).min(16)).min(LONGEST_PAUSE),
        };
        self.known.insert(ifindex, Loss { times: times + 1, last: now, until: now + pause });
        self.open.insert(ifindex);
        pause
    }

    /// Defers the netdevs in use that are to be left alone.
    pub(super) fn defer(&self, model: &mut Model, present: &Table) {
        let now = Instant::now();
        for (ifindex, loss) in self.known.iter().filter(|(_, loss)| loss.until > now) {
            let Some(netdev) = netdev(*ifindex, present).filter(|netdev| model.wants(&netdev.name)) else { continue };
            let reason =
                format!("another program took our program off {} times: it is left alone for a while", loss.times);
            model.deferred.add(Part::Netdev(netdev), reason);
        }
    }
}

impl Losses {
    /// The netdevs whose hooks are to be wired again.
    pub(super) fn open<'a>(&'a self, present: &'a Table) -> impl Iterator<Item = Netdev> + 'a {
        self.open.iter().filter_map(|ifindex| netdev(*ifindex, present))
    }

    /// Says that they are wired again.
    pub(super) fn close(&mut self) {
        self.open.clear();
    }
}

fn netdev(ifindex: u32, present: &Table) -> Option<Netdev> {
    Some(Netdev { ifindex, name: present.link(ifindex)?.name.clone() })
}

impl<K: Kernel, C: Cubes<K::Map>> Reconciler<K, C> {
    /// Looks for pins that somebody removed, and makes them again.
    pub(crate) fn repin(&self) {
        self.kernel.repin();
    }

    /// Looks for roots that somebody took off, and forgets them: the next reconciliation wires their netdevs again.
    /// Answers whether there are any.
    pub(crate) fn find_losses(&mut self, present: &Table) -> bool {
        // A netdev that is gone takes its hooks along; that is followed like any netdev's going.
        let is_there = |hook: &Hook| present.link(hook.netdev.ifindex).is_some();
        let lost: Vec<Hook> = self.kernel.lost().into_iter().filter(is_there).collect();
        let netdevs: BTreeSet<u32> = lost.iter().map(|hook| hook.netdev.ifindex).collect();
        let is_open = !self.losses.open.is_empty();
        for hook in &lost {
            self.wiring.hooks.remove(hook);
            self.kernel.detach(hook);
            self.kernel.unload_root(hook);
        }
        for ifindex in &netdevs {
            if self.losses.add(*ifindex, Instant::now()).is_zero() {
                let netdev = present.link(*ifindex).map(|link| link.name.as_str());
                tracing::warn!(netdev, "another program took our program off: attaching it again");
            }
        }
        is_open || !netdevs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_is_left_alone_for_twice_as_long_until_it_is_forgotten() {
        let mut losses = Losses::default();
        let begin = Instant::now();
        let pauses: Vec<u64> =
            (0..8).map(|second| losses.add(3, begin + Duration::from_secs(second)).as_secs()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(losses.add(3, begin + 2 * MEMORY), Duration::ZERO);
        assert_eq!(losses.add(4, begin), Duration::ZERO);
    }
}
