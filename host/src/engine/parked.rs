//! Changes that wait until the plugins of their cubes have returned from a call.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::Ask;
use crate::problem::Problem;
use crate::topology::CubeName;

/// How long a change waits before it is refused.
const PATIENCE: Duration = crate::plugins::PATIENCE;

/// The changes that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Parked(VecDeque<Waiting>);

struct Waiting {
    ask: Ask,
    busy: BTreeSet<CubeName>,
    since: Instant,
}

/// A change that was parked, on its next try.
pub(super) struct Resumed {
    pub ask: Ask,
    pub since: Instant,
}

impl Parked {
    /// Parks a change until `busy` can be called again. `since` is when it was parked first.
    pub(super) fn add(&mut self, ask: Ask, busy: BTreeSet<CubeName>, since: Instant) {
        self.0.push_back(Waiting { ask, busy, since });
    }

    /// Those of `cubes` that an earlier change waits for: a later one must not overtake it.
    pub(super) fn before(&self, cubes: &BTreeSet<CubeName>) -> Option<BTreeSet<CubeName>> {
        let waited: BTreeSet<CubeName> =
            self.0.iter().flat_map(|waiting| waiting.busy.intersection(cubes)).cloned().collect();
        (!waited.is_empty()).then_some(waited)
    }

    /// Whether a change waits for a cube that `is_there` does not know: it was deleted meanwhile.
    pub(crate) fn waits_for_missing(&self, is_there: impl Fn(&CubeName) -> bool) -> bool {
        self.0.iter().flat_map(|waiting| &waiting.busy).any(|cube| !is_there(cube))
    }

    /// Takes all of them, to be tried again.
    pub(super) fn take_all(&mut self) -> Vec<Resumed> {
        self.0.drain(..).map(|Waiting { ask, since, .. }| Resumed { ask, since }).collect()
    }

    /// Takes those that have waited too long, with what to answer.
    pub(super) fn take_overdue(&mut self) -> Vec<(Ask, Problem)> {
        let (overdue, waiting) = self.0.drain(..).partition(|waiting| waiting.since.elapsed() >= PATIENCE);
        self.0 = waiting;
        let overdue: VecDeque<Waiting> = overdue;
        overdue.into_iter().map(|Waiting { ask, busy, .. }| (ask, refusal(&busy))).collect()
    }
}

fn refusal(busy: &BTreeSet<CubeName>) -> Problem {
    let cubes: Vec<&str> = busy.iter().map(CubeName::as_str).collect();
    let message = format!(
        "the plugin of cube `{}` has not returned from a call for {} s, so nothing was changed: try again later, or delete the cube and create it again",
        cubes.join("`, `"),
        PATIENCE.as_secs()
    );
    Problem::failed(cubes.first().copied().unwrap_or_default(), message)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cubes(names: &[&str]) -> BTreeSet<CubeName> {
        names.iter().map(|name| CubeName::parse(name).unwrap()).collect()
    }

    fn ask(cube: &str) -> Ask {
        Ask::Request(CubeName::parse(cube).unwrap(), Value::Null)
    }

    #[test]
    fn a_change_does_not_overtake_one_that_waits_for_the_same_cube() {
        let mut parked = Parked::default();
        parked.add(ask("a"), cubes(&["a"]), Instant::now());
        assert_eq!(parked.before(&cubes(&["a", "b"])), Some(cubes(&["a"])));
        assert_eq!(parked.before(&cubes(&["b"])), None);
        assert_eq!(parked.take_all().len(), 1);
        assert_eq!(parked.before(&cubes(&["a"])), None);
    }

    #[test]
    fn a_change_that_waits_too_long_is_refused_and_the_others_stay() {
        let mut parked = Parked::default();
        parked.add(ask("a"), cubes(&["a"]), Instant::now().checked_sub(PATIENCE).unwrap());
        parked.add(ask("b"), cubes(&["b"]), Instant::now());
        let overdue = parked.take_overdue();
        assert_eq!(overdue.len(), 1);
        assert!(
            overdue[0].1.message.starts_with("the plugin of cube `a` has not returned"),
            "{}",
            overdue[0].1.message
        );
        assert_eq!(parked.take_all().len(), 1);
    }
}
