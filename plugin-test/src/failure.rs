//! Why a call of the kit does not succeed, in the words that a user of the daemon's API would read.

use std::fmt;
use std::io;
use std::path::PathBuf;

use polycube_loader::LoadError;
use polycube_loader::described::Fault;
use polycube_plugin_api::Refusal;
use polycube_schema::ModelError;
use polycube_schema::problem::Problems;

use crate::Place;

/// Bytes of an Ethernet header.
const HEADER: usize = 14;

/// Why a call does not succeed. A test that returns one prints it as text, with the verifier's log if there is one.
#[derive(thiserror::Error)]
pub enum Failure {
    /// The daemon would not load the service.
    #[error("{0}")]
    Service(#[from] ModelError),
    /// The plugin cannot describe its service.
    #[error("the plugin cannot describe its service: {0}")]
    Description(String),
    /// The daemon would refuse the configuration or the input before it asks the plugin.
    #[error("{}", in_lines(.0))]
    Invalid(Problems),
    /// The plugin refuses.
    #[error("{}{}", place_of(.0), .0.message)]
    Refused(Refusal),
    /// The plugin panicked, now or earlier: its cube is not called again.
    #[error("the plugin failed ({0}): fix the plugin, and create the cube again")]
    Panicked(String),
    /// The plugin's answer is not what the border requires.
    #[error("the plugin's answer is not JSON of the expected form: {0}")]
    Malformed(String),
    /// The daemon would refuse the datapath that the plugin describes.
    #[error("the datapath of service `{service}` cannot be used: {fault}")]
    Unusable {
        /// The service.
        service: String,
        /// What is wrong.
        fault: Fault,
    },
    /// The kernel does not take the datapath.
    #[error("{0}")]
    Load(#[from] LoadError),
    /// A packet is to come in where the cube has no program.
    #[error("the cube has no program at {place}; it has some at: {}", .known.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    NoProgram {
        /// Where the packet was to come in.
        place: Place,
        /// Where it could.
        known: Vec<Place>,
    },
    /// The kernel does not run a program over the frame.
    #[error("the kernel does not run a program over a frame of {length} bytes: {source}{}", if *length < HEADER { "; give it an Ethernet header" } else { "" })]
    Run {
        /// Bytes of the frame.
        length: usize,
        /// What the kernel says.
        source: io::Error,
    },
    /// A map cannot be handed over, or a slot not be set.
    #[error("cannot {what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// The test may not load programs.
    #[error(
        "loading eBPF programs needs root, or the capabilities CAP_BPF and CAP_NET_ADMIN: run the tests as root, for \
         example with CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='sudo -E'"
    )]
    NotPermitted,
    /// A file of packets cannot be read or written.
    #[error("{}: {reason}", .path.display())]
    Pcap {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Self::Load(LoadError::Refused { source, .. }) = self {
            write!(f, "\nthe verifier's log:\n{}", source.log.trim_end())?;
        }
        Ok(())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Invalid(problems)
    }
}

fn in_lines(problems: &Problems) -> String {
    let line = |problem: &polycube_schema::problem::Problem| match problem.path.as_str() {
        "" => problem.to_string(),
        path => format!("{path}: {problem}"),
    };
    problems.0.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn place_of(refusal: &Refusal) -> String {
    if refusal.path.is_empty() { String::new() } else { format!("{}: ", refusal.path) }
}
