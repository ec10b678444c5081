//! Capabilities (capabilities(7)): those that the daemon needs, and giving up the rest.

use std::io;

pub(crate) use rustix::thread::CapabilitySet;
use rustix::thread::{
    CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// What the names of all capabilities begin with.
const PREFIX: &str = "CAP_";

/// Needed to load and attach programs. Without CAP_PERFMON, the verifier refuses those with filters (`allow_ptr_leaks` in
/// kernel/bpf/verifier.c).
const REQUIRED: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// Kept if the process has it, because captures may be written to directories of other users, such as the current directory
/// of a user who runs sudo.
const OPTIONAL: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// The process does not have the right capabilities.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CapabilityError {
    #[error("{0:?} is not a capability: use a name from capabilities(7), such as CAP_SYS_ADMIN")]
    Unknown(String),
    #[error(
        "lacks {missing}, needed to load programs into the kernel: start it with sudo, or grant a user {required} \
         (systemd: AmbientCapabilities=)"
    )]
    Missing { missing: String, required: String },
    #[error("--keep-capability {0}: the daemon was started without it")]
    NotHeld(String),
    #[error("cannot {what}")]
    Kernel { what: &'static str, source: io::Error },
}

/// A capability's name, with or without `CAP_`, in any case.
///
/// # Errors
/// There is none of that name.
pub(crate) fn parse(name: &str) -> Result<CapabilitySet, CapabilityError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix(PREFIX).unwrap_or(&upper);
    CapabilitySet::from_name(bare).ok_or_else(|| CapabilityError::Unknown(name.to_owned()))
}

/// Checks that the process can do its work.
///
/// # Errors
/// Which capabilities are missing.
pub(crate) fn check(keep: CapabilitySet) -> Result<(), CapabilityError> {
    let held = held()?;
    let missing = REQUIRED.difference(held.effective);
    if !missing.is_empty() {
        return Err(CapabilityError::Missing { missing: names(missing), required: names(REQUIRED) });
    }
    let missing = keep.difference(held.permitted);
    if missing.is_empty() { Ok(()) } else { Err(CapabilityError::NotHeld(names(missing))) }
}

/// Gives up, for good, this thread's capabilities, except for `keep` and those that the daemon needs while it runs. On
/// Linux, each thread has its own capabilities and inherits them from the thread that creates it, so no other thread may
/// exist yet.
///
/// # Errors
/// What the kernel says.
pub(crate) fn restrict(keep: CapabilitySet) -> Result<(), CapabilityError> {
    let kernel = |what| move |error: rustix::io::Errno| CapabilityError::Kernel { what, source: error.into() };
    let held = held()?;
    let kept = REQUIRED.union(OPTIONAL).union(keep).intersection(held.permitted);
    // The bounding set limits what a program that is executed can regain. It cannot be changed without CAP_SETPCAP;
    // `no_new_privs` then is enough.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        // The kernel may know more capabilities than rustix has names. It answers EINVAL after its last one.
        for capability in (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
            match capability_is_in_bounding_set(capability) {
                Ok(true) => remove_capability_from_bounding_set(capability)
                    .map_err(kernel("clear the bounding set of capabilities"))?,
                Ok(false) => {}
                Err(_) => break,
            }
        }
    }
    clear_ambient_capability_set().map_err(kernel("clear the ambient capabilities"))?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).map_err(kernel("give up capabilities"))?;
    set_no_new_privs(true).map_err(kernel("set no_new_privs"))?;
    tracing::debug!(kept = names(kept), "gave up the other capabilities");
    Ok(())
}

fn held() -> Result<CapabilitySets, CapabilityError> {
    let read = |error: rustix::io::Errno| CapabilityError::Kernel { what: "read capabilities", source: error.into() };
    capabilities(None).map_err(read)
}

fn names(set: CapabilitySet) -> String {
    let names = set.iter_names().map(|(name, _)| format!("{PREFIX}{name}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_manual_page() {
        for name in ["CAP_SYS_ADMIN", "cap_sys_admin", "SYS_ADMIN", "sys_admin"] {
            assert_eq!(parse(name).unwrap(), CapabilitySet::SYS_ADMIN, "{name}");
        }
        for name in ["", "CAP_", "CAP_ROOT", "CAP_CAP_SYS_ADMIN", "SYS_ADMIN,BPF", "_", "0x1"] {
            assert!(parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn capabilities_are_listed_by_name() {
        assert_eq!(names(REQUIRED), "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF");
    }
}
