//! Carries out a plan, and undoes it in reverse when a step fails.

use aya::programs::ProgramError;

use crate::datapath::{Datapath, DatapathError, Readers};
use crate::plan::{Cleanup, Plan, Step};
use crate::problem::Problem;
use crate::sys::bpf;
use crate::topology::CubeName;
use crate::wiring::{Source, Wiring};

/// The plugins' part in a change.
pub trait Cubes {
    /// # Errors
    /// The plugin's reason.
    fn prepare(&mut self, cube: &CubeName, wiring: &Wiring, datapath: &Datapath) -> Result<(), Problem>;
    fn abort(&mut self, cube: &CubeName);
    fn commit(&mut self, cube: &CubeName);
}

/// Brings the kernel from the wiring that `plan` starts at to `wiring`.
///
/// # Errors
/// The first step that failed, and why; everything before it is undone, and the datapath is as it was.
pub fn execute<'a>(
    plan: &'a Plan,
    wiring: &Wiring,
    datapath: &mut Datapath,
    cubes: &mut dyn Cubes,
) -> Result<(), (&'a Step, Problem)> {
    for (done, step) in plan.steps.iter().enumerate() {
        if let Err(problem) = forward(step, wiring, datapath, cubes) {
            tracing::debug!(?step, ?problem, "undoing");
            undo(&plan.steps[..=done], datapath, cubes);
            return Err((step, problem));
        }
    }
    let mut readers = Readers::MayRun;
    for step in &plan.cleanup {
        clean(step, &mut readers, datapath, cubes);
    }
    Ok(())
}

fn forward(step: &Step, wiring: &Wiring, datapath: &mut Datapath, cubes: &mut dyn Cubes) -> Result<(), Problem> {
    match step {
        Step::CreateMap(map) => datapath.create_map(map, &wiring.maps[map]).map_err(|e| refused(map.cube.as_str(), &e)),
        Step::Load(node) => datapath.load(node, &wiring.nodes[node]).map_err(|e| refused(node.key.cube.as_str(), &e)),
        Step::Prepare(cube) => cubes.prepare(cube, wiring, datapath),
        Step::LoadRoot(hook, port) => datapath.load_root(hook, *port).map_err(|e| refused(&hook.netdev.name, &e)),
        Step::SetRootPort { hook, port, .. } => {
            datapath.set_root_port(hook, *port).map_err(|e| refused(&hook.netdev.name, &e))
        }
        Step::SetPort { map, port, ifindex, .. } => {
            datapath.set_port(map, *port, *ifindex).map_err(|e| refused(map.cube.as_str(), &e))
        }
        Step::Link { from, to, .. } => datapath.link(from, to.as_ref()).map_err(|e| refused(place(from), &e)),
        Step::Attach(hook) => datapath.attach(hook).map_err(|e| refused(&hook.netdev.name, &e)),
        Step::AwaitAttach(hook) => datapath.await_attach(hook).map_err(|e| refused(&hook.netdev.name, &e)),
        Step::Wait => {
            settle(&mut true);
            Ok(())
        }
    }
}

/// Undoes `steps`, the last of which may be half done: each undoing step takes an absent thing for a thing undone.
fn undo(steps: &[Step], datapath: &mut Datapath, cubes: &mut dyn Cubes) {
    let mut unlinked = false;
    for step in steps.iter().rev() {
        let undone = match step {
            Step::Attach(hook) => {
                unlinked |= datapath.detach(hook) == Readers::MayRun;
                Ok(())
            }
            Step::AwaitAttach(_) => Ok(()),
            Step::Link { from, was, .. } => {
                unlinked = true;
                datapath.link(from, was.as_ref())
            }
            Step::SetPort { map, port, was, .. } => datapath.set_port(map, *port, *was),
            Step::SetRootPort { hook, was, .. } => datapath.set_root_port(hook, *was),
            Step::LoadRoot(hook, _) => {
                settle(&mut unlinked);
                datapath.unload_root(hook);
                Ok(())
            }
            Step::Prepare(cube) => {
                settle(&mut unlinked);
                cubes.abort(cube);
                Ok(())
            }
            Step::Load(node) => {
                settle(&mut unlinked);
                datapath.unload(node);
                Ok(())
            }
            Step::CreateMap(map) => {
                datapath.drop_map(map);
                Ok(())
            }
            Step::Wait => {
                settle(&mut true);
                Ok(())
            }
        };
        if let Err(error) = undone {
            tracing::error!(?step, %error, "cannot undo a step: restart the daemon to get a clean datapath");
        }
    }
}

/// `readers` are of what the plan's steps unlinked: where a hook's detachment saw them out, nobody waits once more.
fn clean(step: &Cleanup, readers: &mut Readers, datapath: &mut Datapath, cubes: &mut dyn Cubes) {
    match step {
        Cleanup::Detach(hook) => {
            if datapath.detach(hook) == Readers::SeenOut {
                *readers = Readers::SeenOut;
            }
        }
        Cleanup::Wait => settle(&mut (*readers == Readers::MayRun)),
        Cleanup::UnloadRoot(hook) => datapath.unload_root(hook),
        Cleanup::Unload(node) => datapath.unload(node),
        Cleanup::Commit(cube) => cubes.commit(cube),
        Cleanup::DropMap(map) => datapath.drop_map(map),
    }
}

fn settle(unlinked: &mut bool) {
    if std::mem::take(unlinked) {
        bpf::wait_for_programs();
    }
}

fn place(source: &Source) -> &str {
    match source {
        Source::Root(hook) => &hook.netdev.name,
        Source::Node(node) | Source::Accept(node) => node.key.cube.as_str(),
    }
}

fn refused(path: &str, error: &DatapathError) -> Problem {
    if let DatapathError::Refused { what, source } = error {
        tracing::error!(what, log = source.log, "the verifier's log");
    }
    match error {
        DatapathError::Attach { netdev, source: ProgramError::IOError(error) }
            if error.raw_os_error() == Some(libc::ENODEV) =>
        {
            Problem::missing(path, format!("netdev `{netdev}` went away meanwhile"))
        }
        DatapathError::Taken { .. } => Problem::bad(path, error.to_string()),
        _ => Problem::failed(path, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::problem::ErrorTag;

    #[test]
    fn netdevs_that_go_or_are_taken_are_no_mistakes_of_ours() {
        let tag = |errno| {
            let source = ProgramError::IOError(io::Error::from_raw_os_error(errno));
            refused("veth1", &DatapathError::Attach { netdev: "veth1".to_owned(), source }).tag
        };
        assert_eq!(tag(libc::ENODEV), ErrorTag::DataMissing);
        assert_eq!(tag(libc::ENOMEM), ErrorTag::OperationFailed);
        let taken = DatapathError::Taken { netdev: "veth1".to_owned(), kind: "ingress".to_owned() };
        assert_eq!(refused("veth1", &taken).tag, ErrorTag::BadAttribute);
    }
}
