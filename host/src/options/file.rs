//! The daemon's configuration file: each flag of the command line, by its name, in TOML.
//!
//! There is no list of keys. Each key is looked up among the flags that clap knows, its value becomes the word that the
//! command line would have, and clap reads that. So a key means what its flag means, and a new flag is a key at once.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::size::Size;
use crate::problem::nearest;
use crate::source::Position;
use crate::sys::regular;

/// Where the file is unless `--config` says so. It may be missing there.
pub(super) const DEFAULT: &str = "/etc/polycube/polycubed.toml";

/// Flags that are not about a daemon that runs, and so are not keys.
const NOT_KEYS: [&str; 3] = ["config", "help", "version"];

/// A fault in the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    file: PathBuf,
    at: Position,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.at, self.message)
    }
}

/// The fault that settings of `file` contradict each other, or the command line, as clap says in `text`: at the last
/// setting that it names.
pub(super) fn conflict(file: &Path, settings: &[Setting], text: &str) -> Fault {
    let is_named =
        |setting: &&Setting| text.split([' ', '\'']).any(|word| word.strip_prefix("--") == Some(&setting.flag));
    let at = settings.iter().rfind(is_named).map_or(Position::START, |setting| setting.at);
    Fault { file: file.to_owned(), at, message: text.to_owned() }
}

/// A setting in the file, as the command line would have it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The flag, without its dashes.
    pub flag: String,
    pub at: Position,
    /// Whole words, such as `--port=9000`; none for a switch that is off.
    pub words: Vec<OsString>,
}

/// Reads a file; without one there are no settings if `is_optional`.
pub(super) fn read(file: &Path, is_optional: bool) -> io::Result<String> {
    match regular::read_to_string(file) {
        Err(error) if is_optional && error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read,
    }
}

/// The settings in the text of `file`.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn settings(command: &Command, file: &Path, text: &str) -> Result<Vec<Setting>, Vec<Fault>> {
    let fault = |span: std::ops::Range<usize>, message: String| Fault {
        file: file.to_owned(),
        at: Position::of(text, span.start),
        message,
    };
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        vec![fault(error.span().unwrap_or_default(), message)]
    })?;
    let (mut settings, mut faults) = (Vec::new(), Vec::new());
    for (key, value) in table.get_ref() {
        let flag = key.get_ref().as_ref();
        let read = match find(command, flag) {
            Some(arg) => words(command, arg, flag, value),
            None => Err((key.span(), unknown(command, flag))),
        };
        match read {
            Ok(words) => {
                settings.push(Setting { flag: flag.to_owned(), at: Position::of(text, key.span().start), words });
            }
            Err((span, message)) => faults.push(fault(span, message)),
        }
    }
    faults.sort_by_key(|fault: &Fault| fault.at);
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

/// The flags that are keys.
pub(super) fn keys(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| arg.get_long().is_some_and(|flag| !NOT_KEYS.contains(&flag)))
}

fn find<'a>(command: &'a Command, flag: &str) -> Option<&'a Arg> {
    keys(command).find(|arg| arg.get_long() == Some(flag))
}

fn unknown(command: &Command, flag: &str) -> String {
    let all: Vec<&str> = keys(command).filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long).collect();
    match nearest(flag, all.iter().copied()) {
        Some(near) => format!("`{flag}` is not known: is `{near}` meant?"),
        None => format!("`{flag}` is not known: the keys are the flags of polycubed --help, without the dashes"),
    }
}

/// Where a value is wrong, and why.
type Wrong = (std::ops::Range<usize>, String);

/// The words of the command line for a value.
fn words(command: &Command, arg: &Arg, flag: &str, value: &Spanned<DeValue<'_>>) -> Result<Vec<OsString>, Wrong> {
    let wrong = |value: &Spanned<DeValue<'_>>, wanted: &str| {
        let found = value.get_ref().type_str();
        (value.span(), format!("`{flag}` must be {wanted}, and this is a value of type {found}"))
    };
    match (arg.get_action(), value.get_ref()) {
        (ArgAction::SetTrue, DeValue::Boolean(on)) => {
            Ok(on.then(|| OsString::from(format!("--{flag}"))).into_iter().collect())
        }
        (ArgAction::SetTrue, _) => Err(wrong(value, "true or false")),
        (ArgAction::Append, DeValue::Array(entries)) => {
            let word = |entry: &Spanned<DeValue<'_>>| match entry.get_ref() {
                DeValue::String(text) => checked(command, flag, text, entry),
                _ => Err(wrong(entry, "an array of strings, such as [\"…\"]")),
            };
            entries.iter().map(word).collect()
        }
        (ArgAction::Append, _) => Err(wrong(value, "an array of strings, such as [\"…\"]")),
        (_, DeValue::Integer(number)) if is_number(arg.get_value_parser()) || is_size(arg.get_value_parser()) => {
            Ok(vec![checked(command, flag, &number.to_string(), value)?])
        }
        (_, _) if is_number(arg.get_value_parser()) => Err(wrong(value, "a number")),
        (_, DeValue::String(text)) => Ok(vec![checked(command, flag, text, value)?]),
        (_, _) if is_size(arg.get_value_parser()) => Err(wrong(value, "a number of MiB, or a size such as \"2GiB\"")),
        (_, _) => Err(wrong(value, "a string")),
    }
}

fn is_number(parser: &ValueParser) -> bool {
    parser.type_id() == TypeId::of::<u16>()
}

fn is_size(parser: &ValueParser) -> bool {
    parser.type_id() == TypeId::of::<Size>()
}

/// The word for a value, if the flag takes it.
fn checked(command: &Command, flag: &str, text: &str, value: &Spanned<DeValue<'_>>) -> Result<OsString, Wrong> {
    let word = OsString::from(format!("--{flag}={text}"));
    match command.clone().try_get_matches_from([OsString::from("polycubed"), word.clone()]) {
        Ok(_) => Ok(word),
        Err(error) => Err((value.span(), super::one_line(&error.to_string()))),
    }
}
