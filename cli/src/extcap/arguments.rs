//! How Wireshark calls its extcap programs (extcap(4)).

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Parser};

/// Makes packetcapture cubes interfaces of Wireshark's.
///
/// Wireshark calls this program itself. To install it, copy or link it into Wireshark's extcap folder, which `tshark -G
/// folders` shows. POLYCUBECTL_URL, POLYCUBECTL_TOKEN and polycubectl's configuration file say where the daemon is.
#[derive(Debug, Parser)]
#[command(name = "polycube-extcap", version, arg_required_else_help = true)]
#[command(group = ArgGroup::new("question").required(true).multiple(true).args(
    ["extcap_interfaces", "extcap_dlts", "extcap_config", "capture", "extcap_capture_filter"]
))]
pub(super) struct Arguments {
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
    Interfaces,
    LinkTypes,
    Options,
    FilterIsValid,
    Capture { interface: &'a str, fifo: &'a Path },
}

impl Arguments {
    pub(super) fn task(&self) -> Task<'_> {
        match (&self.extcap_interface, &self.fifo) {
            (Some(interface), Some(fifo)) if self.capture => Task::Capture { interface, fifo },
            _ if self.extcap_interfaces => Task::Interfaces,
            _ if self.extcap_dlts => Task::LinkTypes,
            _ if self.extcap_config => Task::Options,
            _ => Task::FilterIsValid,
        }
    }
}
