//! SIGHUP: the configuration file, tokens and certificates are read again, and what can change in a running daemon does.
//!
//! A reload happens as a whole or not at all: everything is read and checked before anything is replaced. A request that is
//! being answered goes on, and so does a stream; the next request of its connection has to show a token that is valid then.
//! A connection that has presented a certificate keeps it until it ends.

use std::ffi::OsString;

use anyhow::{Context as _, Result};

use super::log::{self, Log};
use super::tcp;
use crate::causes::in_one_line;
use crate::options::Loaded;
use crate::rest::{Current, Security};

/// The flags that a reload applies; others need a restart.
const APPLIED: [&str; 6] = ["log", "token-file", "no-auth", "cert", "key", "cacert"];

/// What a reload replaces.
pub(super) struct Reload {
    /// The command line, which wins over the file each time.
    pub words: Vec<OsString>,
    pub log: Log,
    /// Of the TCP listener, if there is one.
    pub security: Option<Current<Security>>,
    /// What the daemon has started with.
    pub loaded: Loaded,
}

impl Reload {
    /// Reads everything again, and logs in one line what became of that; false if it stays as it was.
    pub(super) fn again(&self) -> bool {
        let replaced = self.replace();
        let is_sound = replaced.is_ok();
        match replaced {
            Ok(later) if later.is_empty() => tracing::info!("SIGHUP: read the configuration again"),
            Ok(later) => {
                let later = later.join(", ");
                tracing::warn!("SIGHUP: read the configuration again; what has changed of {later} needs a restart");
            }
            Err(error) => {
                // One line, even where a file has several faults.
                let error = in_one_line(&error).replace('\n', "; ");
                tracing::error!("SIGHUP: everything stays as it was: {error}");
            }
        }
        is_sound
    }

    /// Answers with the flags whose new values are of no effect yet.
    fn replace(&self) -> Result<Vec<String>> {
        let loaded = Loaded::read(&self.words)?;
        let filter = log::filter(&loaded.options.log)?;
        let security = tcp::security(&loaded.options).context("TCP")?;
        self.log.set(filter)?;
        if let (Some(current), Some(security)) = (&self.security, security) {
            current.set(security);
        }
        let differences = loaded.differences(&self.loaded).into_iter();
        Ok(differences.filter(|flag| !APPLIED.contains(flag)).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::options::Options;

    #[test]
    fn what_a_reload_applies_are_flags() {
        let command = Options::command();
        for flag in APPLIED {
            assert!(command.get_arguments().any(|arg| arg.get_long() == Some(flag)), "{flag}");
        }
    }
}
