//! The TCP listener that the options ask for, and what it asks of clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Result, anyhow, bail, ensure};

use crate::options::Options;
use crate::rest::{Access, Current, Security, TlsFiles, bind_tcp, tls_acceptor};

/// A TCP listener.
pub(super) struct Tcp {
    pub listener: TcpListener,
    pub security: Current<Security>,
}

/// The TCP listener that the options ask for.
///
/// # Errors
/// The options contradict each other, a file cannot be used, or the address cannot be listened on.
pub(super) fn open(options: &Options) -> Result<Option<Tcp>> {
    let Some(security) = security(options)? else { return Ok(None) };
    let listener = bind_tcp(address(options))?;
    Ok(Some(Tcp { listener, security: Current::new(security) }))
}

fn address(options: &Options) -> SocketAddr {
    SocketAddr::new(options.addr.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), options.port.unwrap_or(9000))
}

/// What is asked of clients, from the files as they are now; `None` if there is no listener.
///
/// # Errors
/// The options contradict each other, or a file cannot be used.
pub(super) fn security(options: &Options) -> Result<Option<Security>> {
    let Options { addr, port, token_file, no_auth, cert, key, cacert, .. } = options;
    if addr.is_none() && port.is_none() {
        ensure!(
            token_file.is_none() && !no_auth && cert.is_none() && key.is_none() && cacert.is_none(),
            "--token-file, --no-auth, --cert, --key and --cacert are for TCP: give --addr or --port too"
        );
        return Ok(None);
    }
    ensure!(cert.is_some() == key.is_some(), "TLS needs both --cert FILE and --key FILE");
    ensure!(cacert.is_none() || cert.is_some(), "--cacert is for TLS: give --cert FILE and --key FILE too");
    let access = match token_file {
        Some(file) => Access::from_file(file).map_err(|error| anyhow!(error))?,
        None if *no_auth => Access::Open,
        None if cacert.is_some() => Access::Certificate,
        None if cert.is_some() => bail!("TLS needs --token-file FILE or --cacert FILE, or --no-auth in a lab"),
        None => bail!("TCP needs --token-file FILE, or --no-auth in a lab"),
    };
    if let Access::Tokens(tokens) = &access {
        ensure!(
            cacert.is_some() || !tokens.has_certificates(),
            "the [[certificate]] of the token file are for clients with certificates: give --cacert FILE too"
        );
    }
    let files = cert.as_ref().zip(key.as_ref());
    let files = files.map(|(cert, key)| TlsFiles { cert, key, cacert: cacert.as_deref() });
    let tls = files.map(|files| tls_acceptor(&files, &access)).transpose().map_err(|error| anyhow!(error))?;
    Ok(Some(Security { access, tls }))
}

/// What an operator should know about these options, in one line each.
pub(super) fn warnings(options: &Options) -> Vec<String> {
    if options.addr.is_none() && options.port.is_none() {
        return Vec::new();
    }
    let (address, mut found) = (address(options), Vec::new());
    if options.no_auth {
        found.push(format!("--no-auth: everybody who reaches {address} controls this machine's network"));
    }
    if options.cert.is_none() && options.token_file.is_some() && !address.ip().is_loopback() {
        found.push(format!("tokens can be read on the way to {address}: give --cert and --key for TLS"));
    }
    found
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_network_needs_authentication_and_only_tcp_has_options_for_it() {
        for (words, expected) in [
            ("--no-auth", "are for TCP: give --addr or --port too"),
            ("--token-file t", "are for TCP: give --addr or --port too"),
            ("--cert c --key k", "are for TCP: give --addr or --port too"),
            ("--port 0", "TCP needs --token-file FILE"),
            ("--addr 127.0.0.1", "TCP needs --token-file FILE"),
            ("--port 0 --cert c", "TLS needs both --cert FILE and --key FILE"),
            ("--port 0 --key k --no-auth", "TLS needs both --cert FILE and --key FILE"),
            ("--port 0 --cacert ca", "--cacert is for TLS"),
            ("--port 0 --cert c --key k", "TLS needs --token-file FILE or --cacert FILE"),
            ("--port 0 --token-file /no/such/file", "/no/such/file"),
            ("--port 0 --no-auth --cert /no/cert --key /no/key", "/no/"),
        ] {
            let options = Options::parse_from(std::iter::once("polycubed").chain(words.split(' ')));
            let message = open(&options).err().map(|error| format!("{error:#}")).unwrap_or_default();
            assert!(message.contains(expected), "{words}: {message}");
        }
    }

    #[test]
    fn tcp_is_off_unless_it_is_asked_for() {
        assert!(open(&Options::parse_from(["polycubed"])).unwrap().is_none());
        let open = open(&Options::parse_from(["polycubed", "--port", "0", "--no-auth"])).unwrap().unwrap();
        assert!(open.listener.local_addr().unwrap().ip().is_loopback(), "the default is this machine alone");
        assert!(open.security.get().tls.is_none());
    }

    #[test]
    fn what_opens_the_daemon_to_others_is_warned_of() {
        for (words, expected) in [
            ("--no-auth --port 0", Some("--no-auth")),
            ("--token-file t --addr 192.0.2.1", Some("tokens can be read on the way to 192.0.2.1:9000")),
            ("--token-file t --addr ::", Some("tokens can be read")),
            ("--token-file t --addr 192.0.2.1 --cert c --key k", None),
            ("--token-file t --port 1", None),
            ("--token-file t --addr ::1", None),
            ("--log info", None),
        ] {
            let options = Options::parse_from(std::iter::once("polycubed").chain(words.split(' ')));
            let found = warnings(&options);
            assert_eq!(found.len(), usize::from(expected.is_some()), "{words}: {found:?}");
            assert!(found.iter().all(|line| line.contains(expected.unwrap_or_default())), "{words}: {found:?}");
        }
    }
}
