//! `plugin new`, `plugin check` and `plugin dev`: plugins of one's own.

use std::path::PathBuf;

use polycube_api::{COMMAND_LINE, Verb, Word};

use super::error::UsageError;
use super::forms::Topic;
use super::plugin_flags::{CubeKind, Language};
use super::view::View;
use super::words::{Style, Words};

/// What to do with a plugin.
#[derive(Debug, PartialEq)]
pub(crate) enum PluginOrder {
    New(NewPlugin),
    Check { file: PathBuf, view: View },
    Dev(Development),
}

/// A project to write.
#[derive(Debug, PartialEq)]
pub(crate) struct NewPlugin {
    pub(crate) name: String,
    pub(crate) kind: CubeKind,
    pub(crate) language: Language,
    /// The SDK's directory, where it is not in a usual place.
    pub(crate) sdk: Option<PathBuf>,
}

/// A project that is worked on.
#[derive(Debug, PartialEq)]
pub(crate) struct Development {
    pub(crate) project: PathBuf,
    /// The daemon's plugin directory; otherwise it is where its other plugins are.
    pub(crate) plugin_dir: Option<PathBuf>,
    /// Whether that is all, instead of doing it again after each change.
    pub(crate) once: bool,
}

/// The one that was given, if there is one.
fn only<T: Copy + Default + PartialEq>(given: &[(&'static str, T)]) -> Result<T, UsageError> {
    let Some((first, value)) = given.first() else { return Ok(T::default()) };
    match given.iter().find(|(_, other)| other != value) {
        Some((second, _)) => Err(UsageError::PluginFlagsTogether { first, second }),
        None => Ok(*value),
    }
}

impl PluginOrder {
    /// `None` when the words ask for something else.
    pub(super) fn parse(words: &Words) -> Result<Option<Self>, UsageError> {
        let flags = &words.plugin;
        let Some(("plugin", rest)) = words.path.split_first().map(|(first, rest)| (first.as_str(), rest)) else {
            return match flags.of_new().or(flags.of_dev()) {
                Some(flag) => Err(UsageError::FlagWithoutPlugin { flag }),
                None => Ok(None),
            };
        };
        let form = UsageError::Form { topic: Topic::Plugin };
        if words.command.is_some() || !words.pairs.is_empty() {
            return Err(form);
        }
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        if rest.first() != Some(&"new")
            && let Some(flag) = flags.of_new()
        {
            return Err(UsageError::FlagOfPlugin { flag, word: "new" });
        }
        if rest.first() != Some(&"dev")
            && let Some(flag) = flags.of_dev()
        {
            return Err(UsageError::FlagOfPlugin { flag, word: "dev" });
        }
        match rest.as_slice() {
            ["new", name] => {
                words.refuse_view()?;
                let (kind, language) = (only(&flags.kinds)?, only(&flags.languages)?);
                let name = checked(name, language)?;
                Ok(Some(Self::New(NewPlugin { name, kind, language, sdk: flags.sdk.as_ref().map(PathBuf::from) })))
            }
            ["check", file] => {
                let view = match words.style {
                    Some(Style::Json) => View::Json,
                    Some(Style::Yaml) => View::Yaml,
                    _ => View::plain(),
                };
                Ok(Some(Self::Check { file: file.into(), view }))
            }
            ["dev"] | ["dev", _] => {
                words.refuse_view()?;
                let project = rest.get(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
                let plugin_dir = flags.plugin_dir.as_ref().map(PathBuf::from);
                Ok(Some(Self::Dev(Development { project, plugin_dir, once: flags.once })))
            }
            _ => Err(form),
        }
    }
}

/// Words of Rust, which functions cannot have as their names (The Rust Reference, "Keywords").
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn \
                        for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct \
                        super trait true try type typeof unsafe unsized use virtual where while yield";

/// Names that a kernel side in Rust cannot have: of crates, of cargo's own, of functions that the template uses, and of those
/// that the compiler calls.
const TAKEN_IN_RUST: &str = "alloc build core deps examples incremental proc_macro std test count main next bcmp memcmp memcpy \
                             memmove memset";

/// A name that a service, a crate, a file and a program of the kernel's can have. In C, that of the program has an ending of
/// its own, and cannot be taken.
fn checked(name: &str, language: Language) -> Result<String, UsageError> {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    // The kernel keeps 15 bytes of a program's name.
    let fits = name.len() <= 15 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_word);
    if !fits {
        return Err(UsageError::PluginName { name: name.to_owned() });
    }
    if Word::parse(name).is_some() || COMMAND_LINE.contains(&name) || Verb::parse(name).is_some() {
        return Err(UsageError::ReservedName { name: name.to_owned() });
    }
    let is_taken = |words: &str| words.split_whitespace().any(|word| word == name);
    if language == Language::Rust && (is_taken(KEYWORDS) || is_taken(TAKEN_IN_RUST)) {
        return Err(UsageError::NameInRust { name: name.to_owned() });
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Order, parse};
    use super::*;

    #[track_caller]
    fn plugin(line: &str) -> Result<PluginOrder, UsageError> {
        match parse(line.split(' ').map(Into::into)).map_err(|mistake| mistake.error)?.order {
            Order::Plugin(order) => Ok(order),
            order => panic!("{line}: {order:?}"),
        }
    }

    #[test]
    fn a_project_has_a_kind_and_a_language() {
        for (line, kind, language) in [
            ("plugin new guard", CubeKind::Transparent, Language::C),
            ("plugin new guard --standard --rust", CubeKind::Standard, Language::Rust),
            ("plugin new --object guard --transparent", CubeKind::Transparent, Language::Object),
        ] {
            let expected = NewPlugin { name: "guard".to_owned(), kind, language, sdk: None };
            assert_eq!(plugin(line).unwrap(), PluginOrder::New(expected), "{line}");
        }
        let PluginOrder::New(new) = plugin("plugin new guard --sdk /opt/sdk").unwrap() else { panic!() };
        assert_eq!(new.sdk, Some(PathBuf::from("/opt/sdk")));
    }

    #[test]
    fn a_file_is_checked_and_a_project_worked_on() {
        let check = PluginOrder::Check { file: "target/libpcn_guard.so".into(), view: View::Json };
        assert_eq!(plugin("plugin check target/libpcn_guard.so -json").unwrap(), check);
        let dev = Development { project: ".".into(), plugin_dir: None, once: false };
        assert_eq!(plugin("plugin dev").unwrap(), PluginOrder::Dev(dev));
        let dev = Development { project: "guard".into(), plugin_dir: Some("/plugins".into()), once: true };
        assert_eq!(plugin("plugin dev guard --once --plugin-dir=/plugins").unwrap(), PluginOrder::Dev(dev));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for name in ["next", "fn", "main", "core", "test", "memcpy"] {
            let line = format!("plugin new {name} --rust");
            let message = format!(
                "'{name}' cannot be the name of a plugin in Rust: it means something to the compiler, to cargo or in the project; \
                 choose another, or leave out --rust"
            );
            assert_eq!(plugin(&line).unwrap_err().to_string(), message);
            assert!(plugin(line.trim_end_matches(" --rust")).is_ok(), "{line}: in C, nothing has the program's name");
        }
        for (line, message) in [
            ("plugin", "wrong number of words for plugin"),
            ("plugin new", "wrong number of words for plugin"),
            ("plugin check a b", "wrong number of words for plugin"),
            ("plugin new guard --c --rust", "--c and --rust exclude each other"),
            ("plugin check guard --rust", "--rust goes with plugin new only"),
            ("plugin new guard --once", "--once goes with plugin dev only"),
            ("br1 show --once", "--once goes with plugin only"),
            (
                "plugin new cubes",
                "'cubes' cannot be a plugin's name: it is a word of the API or of the command line; choose another",
            ),
            (
                "plugin new My-Guard",
                "'My-Guard' cannot be a plugin's name: give up to 15 of a-z, 0-9 and _, a letter first",
            ),
        ] {
            assert_eq!(plugin(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
