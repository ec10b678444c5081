//! Places that stand for netdevs: which ones, shows when they are looked up.
//!
//! A cube that is attached to `netns:web` is attached to whatever netdevs that stands for, now and later. The topology has
//! both: the attachment to the place, which a user asked for, and those to the netdevs, which [`Topology::choose`] makes
//! and removes as netdevs come and go. These remember the place that chose them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Attachment, CubeName, Point, Role, Topology};
use crate::problem::Problem;

/// The ids of attachments to selectors begin here: a plugin never sees them, and counts interfaces by the others.
const FIRST_ID: u32 = 1 << 31;

/// A namespace, by what can be found out about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Namespace {
    /// A container, by its name or the beginning of its id.
    Container(String),
    /// A pod of Kubernetes.
    Pod { namespace: String, name: String },
    /// As `ip netns` lists it.
    Named(String),
    /// That of a process.
    Process(u32),
}

/// A place that stands for netdevs. Where two choose the same netdev, the first in this order has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Selector {
    /// The ends in the daemon's namespace of the veth pairs that lead into another one: of the netdev that is called so there,
    /// or of all.
    Inside(Namespace, Option<String>),
    /// Every netdev of the daemon's own namespace.
    Any,
}

/// Why a cube is attached to a netdev that no user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub by: Selector,
    /// The name of the netdev's other end, in the namespace that it leads into.
    pub inside: Option<String>,
}

/// The words that begin a selector, before the colon.
const CONTAINER: &str = "container";
const NETNS: &str = "netns";
const PID: &str = "pid";
const POD: &str = "pod";
const ANY: &str = "any";

impl Selector {
    /// `None` if `text` does not begin as a selector does.
    ///
    /// # Errors
    /// It does, and is none.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, Problem> {
        if text == ANY {
            return Ok(Some(Self::Any));
        }
        let Some((kind, rest)) = text.split_once(':') else { return Ok(None) };
        // A pod's name has a slash of its own.
        let (pod, rest) = match rest.split_once('/').filter(|_| kind == POD) {
            Some((pod, rest)) => (Some(pod), rest),
            None => (None, rest),
        };
        let (name, netdev) = match rest.split_once('/') {
            Some((name, netdev)) => (name, Some(netdev)),
            None => (rest, None),
        };
        let bad = |message: String| Err(Problem::bad("port", message));
        let namespace = match kind {
            CONTAINER => Namespace::Container(name.to_owned()),
            NETNS => Namespace::Named(name.to_owned()),
            PID => match name.parse() {
                Ok(pid) if pid > 0 => Namespace::Process(pid),
                _ => return bad(format!("`{text}` is not a process: give a number, as in pid:4711")),
            },
            POD => match pod {
                Some(namespace) => Namespace::Pod { namespace: namespace.to_owned(), name: name.to_owned() },
                None => {
                    return bad(format!(
                        "`{text}` does not name a pod: give its namespace, too, as in pod:default/web"
                    ));
                }
            },
            _ => return Ok(None),
        };
        let is_name = |name: &str| {
            let is_fit = |c: char| !c.is_whitespace() && !c.is_control() && c != ',';
            !name.is_empty() && !matches!(name, "." | "..") && name.len() <= 255 && name.chars().all(is_fit)
        };
        if !is_name(name)
            || pod.is_some_and(|pod| !is_name(pod))
            || netdev.is_some_and(|netdev| !is_name(netdev) || netdev.contains('/'))
        {
            let form = if kind == POD { "pod:NAMESPACE/NAME".to_owned() } else { format!("{kind}:NAME") };
            return bad(format!("`{text}` does not name a place: give {form}, or {form}/NETDEV for one netdev"));
        }
        Ok(Some(Self::Inside(namespace, netdev.map(str::to_owned))))
    }

    /// Whether `name` cannot be a new cube's, because `NAME:PORT` would be a selector.
    pub(crate) fn is_word(name: &str) -> bool {
        [CONTAINER, NETNS, PID, POD].contains(&name)
    }
}

