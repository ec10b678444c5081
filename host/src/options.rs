//! Command line of the daemon, and its configuration file. Every path can be set, so that several daemons run side by side.

mod file;
#[cfg(test)]
mod man;
mod over_ip;
mod size;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use self::file::Fault;
pub(crate) use self::over_ip::OverIp;
use self::size::Size;

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

    /// Read the flags below from this file too, in TOML, with the names that they have here, as in `port = 9000`; flags that
    /// are given win [default: /etc/polycube/polycubed.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

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
    #[arg(long, value_name = "DIR", default_value = "/var/lib/polycube", global = true)]
    pub state_dir: PathBuf,

    /// Store nothing, and leave nothing behind: neither cubes for the next start nor programs in the kernel
    #[arg(long)]
    pub ephemeral: bool,

    /// Where the daemon pins programs and maps: a directory in a bpf filesystem that nothing else uses
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/polycube", global = true)]
    pub bpffs: PathBuf,

    /// Configurations (*.yaml) that are applied at start, all of them as one change, as `polycubectl config apply` would
    /// [default: /etc/polycube/conf.d if it exists; none with --ephemeral]
    #[arg(long, value_name = "DIR")]
    pub conf_dir: Option<PathBuf>,

    /// Where plugins (libpcn_*.so) are; may be repeated [default: beside the executable, then
    /// lib/polycube/plugins of its prefix, or of /usr]
    #[arg(long, value_name = "DIR")]
    pub plugin_dir: Vec<PathBuf>,

    /// Where captures are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub capture_dir: PathBuf,

    /// Another directory for captures, besides --capture-dir, that clients may choose with `dump=`; may be repeated, and `/`
    /// allows every path
    #[arg(long, value_name = "DIR")]
    pub capture_root: Vec<PathBuf>,

    /// Memory of all captures together, such as 2GiB, for their rings and for packets that wait for a disk; a number without a
    /// unit is MiB [default: a quarter of the machine's memory, and at least 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = Size::parse_some)]
    pub capture_memory: Option<Size>,

    /// Space that captures leave free on each disk, such as 500MB; a number without a unit is MiB, and 0 leaves none [default:
    /// 5 % of the disk, and at most 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = Size::parse)]
    pub capture_floor: Option<Size>,

    /// Serve the packets of all captures by PCAP-over-IP, from the first capture on: every client that connects to this TCP
    /// port of 127.0.0.1, or to ADDRESS:PORT, gets them in pcap, or in the format after the slash, without a token. A capture's
    /// own `pcap-over-ip` comes before it [default: only captures that ask for it are served]
    #[arg(long, value_name = "[ADDRESS:]PORT[/FORMAT]")]
    pub pcap_over_ip: Option<OverIp>,

    /// Unix socket of a container runtime with Docker's API, for places such as `container:web`; may be repeated
    /// [default: /run/docker.sock and /run/podman/podman.sock]
    #[arg(long, value_name = "PATH")]
    pub container_socket: Vec<PathBuf>,

    /// Unix socket of a container runtime with the API of Kubernetes (CRI), for places such as `pod:default/web`; may be
    /// repeated [default: those of containerd, CRI-O and K3s]
    #[arg(long, value_name = "PATH")]
    pub cri_socket: Vec<PathBuf>,

    /// File with the token that TCP clients have to send, in its first line, or with a [[token]] for each client, which has
    /// a name and a role
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

    /// Serve the process at the other end of standard input alone, with everything in this directory and in a mount namespace
    /// of the daemon's own, until that end is closed: `polycubectl capture` starts a daemon so
    #[arg(long, value_name = "DIR", hide = true, conflicts_with_all = ["addr", "port", "conf_dir"])]
    pub private: Option<PathBuf>,

    /// Fail at this place: for tests
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "PLACE", hide = true)]
    pub fault: Option<String>,

    /// What to log, besides what cubes say by their own loglevel: error, warn, info, debug, trace, off, or a tracing filter
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,

    /// How to write the log [default: to the journal, with fields, where stderr leads there; else text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
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
        let bytes = |Size(bytes): Size| bytes;
        Ok(CaptureDirs {
            dir: absolute("--capture-dir", &self.capture_dir)?,
            roots: roots.collect::<Result<_>>()?,
            memory: self.capture_memory.map(bytes),
            floor: self.capture_floor.map(bytes),
            group: group_id(GROUP),
            over_ip: self.pcap_over_ip.as_ref().map(|over_ip| over_ip.text.clone()),
        })
    }
}

/// What to do instead of running.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Check the configuration file, tokens, certificates and plugins, without starting
    Check,
    /// Load a plugin for a moment and print, as JSON, what it is, what it takes and what it would have loaded into the kernel;
    /// `polycubectl plugin check` shows that
    CheckPlugin {
        /// The plugin, wherever it is
        file: PathBuf,
    },
    /// Remove what a daemon that is not running left in the kernel: programs, maps, pins, links between cubes. What is
    /// stored stays
    Cleanup {
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// Why there are no options.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    #[error("--config {}", file.display())]
    Read { file: PathBuf, source: io::Error },
    /// Everything that is wrong with the file.
    #[error("{}", .0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))]
    File(Vec<Fault>),
}

