//! How Wireshark calls its extcap programs (extcap(4)).

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Parser};

use crate::wireshark::Whose;

/// Makes packetcapture cubes interfaces of Wireshark's.
///
/// Wireshark calls this program itself, once --install has linked it into the folder that your Wireshark reads. POLYCUBECTL_URL, POLYCUBECTL_TOKEN and polycubectl's configuration file say where the daemon is.
#[derive(Debug, Parser)]
#[command(name = "polycube-extcap", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("question").required(true).multiple(true).args(
    ["extcap_interfaces", "extcap_dlts", "extcap_config", "capture", "extcap_capture_filter", "install", "uninstall"]
))]
pub(super) struct Arguments {
    /// Link this program into Wireshark's folder, so that Wireshark lists captures
    #[arg(long, conflicts_with = "uninstall")]
    install: bool,
    /// Remove that link
    #[arg(long)]
    uninstall: bool,
    /// With --install and --uninstall: for all users, as root
    #[arg(long)]
    system: bool,
    /// List the cubes
    #[arg(long)]
    extcap_interfaces: bool,
    /// Version of Wireshark
    #[arg(long, value_name = "VERSION")]
    extcap_version: Option<String>,
    /// Cube that the rest is about
    #[arg(long, value_name = "INTERFACE")]
    extcap_interface: Option<String>,
    /// List the link types of a cube
    #[arg(long, requires = "extcap_interface")]
    extcap_dlts: bool,
    /// List the options of a cube
    #[arg(long, requires = "extcap_interface")]
    extcap_config: bool,
    /// Write the cube's packets into the pipe until it is closed
    #[arg(long, requires = "extcap_interface", requires = "fifo")]
    capture: bool,
    /// Named pipe to write into
    #[arg(long, value_name = "PIPE")]
    fifo: Option<PathBuf>,
    /// Filter to set on the cube; if both filters are given, both must match
    #[arg(long, value_name = "FILTER", requires = "extcap_interface")]
    pub(super) extcap_capture_filter: Option<String>,
    /// Filter to set on the cube
    #[arg(long, value_name = "FILTER")]
    pub(super) filter: Option<String>,
    /// Snap length to set on the cube
    #[arg(long, value_name = "BYTES")]
    pub(super) snaplen: Option<u32>,
}

/// What is asked.
#[derive(Debug, PartialEq)]
pub(super) enum Task<'a> {
    Install(Whose),
    Uninstall(Whose),
    Interfaces,
    LinkTypes,
    Options,
    FilterIsValid,
    Capture { interface: &'a str, fifo: &'a Path },
}

impl Arguments {
    pub(super) fn task(&self) -> Task<'_> {
        let whose = if self.system { Whose::System } else { Whose::Own };
        match (&self.extcap_interface, &self.fifo) {
            _ if self.install => Task::Install(whose),
            _ if self.uninstall => Task::Uninstall(whose),
            (Some(interface), Some(fifo)) if self.capture => Task::Capture { interface, fifo },
            _ if self.extcap_interfaces => Task::Interfaces,
            _ if self.extcap_dlts => Task::LinkTypes,
            _ if self.extcap_config => Task::Options,
            _ => Task::FilterIsValid,
        }
    }
}
