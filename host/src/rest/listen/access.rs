//! Access over TCP: a request needs the token or a client certificate, and must be meant for this daemon. Access to the
//! Unix socket is up to the file system.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use crate::problem::Problem;
use crate::rest::error::Refusal;
use crate::sys::process;

/// What a request over TCP needs.
#[derive(Clone)]
pub(crate) enum Access {
    /// `Authorization: Bearer …` with this token, or a client certificate where one is asked for.
    Token(Arc<str>),
    /// A client certificate: clients without one cannot connect.
    Certificate,
    /// Nothing. For labs.
    Open,
}

impl Access {
    /// Reads a token: the file's first line.
    ///
    /// # Errors
    /// The file cannot be read, or others can read it, or it holds no token.
    pub(crate) fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = String::from_utf8(read_secret("token file", path)?);
        let text = text.map_err(|_| SecretError::NotUtf8 { file: path.to_owned() })?;
        match text.lines().next().map(str::trim) {
            Some(token) if !token.is_empty() => Ok(Self::Token(Arc::from(token))),
            _ => Err(SecretError::Empty { file: path.to_owned() }),
        }
    }

    fn allows(&self, peer: Peer, authorization: Option<&[u8]>) -> bool {
        match self {
            _ if peer == Peer::Certified => true,
            Self::Open => true,
            Self::Certificate => false,
            Self::Token(token) => authorization
                .and_then(|value| value.split_at_checked(b"Bearer ".len()))
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
                .is_some_and(|(_, given)| given.ct_eq(token.as_bytes()).into()),
        }
    }
}

/// A token or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("{what} {}", file.display())]
    Read { what: &'static str, file: PathBuf, source: io::Error },
    #[error("{what} {file}: everybody can use it: chmod 640 {file}", file = file.display())]
    Exposed { what: &'static str, file: PathBuf },
    #[error("token file {} is not valid UTF-8", file.display())]
    NotUtf8 { file: PathBuf },
    #[error("token file {} is empty: write a token into its first line", file.display())]
    Empty { file: PathBuf },
}

/// Reads a file that only its owner and group may use. Errors begin with `what` it is.
///
/// # Errors
/// The file cannot be read, or others can use it.
pub(super) fn read_secret(what: &'static str, path: &Path) -> Result<Vec<u8>, SecretError> {
    use std::os::unix::fs::PermissionsExt as _;
    let read = |source| SecretError::Read { what, file: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(read)?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::Exposed { what, file: path.to_owned() });
    }
    std::fs::read(path).map_err(read)
}

/// What is known of a TCP connection's peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Peer {
    /// Nothing: there is no TLS.
    Plain,
    /// It speaks TLS.
    Encrypted,
    /// It speaks TLS, and has presented a certificate of ours.
    Certified,
    /// It does not speak TLS on a port that requires it.
    Mistaken,
}

/// What a TCP listener lets pass.
#[derive(Clone)]
pub(super) struct Gate {
    pub access: Access,
    pub address: SocketAddr,
}

/// Middleware of the TCP listener. Each request has its [`Peer`] as an extension.
pub(super) async fn check(
    State(gate): State<Gate>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    match gate.examine(peer, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.closing().into_response(),
    }
}

impl Gate {
    fn examine(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name| headers.get(name).map(HeaderValue::as_bytes);
        let refused = |status, message| Err(Refusal::new(status, Problem::invalid("", message)));
        if peer == Peer::Mistaken {
            let message = format!("this port speaks TLS: use https://{}/", self.address);
            return refused(StatusCode::BAD_REQUEST, message);
        }
        // Over TLS, the client has compared the name with our certificate.
        let is_meant = |host| peer != Peer::Plain || is_ours(host, self.address);
        let host = header(header::HOST).filter(|host| is_meant(host));
        let Some(host) = host else {
            // Otherwise a page in a browser could make its own name point here (DNS rebinding).
            let message = format!("the Host header does not name this daemon: use http://{}/", self.address);
            return refused(StatusCode::MISDIRECTED_REQUEST, message);
        };
        // A page in a browser can send requests without reading the answers, and the browser adds its certificate.
        let is_elsewhere = |origin: &[u8]| match peer {
            Peer::Plain => !is_ours(origin.strip_prefix(b"http://").unwrap_or(origin), self.address),
            _ => origin.strip_prefix(b"https://").is_none_or(|origin| !origin.eq_ignore_ascii_case(host)),
        };
        if header(header::ORIGIN).is_some_and(is_elsewhere) {
            return refused(StatusCode::FORBIDDEN, "requests from pages of another origin are refused".to_owned());
        }
        if !self.access.allows(peer, header(header::AUTHORIZATION)) {
            let message = "no valid token: send `Authorization: Bearer TOKEN`, the token of the daemon's --token-file";
            return refused(StatusCode::UNAUTHORIZED, message.to_owned());
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
    port == Some(address.port())
        && (bare.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || name == process::host_name())
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
            assert_eq!(access.allows(Peer::Encrypted, given.map(str::as_bytes)), allowed, "{given:?}");
        }
    }

