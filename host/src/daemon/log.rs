//! The daemon's log: to stderr, or to the journal with fields where stderr leads there.

use std::io::IsTerminal as _;
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context as _, Result};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::options::{LogFormat, Options};
use crate::plugins::LOG_TARGET;

/// What decides which lines are written. It can be changed while the daemon runs.
pub(super) struct Log(reload::Handle<EnvFilter, Registry>);

impl Log {
    pub(super) fn set(&self, filter: EnvFilter) -> Result<()> {
        self.0.reload(filter).context("cannot change what is logged")
    }
}

/// Begins to log.
///
/// # Errors
/// `--log` is not a filter.
pub(super) fn start(options: &Options) -> Result<Log> {
    let (filter, handle) = reload::Layer::new(filter(&options.log)?);
    let text = tracing_subscriber::fmt::layer().with_target(false).with_writer(std::io::stderr);
    let stream = std::env::var("JOURNAL_STREAM").ok().filter(|_| options.log_format.is_none());
    // Where the journal's own socket cannot be reached, its stream still takes text.
    let journal = stream.filter(|stream| is_journal(stream)).and_then(|_| journal());
    let layer = match (options.log_format, journal) {
        (None, Some(journal)) => journal,
        (None | Some(LogFormat::Text), _) => text.with_ansi(std::io::stderr().is_terminal()).boxed(),
        (Some(LogFormat::Json), _) => text.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
    Ok(Log(handle))
}

/// Lines with fields of their own: `journalctl CUBE=sniffer`.
fn journal<S>() -> Option<Box<dyn Layer<S> + Send + Sync>>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    // Its own default calls info a notice, and debug what syslog calls info.
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    let layer = tracing_journald::layer().ok()?.with_priority_mappings(priorities);
    // The prefix `F_`, the default, would hide the fields from those who look for them by name.
    Some(layer.with_field_prefix(None).with_syslog_identifier("polycubed".to_owned()).boxed())
}

/// Whether stderr leads to the journal: systemd then says device and inode of the stream (systemd.exec(5)), and a child
/// inherits the variable even where its stderr leads elsewhere.
fn is_journal(stream: &str) -> bool {
    let stderr = std::fs::metadata("/dev/stderr").map(|stderr| format!("{}:{}", stderr.dev(), stderr.ino()));
    stderr.is_ok_and(|stderr| stderr == stream)
}

/// A level, or directives such as `info,polycubed::engine=debug`. A word that is neither would be taken for a module
/// of that name, and nothing would be logged.
pub(super) fn filter(text: &str) -> Result<EnvFilter> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let sound = text.split(',').all(|word| is_level(word) || word.contains(['=', '[']) || word.contains("::"));
    let filter = if sound { EnvFilter::try_new(text).ok() } else { None };
    let filter = filter.with_context(|| {
        format!("--log {text:?} is not a level: give error, warn, info, debug, trace or off, or a filter such as info,polycubed::engine=debug")
    })?;
    // Each cube has its own level, unless the filter is `off` or names the cubes.
    let is_given = text.split(',').any(|word| word == "off" || word.starts_with(&format!("{LOG_TARGET}=")));
    Ok(if is_given { filter } else { filter.add_directive(format!("{LOG_TARGET}=trace").parse()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_of_the_log_lets_cubes_decide_unless_it_names_them() {
        for (text, cubes) in [
            ("info", true),
            ("DEBUG", true),
            ("warn,polycubed::engine=debug", true),
            ("off", false),
            ("info,cube=warn", false),
            ("info,cube=off", false),
        ] {
            let filter = filter(text).unwrap().to_string();
            assert_eq!(filter.contains("cube=trace"), cubes, "{text}: {filter}");
        }
    }

    #[test]
    fn a_word_that_is_not_a_level_is_not_taken_for_a_module() {
        for text in ["", "verbose", "inof", "info,", "info,debgu", "=", "polycubed::engine=loud"] {
            let message = filter(text).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(&format!("--log {text:?} is not a level")), "{text}: {message}");
        }
    }

    #[test]
    fn stderr_is_the_journal_only_where_systemd_says_so() {
        let stderr = std::fs::metadata("/dev/stderr").unwrap();
        assert!(is_journal(&format!("{}:{}", stderr.dev(), stderr.ino())));
        for stream in ["", "0:0", "journal"] {
            assert!(!is_journal(stream), "{stream:?}");
        }
    }
}
