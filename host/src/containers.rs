//! Containers and pods: which network namespace a name stands for, by what their runtimes say.
//!
//! Runtimes are never asked on the engine's thread: what it needs is in [`Containers::known`]. Containers and pods in use are
//! asked for again every second, and not by the runtimes' streams of events: these end, have to be read from before the
//! first question to be of use, and lose what happens in between. One question costs a runtime some milliseconds at most.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use polycube_runtimes::{Answer, AskError, Asked, Language, Network};

use crate::topology::Namespace;

/// Where runtimes listen by default: those with Docker's API, and those with CRI, also as K3s has it.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];
const CRI_SOCKETS: [&str; 3] =
    ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/k3s/containerd/containerd.sock"];

/// How long an answer is kept for a change that may need it: longer than a change waits for its turn.
const MEMORY: Duration = Duration::from_secs(60);

/// Characters of a failure at most: runtimes send texts of their own.
const LONGEST: usize = 300;

/// What is known of a container or a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Where its network namespace is.
    Runs(Home),
    /// There is none that runs under this name, and why.
    Gone(String),
    /// Its runtime does not say.
    Unknown(String),
}

/// Where the network namespace of a container or a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Process(u32),
    /// As `ip netns` lists it.
    Named(String),
}

/// The containers and pods that selectors name.
pub(crate) struct Containers {
    runtimes: Vec<Runtime>,
    /// With the time of the answer.
    known: Mutex<BTreeMap<Namespace, (Known, Instant)>>,
}

/// Where a runtime listens, and what it speaks.
struct Runtime {
    socket: PathBuf,
    language: Language,
    /// Whether no option named it.
    is_default: bool,
}

impl Containers {
    /// Those of the runtimes that listen on `docker`, with Docker's API, and on `cri`; by default, those that listen where
    /// distributions have them.
    pub(crate) fn new(docker: &[PathBuf], cri: &[PathBuf]) -> Self {
        let of = |given: &[PathBuf], defaults: &[&str], language| {
            let is_default = given.is_empty();
            let sockets = if is_default { defaults.iter().map(PathBuf::from).collect() } else { given.to_vec() };
            sockets.into_iter().map(move |socket| Runtime { socket, language, is_default }).collect::<Vec<_>>()
        };
        let mut runtimes = of(docker, &SOCKETS, Language::Docker);
        runtimes.extend(of(cri, &CRI_SOCKETS, Language::Cri));
        Self { runtimes, known: Mutex::default() }
    }

    /// What was found out last.
    pub(crate) fn known(&self, namespace: &Namespace) -> Known {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(namespace).map(|(known, _)| known.clone());
        found.unwrap_or_else(|| Known::Unknown(format!("`{namespace}` is being looked up")))
    }

    /// Looks containers and pods up. Answers whether anything has changed.
    pub(crate) async fn look_up(&self, namespaces: &BTreeSet<Namespace>) -> bool {
        let mut is_changed = false;
        for namespace in namespaces {
            let Some(asked) = asked(namespace) else { continue };
            let found = self.ask_all(asked, namespace).await;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let before = known.insert(namespace.clone(), (found.clone(), Instant::now()));
            is_changed |= before.is_none_or(|(before, _)| before != found);
        }
        is_changed
    }