impl Namespace {
    /// As a sentence names it.
    pub(crate) fn described(&self) -> String {
        match self {
            Self::Container(name) => format!("container `{name}`"),
            Self::Pod { namespace, name } => format!("pod `{namespace}/{name}`"),
            Self::Named(name) => format!("network namespace `{name}`"),
            Self::Process(pid) => format!("process {pid}"),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "{CONTAINER}:{name}"),
            Self::Pod { namespace, name } => write!(f, "{POD}:{namespace}/{name}"),
            Self::Named(name) => write!(f, "{NETNS}:{name}"),
            Self::Process(pid) => write!(f, "{PID}:{pid}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inside(namespace, Some(netdev)) => write!(f, "{namespace}/{netdev}"),
            Self::Inside(namespace, None) => namespace.fmt(f),
            Self::Any => f.write_str(ANY),
        }
    }
}

impl Chosen {
    /// What the place is called, by its name in its namespace, where that is not the daemon's.
    pub(crate) fn name(&self) -> Option<String> {
        match (&self.by, &self.inside) {
            (Selector::Inside(namespace, _), Some(inside)) => Some(format!("{namespace}/{inside}")),
            (Selector::Inside(..), None) => Some(self.by.to_string()),
            (Selector::Any, _) => None,
        }
    }
}

/// The netdevs where each cube is to stand by choice.
pub(crate) type Choice = BTreeMap<String, Chosen>;