    #[test]
    fn a_certificate_replaces_a_token() {
        for access in [Access::Token("secret".into()), Access::Certificate] {
            assert!(access.allows(Peer::Certified, None));
            assert!(!access.allows(Peer::Encrypted, None));
        }
    }

    #[test]
    fn over_tls_the_certificate_vouches_for_the_name() {
        let gate = Gate { access: Access::Certificate, address: "127.0.0.1:9000".parse().unwrap() };
        let check = |peer: Peer, host: &'static str, origin: Option<&'static str>, status: Option<u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            let refused = gate.examine(peer, &headers).err();
            let found = refused.map(|refused| refused.into_response().status().as_u16());
            assert_eq!(found, status, "{peer:?} {host} {origin:?}");
        };
        check(Peer::Certified, "lab.example:9000", None, None);
        check(Peer::Certified, "lab.example:9000", Some("https://lab.example:9000"), None);
        check(Peer::Certified, "lab.example:9000", Some("http://lab.example:9000"), Some(403));
        check(Peer::Certified, "lab.example:9000", Some("https://evil.example"), Some(403));
        check(Peer::Certified, "lab.example:9000", Some("null"), Some(403));
        check(Peer::Encrypted, "lab.example:9000", None, Some(401));
        check(Peer::Plain, "lab.example:9000", None, Some(421));
        check(Peer::Mistaken, "127.0.0.1:9000", None, Some(400));
    }

    /// Asserts what becomes of a token file with these bytes and this mode.
    #[track_caller]
    fn check_file(bytes: &[u8], mode: u32, expected: Result<&str, &str>) {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, bytes).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        match (Access::from_file(&file), expected) {
            (Ok(Access::Token(token)), Ok(expected)) => assert_eq!(&*token, expected),
            (Err(error), Err(expected)) => {
                let message = error.to_string();
                assert!(message.contains(expected) && message.contains("/token"), "{message}");
            }
            (found, expected) => {
                panic!("{expected:?}, not {:?}", found.map(|_| "access").map_err(|error| error.to_string()))
            }
        }
    }

    #[test]
    fn a_token_is_the_first_line_of_a_file_that_others_cannot_use() {
        check_file(b"secret\n", 0o600, Ok("secret"));
        check_file(b"  se cret \r\nmore\n", 0o640, Ok("se cret"));
        check_file(b"secret", 0o400, Ok("secret"));
        check_file(b"", 0o600, Err("is empty: write a token"));
        check_file(b"\nsecret\n", 0o600, Err("is empty: write a token"));
        check_file(b" \t\n", 0o600, Err("is empty: write a token"));
        check_file(b"\xff\n", 0o600, Err("is not valid UTF-8"));
        for mode in [0o644, 0o602, 0o601, 0o777] {
            check_file(b"secret\n", mode, Err("everybody can use it: chmod 640"));
        }
        let missing = Access::from_file(Path::new("/nowhere/token")).err().map(|error| error.to_string());
        assert_eq!(missing.as_deref(), Some("token file /nowhere/token"));
    }

    #[test]
    fn the_port_must_be_ours_too() {
        let address = "0.0.0.0:80".parse().unwrap();
        for (host, ours) in [
            ("localhost", true),
            ("localhost:80", true),
            ("[::1]", true),
            ("10.0.0.1", true),
            ("localhost:", false),
            ("localhost:080x", false),
            ("localhost.evil.example", false),
            ("localhost:80:80", false),
        ] {
            assert_eq!(is_ours(host.as_bytes(), address), ours, "{host}");
        }
        assert!(!is_ours(b"\xff:80", address));
        let name = process::host_name();
        assert!(is_ours(name.as_bytes(), address), "{name}");
    }

    #[test]
    fn a_page_of_another_origin_cannot_send_requests_without_tls_either() {
        let gate = Gate { access: Access::Open, address: "127.0.0.1:9000".parse().unwrap() };
        for (origin, status) in [
            (None, None),
            (Some("http://localhost:9000"), None),
            (Some("http://127.0.0.1:9000"), None),
            (Some("http://localhost:9001"), Some(403)),
            (Some("https://localhost:9000"), Some(403)),
            (Some("http://evil.example:9000"), Some(403)),
            (Some("null"), Some(403)),
            (Some(""), Some(403)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("localhost:9000"));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            let refused = gate.examine(Peer::Plain, &headers).err();
            assert_eq!(refused.map(|refused| refused.into_response().status().as_u16()), status, "{origin:?}");
        }
        let nameless = gate.examine(Peer::Plain, &HeaderMap::new()).unwrap_err().into_response();
        assert_eq!(nameless.status(), StatusCode::MISDIRECTED_REQUEST);
    }

    #[test]
    fn a_token_is_compared_whole() {
        let access = Access::Token("secret".into());
        for given in [
            "Bearer ",
            "Bearer secre",
            "Bearer secrets",
            "Bearer  secret",
            "Bearer secret ",
            "Basic secret",
            "Bearersecret",
            "",
        ] {
            assert!(!access.allows(Peer::Plain, Some(given.as_bytes())), "{given:?}");
        }
        assert!(!access.allows(Peer::Plain, Some(b"Bearer \xff")));
        assert!(access.allows(Peer::Plain, Some(b"BEARER secret")));
    }
}