/// The options, of the command line and of the file.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub options: Options,
    /// The file that was looked for.
    pub file: PathBuf,
    /// The values of all flags, as they were written, by flag.
    settings: BTreeMap<String, Vec<OsString>>,
}

impl Loaded {
    /// Reads a command line, which begins with the program, and the file that it names.
    ///
    /// # Errors
    /// What is wrong with one of them, or help or the version, which clap calls an error too.
    pub(crate) fn read(words: &[OsString]) -> Result<Self, LoadError> {
        let command = Options::command();
        let given = command.clone().try_get_matches_from(words)?;
        let named = given.get_one::<PathBuf>("config").cloned();
        let is_optional = named.is_none();
        let file = named.unwrap_or_else(|| file::DEFAULT.into());
        let text = file::read(&file, is_optional).map_err(|source| LoadError::Read { file: file.clone(), source })?;
        let found = file::settings(&command, &file, &text).map_err(LoadError::File)?;
        let is_new = |setting: &&file::Setting| !is_given(&given, &setting.flag);
        let (program, rest) = words.split_at(words.len().min(1));
        let of_file = found.iter().filter(is_new).flat_map(|setting| &setting.words);
        let all: Vec<&OsString> = program.iter().chain(of_file).chain(rest).collect();
        // Each word is sound by itself, so what is wrong now is how they go together.
        let matches = command.try_get_matches_from(all);
        let conflict =
            |error: clap::Error| LoadError::File(vec![file::conflict(&file, &found, &one_line(&error.to_string()))]);
        let matches = matches.map_err(conflict)?;
        let options = Options::from_arg_matches(&matches).map_err(conflict)?;
        Ok(Self { options, file, settings: settings(&matches) })
    }

    /// The flags that `other` has other values for.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let differs = |(flag, value): &(&String, &Vec<OsString>)| other.settings.get(*flag) != Some(value);
        self.settings.iter().filter(differs).map(|(flag, _)| flag.as_str()).collect()
    }
}

fn is_given(matches: &ArgMatches, flag: &str) -> bool {
    matches.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine)
}

/// The values of all flags, as they were written.
fn settings(matches: &ArgMatches) -> BTreeMap<String, Vec<OsString>> {
    let command = Options::command();
    let flags = file::keys(&command).filter_map(|arg| {
        let values = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
        Some((arg.get_long()?.to_owned(), values.map(ToOwned::to_owned).collect()))
    });
    flags.collect()
}

