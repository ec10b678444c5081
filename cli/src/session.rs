//! A session with the daemon that flags, environment and configuration file name.

use std::env;
use std::ffi::OsString;
use std::time::Duration;

use tokio::time::timeout;

use crate::address::Address;
use crate::client::{Answer, Client, FileError, Tls};
use crate::config;
use crate::endpoint::{Endpoint, TlsFiles};
use crate::failure::Failure;
use crate::grammar::Request;
use crate::refusal::{Asked, Refusal};
use crate::token;

/// How long completion may keep the user waiting.
const WHILE_TYPING: Duration = Duration::from_secs(2);

/// A daemon that can be asked.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    /// Whether the user has not said where the daemon is.
    is_default: bool,
}

impl Session {
    /// Finds the daemon; the command line takes precedence.
    ///
    /// # Errors
    ///
    /// The settings make no sense. Whether there is a daemon is not known before [`Session::ask`].
    pub(crate) fn new(endpoint: Endpoint) -> Result<Self, Failure> {
        let config = config::load(variable)?;
        let url = endpoint.url.or(config.url);
        let is_default = url.is_none();
        let address = url.map_or_else(|| Ok(Address::default()), |url| Address::parse(&url))?;
        let token = config::text(variable, "POLYCUBECTL_TOKEN")?;
        let authorization = token::authorization(endpoint.token_file.as_deref(), token, config.token_file.as_deref())?;
        let is_wanted = endpoint.tls != TlsFiles::default();
        let files = TlsFiles {
            cacert: endpoint.tls.cacert.or(config.tls.cacert),
            cert: endpoint.tls.cert.or(config.tls.cert),
            key: endpoint.tls.key.or(config.tls.key),
        };
        let tls = Tls::of(&address, &files)?;
        // If TLS is asked for, no token may be sent without it.
        if tls.is_none() && is_wanted {
            return Err(FileError::NotHttps { address: address.to_string() }.into());
        }
        Ok(Self { client: Client::new(address, tls, authorization, config.debug), is_default })
    }

    /// With the daemon of one capture, which the user has not started.
    ///
    /// # Errors
    ///
    /// As [`Session::new`].
    pub(crate) fn with_private(endpoint: Endpoint) -> Result<Self, Failure> {
        let Self { client, is_default } = Self::new(endpoint)?;
        Ok(Self { client: client.of_private_daemon(), is_default })
    }

    /// Whether the user has not said where the daemon is, so that it is where it usually is.
    pub(crate) fn is_default(&self) -> bool {
        self.is_default
    }

    /// With a daemon that is known already.
    #[cfg(test)]
    pub(crate) fn with(client: Client) -> Self {
        Self { client, is_default: false }
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// The daemon does not answer. A refusal counts as an answer.
    pub(crate) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        self.run(async |client| Ok(client.send(request).await?))
    }

    /// Sends a request.
    ///
    /// # Errors
    ///
    /// The daemon does not answer, or refuses.
    pub(crate) fn accepted(&self, request: &Request) -> Result<Answer, Failure> {
        let answer = self.ask(request)?;
        if answer.status.is_success() { Ok(answer) } else { Err(Refusal::new(&answer, Asked::Verb).into()) }
    }

    /// Sends a request while the user is typing: `None` when there is no answer soon.
    pub(crate) fn ask_briefly(&self, request: &Request) -> Option<Answer> {
        self.run(async |client| Ok(timeout(WHILE_TYPING, client.send(request)).await.ok())).ok()??.ok()
    }

    /// Does some work with the daemon.
    ///
    /// # Errors
    ///
    /// The work's, or there are no resources for it.
    pub(crate) fn run<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
        let result = runtime.block_on(work(&self.client));
        // Neither a name server that does not answer nor a pipe without a reader may delay the exit.
        runtime.shutdown_background();
        result
    }
}

/// A variable of the environment; an empty one counts as unset.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
