//! What is known of the namespaces that selectors name.
//!
//! Names and processes are looked up here, which the kernel answers at once. Containers and pods are not: those that a
//! change names are looked up before the engine sees it, and a task looks again at those that are in use.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::{Engine, Handle};
use crate::containers::{Home, Known};
use crate::model::{Look, Looks};
use crate::netdev::Inside;
use crate::sys::namespaces;
use crate::topology::Namespace;

/// How often containers in use are looked at.
const PAUSE: Duration = Duration::from_secs(1);

impl Handle {
    /// Looks again and again at the containers that cubes are attached to.
    pub(crate) async fn keep_choosing(&self) {
        let mut pause = interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pause.tick().await;
            let used = self.view().model().namespaces();
            self.containers.keep(&used);
            if self.containers.look_up(&used).await {
                self.choose_again();
            }
        }
    }
}

impl Engine {
    /// What is known of `also`, and of the namespaces that cubes are attached to.
    pub(super) fn looks(&self, also: &BTreeSet<Namespace>) -> Looks {
        let used = self.reconciler.model().namespaces();
        used.union(also).map(|namespace| (namespace.clone(), self.look_at(namespace))).collect()
    }

    fn look_at(&self, namespace: &Namespace) -> Look {
        let found = match namespace {
            Namespace::Named(name) => namespaces::of_name(name),
            Namespace::Process(pid) => namespaces::of_process(*pid),
            Namespace::Container(_) | Namespace::Pod { .. } => match self.containers.known(namespace) {
                Known::Runs(Home::Process(pid)) => namespaces::of_process(pid),
                Known::Runs(Home::Named(name)) => namespaces::of_name(&name),
                Known::Gone(why) => return Look::Gone(why),
                Known::Unknown(why) => return Look::Unknown(why),
            },
        };
        look(namespace, found)
    }

    /// Logs what cubes wait for, once.
    pub(super) fn report_looks(&mut self, looks: &Looks) {
        for (namespace, look) in looks.iter().filter(|(namespace, look)| self.looked.get(*namespace) != Some(*look)) {
            match (self.looked.get(namespace), look) {
                (_, Look::Gone(why)) => tracing::info!(place = %namespace, "waits: {why}"),
                (_, Look::Unknown(why)) => {
                    tracing::info!(place = %namespace, "stays attached to what it stood for: {why}");
                }
                (Some(Look::Gone(_) | Look::Unknown(_)), Look::Found(_)) => {
                    tracing::info!(place = %namespace, "is there again");
                }
                (_, Look::Found(_)) => {}
            }
        }
        self.looked.clone_from(looks);
    }
}

fn look(namespace: &Namespace, found: io::Result<Inside>) -> Look {
    let error = match found {
        Ok(inside) => return Look::Found(inside),
        Err(error) => error,
    };
    let described = namespace.described();
    match (namespace, error.raw_os_error()) {
        (Namespace::Named(_), Some(libc::ENOENT)) => {
            Look::Gone(format!("{described} does not exist: `ip netns` lists those that do"))
        }
        (Namespace::Named(name), Some(libc::EINVAL)) => {
            Look::Gone(format!("/run/netns/{name} is not a network namespace"))
        }
        (Namespace::Process(_), Some(libc::ESRCH)) => Look::Gone(format!("{described} does not exist")),
        (Namespace::Container(_) | Namespace::Pod { .. }, Some(libc::ESRCH | libc::ENOENT)) => {
            Look::Gone(format!("{described} has ended"))
        }
        _ => Look::Unknown(format!("cannot look up `{namespace}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_differs_from_what_cannot_be_read() {
        let error = io::Error::from_raw_os_error;
        let web = || Namespace::Named("web".to_owned());
        let pod = || Namespace::Pod { namespace: "default".to_owned(), name: "web".to_owned() };
        assert_eq!(look(&web(), Ok(Inside::default())), Look::Found(Inside::default()));
        for (namespace, errno, expected) in [
            (web(), libc::ENOENT, Ok("network namespace `web` does not exist: `ip netns` lists those that do")),
            (web(), libc::EINVAL, Ok("/run/netns/web is not a network namespace")),
            (Namespace::Process(12), libc::ESRCH, Ok("process 12 does not exist")),
            (Namespace::Container("web".to_owned()), libc::ESRCH, Ok("container `web` has ended")),
            (pod(), libc::ENOENT, Ok("pod `default/web` has ended")),
            (web(), libc::EACCES, Err("cannot look up `netns:web`: Permission denied (os error 13)")),
        ] {
            let expected = expected.map_or_else(|why| Look::Unknown(why.to_owned()), |why| Look::Gone(why.to_owned()));
            assert_eq!(look(&namespace, Err(error(errno))), expected);
        }
    }
}
