//! Command line of the daemon. Every path can be set, so that several daemons run side by side.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use crate::datapath::AttachMode;
use crate::plugins::CaptureDirs;
use crate::sys::capabilities::{self, CapabilitySet};
use crate::sys::process::{GROUP, group_id};

/// Where a distribution puts configurations.
const CONF_DIR: &str = "/etc/polycube/conf.d";

/// Hosts network functions as plugins and chains their eBPF programs into the path of a port
#[derive(Debug, Parser)]
#[command(name = "polycubed", version, disable_help_subcommand = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Listen on TCP, at this address; needs --token-file, --no-auth or, with TLS, --cacert [default: 127.0.0.1 when
    /// --port is given]
    #[arg(long, value_name = "ADDRESS")]
    pub addr: Option<IpAddr>,

    /// TCP port [default: 9000 when --addr is given]
    #[arg(long, short)]
    pub port: Option<u16>,

    /// Unix socket to listen on
    #[arg(long, value_name = "PATH", default_value = "/run/polycube/polycubed.sock")]
    pub socket: PathBuf,

    /// Where the daemon keeps its own files
    #[arg(long, value_name = "DIR", default_value = "/var/lib/polycube")]
    pub state_dir: PathBuf,

    /// Store nothing, and leave nothing behind: neither cubes for the next start nor programs in the kernel
    #[arg(long)]
    pub ephemeral: bool,

    /// Where the daemon pins programs and maps: a directory in a bpf filesystem that nothing else uses
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/polycube")]
    pub bpffs: PathBuf,

    /// Configurations (*.yaml) that are applied at start, all of them as one change, as `polycubectl config apply` would
    /// [default: /etc/polycube/conf.d if it exists; none with --ephemeral]
    #[arg(long, value_name = "DIR")]
    pub conf_dir: Option<PathBuf>,

    /// Where plugins (libpcn_*.so) are [default: beside the executable, then /usr/lib/polycube/plugins]
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Option<PathBuf>,

    /// Where captures are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub capture_dir: PathBuf,

    /// Another directory for captures, besides --capture-dir, that clients may choose with `dump=`; may be repeated, and `/`
    /// allows every path
    #[arg(long, value_name = "DIR")]
    pub capture_root: Vec<PathBuf>,

    /// Memory of all captures together, in MiB, for their rings and for packets that wait for a disk [default: a quarter of
    /// the machine's memory, and at least 512]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    pub capture_memory: Option<u64>,

    /// Space that captures leave free on each disk, in MiB; 0 is none [default: 5 % of the disk, and at most 1024]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(..1 << 40))]
    pub capture_floor: Option<u64>,

    /// File whose first line TCP clients have to send as their bearer token
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub token_file: Option<PathBuf>,

    /// TLS on the TCP port: the daemon's certificate, in PEM, followed by those between it and its CA; needs --key
    #[arg(long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// The private key of --cert, in PEM
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Let in clients whose certificates these CAs have signed; needs --cert. With --token-file, a client needs one of
    /// the two: certificate or token
    #[arg(long, value_name = "FILE", conflicts_with = "no_auth")]
    pub cacert: Option<PathBuf>,

    /// Require neither token nor certificate on the TCP port: for labs
    #[arg(long)]
    pub no_auth: bool,

    /// Keep this capability, such as CAP_SYS_ADMIN, for a plugin that needs it; may be repeated. At start, the daemon gives
    /// up all capabilities that it does not need itself
    #[arg(long, value_name = "NAME", value_parser = capabilities::parse)]
    pub keep_capability: Vec<CapabilitySet>,

    /// How to attach to netdevs [default: tcx, or clsact before Linux 6.6]
    #[arg(long, value_name = "HOW")]
    pub attach: Option<AttachMode>,

    /// Fail at this place: for tests
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "PLACE", hide = true)]
    pub fault: Option<String>,

    /// What to log, besides what cubes say by their own loglevel: error, warn, info, debug, trace, off, or a tracing filter
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,

    /// How to write the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl Options {
    /// The capabilities that plugins need.
    pub(crate) fn kept_capabilities(&self) -> CapabilitySet {
        self.keep_capability.iter().copied().collect()
    }

    /// The directory of configurations, if there is one.
    pub(crate) fn conf_dir(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(CONF_DIR)).filter(|directory| !self.ephemeral && directory.is_dir());
        self.conf_dir.clone().or_else(default)
    }

    /// The directories of captures, absolute, and what captures may use.
    ///
    /// # Errors
    /// The current directory cannot be determined.
    pub(crate) fn capture_dirs(&self) -> Result<CaptureDirs> {
        let absolute =
            |flag: &str, path: &Path| std::path::absolute(path).with_context(|| format!("{flag} {}", path.display()));
        let roots = self.capture_root.iter().map(|path| absolute("--capture-root", path));
        let bytes = |mebibytes: u64| mebibytes << 20;
        Ok(CaptureDirs {
            dir: absolute("--capture-dir", &self.capture_dir)?,
            roots: roots.collect::<Result<_>>()?,
            memory: self.capture_memory.map(bytes),
            floor: self.capture_floor.map(bytes),
            group: group_id(GROUP),
        })
    }
}

