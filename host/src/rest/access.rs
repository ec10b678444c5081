//! Who may call over TCP: a bearer token, and a Host header that names this daemon. The Unix socket's permissions
//! are the file system's.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::Refused;
use crate::problem::Problem;

/// How TCP callers show that they may.
#[derive(Clone)]
pub enum Access {
    /// `Authorization: Bearer …` with this token.
    Token(Arc<str>),
    /// They need not. For labs.
    Open,
}

impl Access {
    /// Reads a token: the file's first line.
    ///
    /// # Errors
    /// One line: the file cannot be read, or others can read it, or it is empty.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt as _;
        let file = path.display();
        let metadata = std::fs::metadata(path).map_err(|error| format!("token file {file}: {error}"))?;
        if metadata.permissions().mode() & 0o007 != 0 {
            return Err(format!("token file {file} can be used by everybody: chmod 640 {file}"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| format!("token file {file}: {error}"))?;
        match text.lines().next().map(str::trim) {
            Some(token) if !token.is_empty() => Ok(Self::Token(token.into())),
            _ => Err(format!("token file {file} is empty: write a token into its first line")),
        }
    }

    fn allows(&self, authorization: Option<&[u8]>) -> bool {
        match self {
            Self::Open => true,
            Self::Token(token) => authorization
                .and_then(|value| value.split_at_checked(b"Bearer ".len()))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
                .is_some_and(|(_, given)| same(given, token.as_bytes())),
        }
    }
}

/// Compares without telling by its duration how much was right.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// What a TCP listener lets pass.
#[derive(Clone)]
pub struct Gate {
    pub access: Access,
    pub address: SocketAddr,
}

/// Middleware of the TCP listener.
pub async fn check(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    match gate.examine(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Gate {
    fn examine(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let header = |name| headers.get(name).map(HeaderValue::as_bytes);
        let refused = |status, message| Err(Refused::new(status, Problem::invalid("", message)));
        if !header(header::HOST).is_some_and(|host| is_ours(host, self.address)) {
            // A page in a browser that makes its own name point here would otherwise get through (DNS rebinding).
            let message = format!("the Host header does not name this daemon: use http://{}/", self.address);
            return refused(StatusCode::MISDIRECTED_REQUEST, message);
        }
        // A page in a browser can send requests without reading the answers.
        let origin = header(header::ORIGIN).map(|origin| origin.strip_prefix(b"http://").unwrap_or(origin));
        if origin.is_some_and(|origin| !is_ours(origin, self.address)) {
            return refused(StatusCode::FORBIDDEN, "requests of pages from elsewhere are not taken".to_owned());
        }
        if !self.access.allows(header(header::AUTHORIZATION)) {
            let message = "no valid token: send `Authorization: Bearer TOKEN`, the token of the daemon's --token-file";
            return refused(StatusCode::UNAUTHORIZED, message.to_owned()).map_err(Refused::wanting_token);
        }
        Ok(())
    }
}

/// An IP address, `localhost`, or the machine's own name, with our port.
fn is_ours(host: &[u8], address: SocketAddr) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, Some(80)),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let machine = rustix::system::uname();
    port == Some(address.port())
        && (bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.as_bytes() == machine.nodename().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_daemon_are_taken() {
        let address = "0.0.0.0:9000".parse().unwrap();
        for (host, ours) in [
            ("localhost:9000", true),
            ("LOCALHOST:9000", true),
            ("10.0.0.1:9000", true),
            ("[::1]:9000", true),
            ("localhost:9001", false),
            ("localhost", false),
            ("evil.example:9000", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host.as_bytes(), address), ours, "{host}");
        }
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let access = Access::Token("secret".into());
        for (given, allowed) in [
            (Some("Bearer secret"), true),
            (Some("bearer secret"), true),
            (Some("Bearer secreT"), false),
            (Some("secret"), false),
            (None, false),
        ] {
            assert_eq!(access.allows(given.map(str::as_bytes)), allowed, "{given:?}");
        }
    }
}
