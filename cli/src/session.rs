//! The way to the daemon, from flags, environment and configuration file.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use tokio::time::timeout;

use crate::address::Address;
use crate::client::{Answer, Client, FileError, Files, Tls};
use crate::config;
use crate::failure::Failure;
use crate::grammar::{Request, Way};
use crate::token;

/// Who types on will not wait for longer.
const WHILE_TYPING: Duration = Duration::from_secs(2);

/// A daemon that can be asked.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
}

impl Session {
    /// Finds the daemon; what the command line says comes first.
    ///
    /// # Errors
    ///
    /// The settings make no sense. Whether a daemon is there, [`Session::ask`] finds out.
    pub(crate) fn new(way: Way) -> Result<Self, Failure> {
        let config = config::load(variable)?;
        let address = way.url.or(config.url).map_or_else(|| Ok(Address::default()), |url| Address::parse(&url))?;
        let token = config::text(variable, "POLYCUBECTL_TOKEN")?;
        let authorization = token::authorization(way.token_file.as_deref(), token, config.token_file.as_deref())?;
        let is_wanted = way.tls != Files::default();
        let files = Files {
            cacert: way.tls.cacert.or(config.tls.cacert),
            cert: way.tls.cert.or(config.tls.cert),
            key: way.tls.key.or(config.tls.key),
        };
        let tls = Tls::of(&address, &files)?;
        // Who asks for TLS must not send a token without.
        if tls.is_none() && is_wanted {
            return Err(FileError::NotHttps { address: address.to_string() }.into());
        }
        Ok(Self { client: Client::new(address, tls, authorization, config.debug) })
    }

    /// With a daemon that is known already.
    #[cfg(test)]
    pub(crate) fn with(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// There is no answer. A refusal is one.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.run(async |client| Ok(client.send(request).await?))
    }

    /// Sends a request for somebody who is typing: `None` when there is no answer soon.
    pub(crate) fn ask_briefly(&self, request: &Request) -> Option<Answer> {
        self.run(async |client| Ok(timeout(WHILE_TYPING, client.send(request)).await.ok())).ok()??.ok()
    }

    /// Does some work with the daemon.
    ///
    /// # Errors
    ///
    /// The work's, or there is no way to begin it.
    pub(crate) fn run<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
        let result = runtime.block_on(work(&self.client));
        // Neither a name server that does not answer nor a pipe that nobody reads must hold up the exit.
        runtime.shutdown_background();
        result
    }
}

/// A variable of the environment; an empty one is as good as none.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