/// What to do instead of running the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Command {
    /// Remove what a daemon that is not running left in the kernel: programs, maps, pins, links between cubes. What is
    /// stored stays
    Cleanup {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Options, String> {
        let words = std::iter::once("polycubed").chain(words.split_whitespace());
        Options::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn without_options_the_daemon_is_local() {
        let options = parse("").unwrap();
        assert_eq!((options.addr, options.port, &options.token_file), (None, None, &None));
        assert_eq!(options.socket, Path::new("/run/polycube/polycubed.sock"));
        assert_eq!(options.bpffs, Path::new("/sys/fs/bpf/polycube"));
        assert_eq!((options.log.as_str(), options.log_format, options.attach), ("info", LogFormat::Text, None));
        assert!(options.kept_capabilities().is_empty());
    }

    #[test]
    fn directories_of_captures_are_absolute() {
        let here = std::env::current_dir().unwrap();
        let dirs = |words: &str| parse(words).unwrap().capture_dirs().unwrap();
        assert_eq!(dirs("").dir, here);
        assert!(dirs("").roots.is_empty());
        let given = dirs("--capture-dir caps --capture-root /mnt/one --capture-root ./two");
        assert_eq!(given.dir, here.join("caps"));
        assert_eq!(given.roots, [PathBuf::from("/mnt/one"), here.join("two")]);
        assert_eq!((given.memory, given.floor), (None, None));
        let given = dirs("--capture-memory 3 --capture-floor 0");
        assert_eq!((given.memory, given.floor), (Some(3 << 20), Some(0)));
    }

    #[test]
    fn capabilities_add_up() {
        let options = parse("--keep-capability sys_admin --keep-capability CAP_NET_RAW").unwrap();
        assert_eq!(options.kept_capabilities(), CapabilitySet::SYS_ADMIN | CapabilitySet::NET_RAW);
    }

    #[test]
    fn options_that_contradict_each_other_or_mean_nothing_are_refused() {
        for (words, expected) in [
            ("--no-auth --token-file t", "cannot be used with"),
            ("--no-auth --cacert ca.pem", "cannot be used with"),
            ("--keep-capability CAP_ROOT", "is not a capability"),
            ("--attach xdp", "[possible values: tcx, clsact]"),
            ("--log-format xml", "[possible values: text, json]"),
            ("--port 65536", "65536 is not in 0..=65535"),
            ("--addr localhost", "invalid IP address"),
            ("veth1", "unrecognized subcommand"),
        ] {
            let message = parse(words).err().unwrap_or_default();
            assert!(message.contains(expected), "{words}: {message}");
        }
    }
}