/// What clap says of a wrong command line, without the usage: `--help` has it.
pub(crate) fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let kept = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let kept: Vec<&str> = kept.map(|line| line.trim_start_matches("error: ").trim_start_matches("tip: ")).collect();
    kept.join("; ")
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
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
        assert_eq!((options.log.as_str(), options.log_format, options.attach), ("info", None, None));
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
        let given = dirs("--capture-memory 3GiB --capture-floor=500MB");
        assert_eq!((given.memory, given.floor), (Some(3 << 30), Some(500_000_000)));
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
            ("--capture-memory 0", "it must be more than 0"),
            ("--capture-floor 1h", "it is not a size: give MiB, or a unit"),
            ("--addr localhost", "invalid IP address"),
            ("veth1", "unrecognized subcommand"),
        ] {
            let message = parse(words).err().unwrap_or_default();
            assert!(message.contains(expected), "{words}: {message}");
        }
    }

    /// Loads a command line and the text of a file; the words that the file stands for, or what is wrong.
    fn load(words: &str, text: &str) -> Result<Loaded, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("p.toml");
        std::fs::write(&file, text).unwrap();
        let config = format!("--config={}", file.display());
        let words = ["polycubed", &config].into_iter().chain(words.split_whitespace()).map(OsString::from);
        let loaded = Loaded::read(&words.collect::<Vec<_>>());
        loaded.map_err(|error| error.to_string().replace(&format!("{}/", directory.path().display()), ""))
    }

    #[test]
    fn the_file_has_what_the_command_line_has() {
        let text =
            "port = 9001\nsocket = \"/s\"\nno-auth = true\nplugin-dir = [\"/a\", \"/b\"]\nlog-format = \"json\"\n";
        let options = load("", text).unwrap().options;
        assert_eq!((options.port, options.socket.as_path(), options.no_auth), (Some(9001), Path::new("/s"), true));
        assert_eq!(options.plugin_dir, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(options.log_format, Some(LogFormat::Json));
        assert!(!load("", "no-auth = false").unwrap().options.no_auth);
        let memory = |text| load("", text).unwrap().options.capture_memory;
        assert_eq!(memory("capture-memory = 3"), Some(Size(3 << 20)));
        assert_eq!(memory("capture-memory = '3GiB'"), Some(Size(3 << 30)));
        assert_eq!(load("check", "port = 1").unwrap().options.command, Some(Command::Check));
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "port = 9001\nplugin-dir = [\"/a\"]\nlog = \"warn\"\n";
        let options = load("--port 5 --plugin-dir /x --plugin-dir /y", text).unwrap().options;
        assert_eq!((options.port, options.log.as_str()), (Some(5), "warn"));
        assert_eq!(options.plugin_dir, ["/x", "/y"].map(PathBuf::from), "lists are not joined");
        // The short form is the same flag.
        assert_eq!(load("-p 5", text).unwrap().options.port, Some(5));
    }

    #[test]
    fn faults_of_the_file_have_their_places() {
        for (text, expected) in [
            ("prot = 1", "p.toml:1:1: `prot` is not known: is `port` meant?"),
            ("capture_dir = '/c'", "p.toml:1:1: `capture_dir` is not known: is `capture-dir` meant?"),
            ("\nconfig = '/x'", "p.toml:2:1: `config` is not known"),
            ("port = '9000'", "p.toml:1:8: `port` must be a number, and this is a value of type string"),
            ("port = 70000", "p.toml:1:8: invalid value '70000'"),
            ("capture-floor = '1h'", "p.toml:1:17: invalid value '1h' for '--capture-floor <SIZE>': it is not a size"),
            (
                "capture-floor = true",
                "p.toml:1:17: `capture-floor` must be a number of MiB, or a size such as \"2GiB\"",
            ),
            ("log = 5", "p.toml:1:7: `log` must be a string, and this is a value of type integer"),
            ("no-auth = 'yes'", "p.toml:1:11: `no-auth` must be true or false"),
            ("plugin-dir = '/a'", "p.toml:1:14: `plugin-dir` must be an array of strings"),
            ("plugin-dir = ['/a', 5]", "p.toml:1:21: `plugin-dir` must be an array of strings"),
            ("addr = 'localhost'", "p.toml:1:8: invalid value 'localhost'"),
            ("attach = 'xdp'", "p.toml:1:10: invalid value 'xdp'"),
            ("keep-capability = ['CAP_ROOT']", "p.toml:1:20: invalid value 'CAP_ROOT'"),
            ("port = 1\nport = 2", "p.toml:2:1: "),
            ("port", "p.toml:1:5: "),
            ("[tcp]\nport = 1", "p.toml:1:2: `tcp` is not known"),
            ("no-auth = true\ntoken-file = 't'", "p.toml:2:1: the argument '--no-auth' cannot be used with"),
        ] {
            let message = load("", text).err().unwrap_or_default();
            assert!(message.starts_with(expected), "{text}: {message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
        let all = load("", "prot = 1\nlog = 5").err().unwrap();
        assert_eq!(all.lines().count(), 2, "every fault is reported: {all}");
        let conflict = load("--no-auth", "token-file = 't'").err().unwrap();
        assert!(conflict.starts_with("p.toml:1:1: the argument"), "{conflict}");
    }

    #[test]
    fn a_file_that_is_named_has_to_exist() {
        let words = ["polycubed", "--config", "/no/such/file"].map(OsString::from);
        let message = Loaded::read(&words).err().unwrap().to_string();
        assert_eq!(message, "--config /no/such/file");
    }

    /// Holds flags and keys together: a value of the flag's type is accepted for each, and for nothing else.
    #[test]
    fn every_flag_is_a_key() {
        let command = Options::command();
        let flags: Vec<&clap::Arg> = command.get_arguments().filter(|arg| arg.get_long().is_some()).collect();
        assert!(flags.len() > 15, "{}", flags.len());
        for arg in flags {
            let flag = arg.get_long().unwrap();
            let choices = arg.get_possible_values();
            let text = match flag {
                "addr" => "::1",
                "keep-capability" => "CAP_BPF",
                "pcap-over-ip" => "57012",
                _ => choices.first().map_or("x", |choice| choice.get_name()),
            };
            let line = match arg.get_action() {
                clap::ArgAction::SetTrue => format!("{flag} = true"),
                clap::ArgAction::Append => format!("{flag} = ['{text}', '{text}']"),
                _ if ["port", "capture-memory", "capture-floor"].contains(&flag) => format!("{flag} = 1"),
                _ => format!("{flag} = '{text}'"),
            };
            let loaded = load("", &line);
            if ["config", "help", "version"].contains(&flag) {
                assert!(loaded.is_err(), "{flag}");
                continue;
            }
            let (loaded, before) = (loaded.unwrap(), load("", "").unwrap());
            assert_eq!(loaded.differences(&before), [flag], "{line} sets its flag and nothing else");
            assert!(loaded.differences(&load("", &line).unwrap()).is_empty(), "{line}");
        }
    }
}
