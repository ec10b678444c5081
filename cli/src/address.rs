//! Where the daemon listens.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;
use polycube_api::BASE;

/// A daemon's address.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Address {
    pub(crate) transport: Transport,
    /// Begins and ends with a slash.
    pub(crate) base: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transport {
    Unix(PathBuf),
    /// `authority` is the URL's own `host[:port]`; `host` has no brackets.
    Tcp {
        scheme: Scheme,
        host: String,
        port: u16,
        authority: String,
    },
}

/// The protocol over TCP.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An address that cannot be used.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum AddressError {
    #[error(
        "'{url}' is not the address of a daemon: use unix:///path/to/socket, http://host:port or https://host:port"
    )]
    Malformed { url: String },
}

impl Address {
    /// Reads `unix:///path/to/socket` or `http[s]://host:port[/base/path/]`.
    pub(crate) fn parse(url: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed { url: url.to_owned() };
        if let Some(path) = url.strip_prefix("unix://") {
            let transport = Transport::Unix(path.into());
            return if path.starts_with('/') { Ok(Self { transport, base: base() }) } else { Err(malformed()) };
        }
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let (scheme, authority) = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => (Scheme::Http, authority),
            (Some("https"), Some(authority)) => (Scheme::Https, authority),
            _ => return Err(malformed()),
        };
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() || uri.query().is_some() || url.contains('#') {
            return Err(malformed());
        }
        // `Authority::port` ignores what it cannot read, as in `h:x`.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => scheme.port(),
            Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or_else(malformed)?,
            None => return Err(malformed()),
        };
        let base = match uri.path().trim_end_matches('/') {
            "" => base(),
            path => format!("{path}/"),
        };
        let transport = Transport::Tcp { scheme, host: host.to_owned(), port, authority: authority.to_string() };
        Ok(Self { transport, base })
    }

    /// The scheme of the daemon's URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        match &self.transport {
            Transport::Unix(_) => Scheme::Http.name(),
            Transport::Tcp { scheme, .. } => scheme.name(),
        }
    }

    /// The value of the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        match &self.transport {
            Transport::Unix(_) => "localhost",
            Transport::Tcp { authority, .. } => authority,
        }
    }
}

/// The base path, on every transport.
fn base() -> String {
    format!("{BASE}/")
}

impl Default for Address {
    fn default() -> Self {
        Self { transport: Transport::Unix("/run/polycube/polycubed.sock".into()), base: base() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Unix(path) => write!(f, "unix://{}", path.display()),
            Transport::Tcp { scheme, authority, .. } => write!(f, "{}://{authority}", scheme.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_tcp(url: &str, host: &str, port: u16, base: &str) {
        let address = Address::parse(url).unwrap();
        match address.transport {
            Transport::Tcp { host: actual, port: actual_port, .. } => {
                assert_eq!((actual.as_str(), actual_port), (host, port), "{url}");
            }
            Transport::Unix(_) => panic!("{url} is not a socket's path"),
        }
        assert_eq!(address.base, base, "{url}");
    }

    #[track_caller]
    fn check_malformed(url: &str) {
        assert_eq!(Address::parse(url), Err(AddressError::Malformed { url: url.to_owned() }));
    }

    #[test]
    fn tcp() {
        check_tcp("http://127.0.0.1:9000", "127.0.0.1", 9000, "/polycube/v1/");
        check_tcp("http://localhost:9000/", "localhost", 9000, "/polycube/v1/");
        check_tcp("http://localhost:9000/polycube/v1", "localhost", 9000, "/polycube/v1/");
        check_tcp("http://localhost:9000/polycube/v1/", "localhost", 9000, "/polycube/v1/");
        check_tcp("http://proxy/lab/polycube/v1/", "proxy", 80, "/lab/polycube/v1/");
        check_tcp("http://[::1]:9000", "::1", 9000, "/polycube/v1/");
        check_tcp("https://proxy/lab/", "proxy", 443, "/lab/");
        assert_eq!(Address::parse("https://h:9000").unwrap().to_string(), "https://h:9000");
        assert_eq!(Address::parse("http://[::1]:9000/x").unwrap().to_string(), "http://[::1]:9000");
    }

    #[test]
    fn unix() {
        let address = Address::parse("unix:///tmp/p.sock").unwrap();
        assert_eq!(address.transport, Transport::Unix("/tmp/p.sock".into()));
        assert_eq!((address.base.as_str(), address.authority()), ("/polycube/v1/", "localhost"));
        assert_eq!(address.to_string(), "unix:///tmp/p.sock");
        assert_eq!(Address::default().to_string(), "unix:///run/polycube/polycubed.sock");
    }

    #[test]
    fn what_is_not_an_address_is_refused() {
        for url in ["", "localhost:9000", "/run/p.sock", "unix://p.sock", "ftp://h:1", "http://", "http://h:x"] {
            check_malformed(url);
        }
        for url in ["http://h:99999", "http://u@h:1", "http://h:1/?q", "http://h:1/#f", "http:///x", "http://h:"] {
            check_malformed(url);
        }
    }
}