    /// Forgets all but these, and those that a change on its way may need.
    pub(crate) fn keep(&self, namespaces: &BTreeSet<Namespace>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|namespace, (_, since)| namespaces.contains(namespace) || since.elapsed() < MEMORY);
    }

    async fn ask_all(&self, asked: Asked<'_>, place: &Namespace) -> Known {
        let (mut answers, mut failures, mut closed) = (Vec::new(), Vec::new(), Vec::new());
        let ask = async |runtime: &Runtime| polycube_runtimes::ask(&runtime.socket, runtime.language, asked).await;
        let said = join_all(self.asked_for(asked).map(ask)).await;
        for (runtime, said) in self.asked_for(asked).zip(said) {
            let failure = match said {
                Ok(answer) => {
                    answers.push((runtime, answer));
                    continue;
                }
                Err(AskError::Connect(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => error,
            };
            let line = format!("{}: {}", runtime.socket.display(), shortened(&failure.to_string()));
            if runtime.is_beside_another(&failure) { closed.push(line) } else { failures.push(line) }
        }
        if answers.is_empty() {
            failures.append(&mut closed);
        }
        let name = place.described();
        if answers.is_empty() && failures.is_empty() {
            let sockets: Vec<_> = self.asked_for(asked).map(|runtime| runtime.socket.display().to_string()).collect();
            let (sockets, options) = (sockets.join(" or "), options(asked));
            return Known::Unknown(format!("cannot look up {name}: no runtime listens on {sockets}; {options}"));
        }
        conclude(&name, asked, &answers, &failures)
    }

    /// The runtimes that may know of `asked`.
    fn asked_for(&self, asked: Asked<'_>) -> impl Iterator<Item = &Runtime> {
        let is_container = matches!(asked, Asked::Container(_));
        self.runtimes.iter().filter(move |runtime| is_container || runtime.language == Language::Cri)
    }
}

impl Runtime {
    /// Whether a failure is to be expected of a runtime that no option named, where another one answers: Docker brings a
    /// containerd, which it alone may use or whose CRI is off.
    fn is_beside_another(&self, failure: &AskError) -> bool {
        let is_closed = match failure {
            AskError::Connect(error) => error.kind() == io::ErrorKind::PermissionDenied,
            AskError::Unimplemented(_) => true,
            _ => false,
        };
        self.is_default && self.language == Language::Cri && is_closed
    }
}

/// What the answers of all runtimes come to.
fn conclude(name: &str, asked: Asked<'_>, answers: &[(&Runtime, Answer)], failures: &[String]) -> Known {
    let running: Vec<_> = answers
        .iter()
        .filter_map(|(runtime, answer)| match answer {
            Answer::Runs(network) => Some((runtime.socket.display(), network)),
            _ => None,
        })
        .collect();
    let is_any = |wanted: Answer| answers.iter().any(|(_, answer)| *answer == wanted);
    match running.as_slice() {
        _ if is_any(Answer::Several) => Known::Gone(format!(
            "more than one {name} runs: give the beginning of its id, or its pod as pod:NAMESPACE/NAME"
        )),
        [(_, Network::Host)] => {
            Known::Gone(format!("{name} has no network of its own (its network mode is host): name netdevs, or `any`"))
        }
        [(_, Network::Process(pid))] => Known::Runs(Home::Process(*pid)),
        [(_, Network::Named(netns))] => Known::Runs(Home::Named(netns.clone())),
        [(one, _), (other, _), ..] => {
            let way_out = match asked {
                Asked::Container(_) => "give its id",
                Asked::Pod { .. } => "give its network namespace as netns:NAME",
            };
            Known::Gone(format!("{one} and {other} both have a {name}: {way_out}"))
        }
        [] if !failures.is_empty() => Known::Unknown(format!("cannot look up {name}: {}", failures.join("; "))),
        [] if is_any(Answer::Stopped) => Known::Gone(format!("{name} does not run")),
        [] => Known::Gone(format!("{name} does not exist")),
    }
}

/// `None` for a namespace that no runtime knows.
fn asked(namespace: &Namespace) -> Option<Asked<'_>> {
    match namespace {
        Namespace::Container(name) => Some(Asked::Container(name)),
        Namespace::Pod { namespace, name } => Some(Asked::Pod { namespace, name }),
        Namespace::Named(_) | Namespace::Process(_) => None,
    }
}

/// What names another runtime.
fn options(asked: Asked<'_>) -> &'static str {
    match asked {
        Asked::Container(_) => "`polycubed --container-socket` and `--cri-socket` name others",
        Asked::Pod { .. } => "`polycubed --cri-socket` names another",
    }
}

/// A text of a runtime, on one line that is not too long.
fn shortened(text: &str) -> String {
    let shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime(socket: &str, language: Language) -> Runtime {
        Runtime { socket: socket.into(), language, is_default: true }
    }

    #[test]
    fn answers_of_several_runtimes_come_to_one() {
        let (docker, cri) = (runtime("/d", Language::Docker), runtime("/c", Language::Cri));
        let runs = || Answer::Runs(Network::Process(7));
        let web = |one, other, failures: &[&str]| {
            let failures: Vec<_> = failures.iter().map(ToString::to_string).collect();
            conclude("container `web`", Asked::Container("web"), &[(&docker, one), (&cri, other)], &failures)
        };
        let gone = |why: &str| Known::Gone(why.to_owned());
        assert_eq!(web(runs(), Answer::Missing, &["/x: slow"]), Known::Runs(Home::Process(7)));
        let named = Answer::Runs(Network::Named("cni-1".to_owned()));
        assert_eq!(web(Answer::Stopped, named, &[]), Known::Runs(Home::Named("cni-1".to_owned())));
        assert_eq!(web(runs(), runs(), &[]), gone("/d and /c both have a container `web`: give its id"));
        assert_eq!(web(Answer::Missing, Answer::Stopped, &[]), gone("container `web` does not run"));
        assert_eq!(web(Answer::Missing, Answer::Missing, &[]), gone("container `web` does not exist"));
        let unknown = Known::Unknown("cannot look up container `web`: /x: slow".to_owned());
        assert_eq!(web(Answer::Missing, Answer::Stopped, &["/x: slow"]), unknown);
        assert!(matches!(web(runs(), Answer::Several, &[]), Known::Gone(why) if why.starts_with("more than one")));
        assert!(
            matches!(web(Answer::Runs(Network::Host), Answer::Missing, &[]), Known::Gone(why) if why.contains("host"))
        );
    }

    #[test]
    fn a_runtime_that_no_option_named_may_be_closed() {
        let denied = AskError::Connect(io::ErrorKind::PermissionDenied.into());
        let (docker, mut cri) = (runtime("/d", Language::Docker), runtime("/c", Language::Cri));
        assert!(cri.is_beside_another(&denied) && cri.is_beside_another(&AskError::Unimplemented(String::new())));
        assert!(!cri.is_beside_another(&AskError::Slow) && !docker.is_beside_another(&denied));
        cri.is_default = false;
        assert!(!cri.is_beside_another(&denied));
    }

    #[test]
    fn what_a_runtime_says_is_one_line_of_some_length() {
        assert_eq!(shortened("no\nsuch é"), "no such é");
        assert_eq!(shortened(&"é".repeat(LONGEST + 1)), format!("{}…", "é".repeat(LONGEST)));
    }
}