impl Topology {
    /// The selectors that cubes are attached to, and these cubes.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = (&Selector, &[Attachment])> {
        // The first of all selectors.
        let first = Point::Selector(Selector::Inside(Namespace::Container(String::new()), None));
        self.chains.range(first..).filter_map(|(point, chain)| match point {
            Point::Selector(selector) => Some((selector, chain.as_slice())),
            Point::Port(..) | Point::Netdev(_) => None,
        })
    }

    /// The netdevs that were chosen for `selector`.
    pub(crate) fn stands_for(&self, cube: &CubeName, selector: &Selector) -> Vec<&str> {
        let chosen = self.chosen(cube).into_iter().filter(|(_, chosen)| chosen.by == *selector);
        chosen.map(|(netdev, _)| netdev).collect()
    }

    /// Why `cube` stands at `point`, if no user named the point.
    pub(crate) fn chosen_at(&self, cube: &CubeName, point: &Point) -> Option<&Chosen> {
        self.chain(point).iter().find(|one| one.cube == *cube)?.chosen.as_deref()
    }

    /// The netdev that is shown as `name` at a cube, because a selector chose it.
    pub(crate) fn chosen_as(&self, name: &Selector) -> Option<Point> {
        let name = name.to_string();
        let cubes = self.selectors().flat_map(|(_, chain)| chain).map(|attachment| &attachment.cube);
        let mut chosen = cubes.flat_map(|cube| self.chosen(cube));
        let found = chosen.find(|(_, chosen)| chosen.name().as_deref() == Some(name.as_str()))?;
        Some(Point::Netdev(found.0.to_owned()))
    }

    fn chosen(&self, cube: &CubeName) -> Vec<(&str, &Chosen)> {
        let points = self.attached.get(cube).into_iter().flatten().map(|(_, point)| point);
        let chosen = points.filter_map(|point| match point {
            Point::Netdev(netdev) => Some((netdev.as_str(), self.chosen_at(cube, point)?)),
            Point::Port(..) | Point::Selector(_) => None,
        });
        chosen.collect()
    }

    /// Has a cube stand, by choice, at these netdevs and no others. Where it stands anyhow, at the netdev or at the port that
    /// has its packets, it is not attached twice.
    pub(crate) fn choose(&mut self, cube: &CubeName, mut choice: Choice) {
        if self.get(cube.as_str()).is_none_or(|(_, found)| found.role != Role::Transparent) {
            return;
        }
        let is_there = |point: &Point| self.chain(point).iter().any(|one| one.cube == *cube && one.chosen.is_none());
        choice.retain(|netdev, _| {
            let port = self.peer_owner(netdev).map(|(owner, port)| Point::Port(owner, port));
            !is_there(&Point::Netdev(netdev.clone())) && !port.is_some_and(|port| is_there(&port))
        });
        let before: BTreeMap<String, Chosen> =
            self.chosen(cube).into_iter().map(|(netdev, chosen)| (netdev.to_owned(), chosen.clone())).collect();
        for netdev in before.keys().filter(|netdev| !choice.contains_key(*netdev)) {
            self.remove_at(cube, &Point::Netdev(netdev.clone()));
        }
        for (netdev, chosen) in choice {
            let point = Point::Netdev(netdev.clone());
            match before.get(&netdev) {
                Some(before) if *before == chosen => {}
                Some(_) => {
                    let chain = self.chains.get_mut(&point).map(Arc::make_mut);
                    let there = chain.into_iter().flatten().find(|one| one.cube == *cube);
                    there.into_iter().for_each(|one| one.chosen = Some(Arc::new(chosen.clone())));
                }
                None => self.insert(cube, point, 0, Some(Arc::new(chosen))),
            }
        }
    }

    /// Where a new attachment of `cube` to `point` begins to look for an id.
    pub(super) fn first_id(point: &Point) -> u32 {
        if matches!(point, Point::Selector(_)) { FIRST_ID } else { 0 }
    }

    /// Removes a cube from the netdevs that `selector` chose for it.
    pub(super) fn forget_chosen(&mut self, cube: &CubeName, selector: &Selector) {
        let netdevs: Vec<String> = self.stands_for(cube, selector).into_iter().map(str::to_owned).collect();
        for netdev in netdevs {
            self.remove_at(cube, &Point::Netdev(netdev));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<Selector>, &str>) {
        let found = Selector::parse(text);
        if let Ok(Some(selector)) = &found {
            assert_eq!(selector.to_string(), text);
        }
        assert_eq!(found.map_err(|problem| problem.message), expected.map_err(str::to_owned));
    }

    #[test]
    fn a_selector_is_read_and_written_the_same() {
        let inside = |namespace, netdev: Option<&str>| Ok(Some(Selector::Inside(namespace, netdev.map(str::to_owned))));
        check("any", Ok(Some(Selector::Any)));
        check("netns:web", inside(Namespace::Named("web".to_owned()), None));
        check("netns:web/eth0", inside(Namespace::Named("web".to_owned()), Some("eth0")));
        check("pid:12/eth0", inside(Namespace::Process(12), Some("eth0")));
        check("container:web.1_2-x", inside(Namespace::Container("web.1_2-x".to_owned()), None));
        for other in ["eth0", "br1:p", "anything", "any:p", "netns"] {
            check(other, Ok(None));
        }
        check("pid:x", Err("`pid:x` is not a process: give a number, as in pid:4711"));
        check("pid:0", Err("`pid:0` is not a process: give a number, as in pid:4711"));
        for bad in ["netns:", "netns:../x", "netns:/eth0", "netns:a/b/c", "netns:..", "netns:a b"] {
            check(
                bad,
                Err(&format!("`{bad}` does not name a place: give netns:NAME, or netns:NAME/NETDEV for one netdev")),
            );
        }
        let pod = || Namespace::Pod { namespace: "a".to_owned(), name: "b".to_owned() };
        check("pod:a/b", inside(pod(), None));
        check("pod:a/b/eth0", inside(pod(), Some("eth0")));
        check("pod:b", Err("`pod:b` does not name a pod: give its namespace, too, as in pod:default/web"));
        for bad in ["pod:/b", "pod:a/", "pod:a/b/c/d", "pod:../b"] {
            let form = "give pod:NAMESPACE/NAME, or pod:NAMESPACE/NAME/NETDEV for one netdev";
            check(bad, Err(&format!("`{bad}` does not name a place: {form}")));
        }
    }
}
