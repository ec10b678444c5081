//! Failures and exit codes.

use std::io;

use polycube_api::without_numbers;

use crate::address::AddressError;
use crate::client::{ClientError, FileError};
use crate::config::ConfigError;
use crate::grammar::{Mistake, UsageError};
use crate::input::InputError;
use crate::private::PrivateError;
use crate::project::{BuildError, CheckError, NewError, PlaceError};
use crate::records::RecordError;
use crate::records::blocks::BlockError;
use crate::refusal::Refusal;
use crate::terminal::{Colour, paint};
use crate::token::TokenError;
use crate::wireshark::InstallError;

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("polycubectl: {0}{hint}", hint = .0.hint().map_or_else(String::new, |hint| format!("\n{hint}")))]
    Usage(#[from] Mistake),
    #[error("polycubectl: {0}")]
    Address(#[from] AddressError),
    #[error("polycubectl: {0}")]
    Token(#[from] TokenError),
    #[error("polycubectl: {0}")]
    Tls(#[from] FileError),
    #[error("polycubectl: {0}")]
    Config(#[from] ConfigError),
    #[error("polycubectl: {0}")]
    Input(#[from] InputError),
    #[error("polycubectl: {0}")]
    Project(#[from] NewError),
    #[error("polycubectl: {0}")]
    Plugin(#[from] CheckError),
    #[error("polycubectl: {0}")]
    Build(#[from] BuildError),
    #[error("polycubectl: {0}")]
    Place(#[from] PlaceError),
    #[error("polycubectl: {0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error(
        "{failure}\npolycubectl: if `{word}` was typed as `?`: the shell replaced it with the name of a file; use --help"
    )]
    Question { word: String, failure: Box<Failure> },
    #[error("polycubectl: the daemon's answer is not JSON")]
    NotJson,
    #[error("polycubectl: {0}")]
    Record(#[from] RecordError),
    #[error(
        "polycubectl: {place} has packets without Ethernet headers, which pcap cannot have beside others: write pcapng, \
         with -w FILE.pcapng"
    )]
    RawIp { place: String },
    #[error("polycubectl: the daemon's stream ended within a packet")]
    Cut,
    #[error("polycubectl: the daemon's report of the file cannot be read")]
    Reports(#[source] serde_json::Error),
    #[error(
        "polycubectl: the daemon cannot capture: libpcn_packetcapture.so is missing beside polycubed, and in the other \
         directories of plugins"
    )]
    NoPlugin,
    #[error("polycubectl: the daemon has ended the capture")]
    CaptureEnded,
    #[error("polycubectl: {0}")]
    Stream(#[from] BlockError),
    #[error("polycube-extcap: {0}")]
    Install(#[from] InstallError),
    #[error("polycubectl: {0}")]
    Private(#[from] PrivateError),
    #[error("polycubectl: cannot read the key log {path}: {source}")]
    KeyLog { path: String, source: io::Error },
    #[error("polycubectl: {}", file_line(.path, .source))]
    File { path: String, source: io::Error },
    #[error(
        "polycubectl: refusing to write binary capture data to a terminal: give -w FILE, pipe it into tcpdump -nr -, or see \
         lines with watch, or with capture without -w"
    )]
    Terminal,
    #[error("polycubectl: cannot write the output: {0}")]
    Output(#[source] io::Error),
    #[error("polycubectl: cannot start: {0}")]
    Runtime(#[source] io::Error),
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error.into())
    }
}

/// What lines begin with that say what went wrong. Others say how to go on.
const PROGRAMS: [&str; 2] = ["polycubectl: ", "polycube-extcap: "];

impl Failure {
    /// Its lines as they are printed; what went wrong is red where there are colours.
    pub(crate) fn shown(&self, has_colours: bool) -> String {
        let text = without_numbers(&self.to_string());
        let lines = text.lines().map(|line| {
            let is_reason = PROGRAMS.iter().any(|program| line.starts_with(program));
            paint(line, (has_colours && is_reason).then_some(Colour::Bad)).to_string()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Scripts distinguish failures by this code; 64, 71 and 74 are those of sysexits.h.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Question { failure, .. } => failure.exit_code(),
            Self::Client(ClientError::Stream { .. }) => 2,
            Self::Client(ClientError::Request { .. }) => 64,
            Self::Client(_) | Self::Cut | Self::Reports(_) | Self::CaptureEnded | Self::Private(_) | Self::Build(_) => {
                1
            }
            Self::Refused(_)
            | Self::NoPlugin
            | Self::NotJson
            | Self::RawIp { .. }
            | Self::Record(_)
            | Self::Stream(_)
            | Self::Plugin(_) => 2,
            Self::Usage(_)
            | Self::Address(_)
            | Self::Token(_)
            | Self::Tls(_)
            | Self::Config(_)
            | Self::Input(_)
            | Self::Terminal => 64,
            Self::Runtime(_) => 71,
            Self::Output(_)
            | Self::File { .. }
            | Self::KeyLog { .. }
            | Self::Project(_)
            | Self::Place(_)
            | Self::Install(_) => 74,
        }
    }
}

fn file_line(path: &str, source: &io::Error) -> String {
    if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return format!("{path} is a symbolic link, which is not followed");
    }
    match source.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{path} already exists: choose another name, or give --force to overwrite it")
        }
        io::ErrorKind::IsADirectory => format!("{path} is a directory: give the name of a file in it"),
        _ => format!("cannot write {path}: {source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_red_where_there_are_colours() {
        let failure: Failure = UsageError::NothingToSet.into();
        let reason = "polycubectl: set needs at least one key=value, or a configuration on standard input";
        let hint = "usage: polycubectl NAME [PATH...] set KEY=VALUE...";
        assert_eq!(failure.shown(false), format!("{reason}\n{hint}"));
        assert_eq!(failure.shown(true), format!("\u{1b}[31m{reason}\u{1b}[0m\n{hint}"));
    }

    #[test]
    fn the_systems_words_do_without_its_numbers() {
        let failure = Failure::Output(io::Error::from_raw_os_error(28));
        assert_eq!(failure.shown(false), "polycubectl: cannot write the output: No space left on device");
    }
}
