//! Access over TCP: a request needs a token or a client certificate, and must be meant for this daemon. Access to the
//! Unix socket is up to the file system.

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::subject::Subject;
use super::tokens::{TokenError, Tokens};
use super::{Current, Security};
use crate::problem::Problem;
use crate::rest::client::{Client, Role, Who};
use crate::rest::error::Refusal;
use crate::rest::routes::is_public;
use crate::sys::{process, regular};

/// What a request over TCP needs.
#[derive(Clone)]
pub(crate) enum Access {
    /// `Authorization: Bearer …` with one of these tokens, or a client certificate where one is asked for.
    Tokens(Tokens),
    /// A client certificate: clients without one cannot connect.
    Certificate,
    /// Nothing. For labs.
    Open,
}

impl Access {
    /// Reads the tokens in a file.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub(crate) fn from_file(path: &Path) -> Result<Self, TokenError> {
        Tokens::from_file(path).map(Self::Tokens)
    }

    /// A client's identity and role; `None` if it may do nothing.
    fn admits(&self, peer: &Peer, authorization: Option<&[u8]>) -> Option<(Who, Role)> {
        match (self, peer) {
            (access, Peer::Certified(subject)) => {
                let role = match access {
                    Self::Tokens(tokens) => tokens.role_of_certificate(&subject.common_names),
                    Self::Certificate | Self::Open => Role::Admin,
                };
                Some((Who::Certificate(Arc::clone(&subject.text)), role))
            }
            (Self::Open, _) => Some((Who::Anyone, Role::Admin)),
            (Self::Certificate, _) => None,
            (Self::Tokens(tokens), _) => {
                let (scheme, given) = authorization?.split_at_checked(b"Bearer ".len())?;
                let (name, role) = tokens.find(given).filter(|_| scheme.eq_ignore_ascii_case(b"Bearer "))?;
                Some((Who::Token(name), role))
            }
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
}

/// Reads a file that only its owner and group may use. Errors begin with `what` it is.
///
/// # Errors
/// The file cannot be read, or others can use it.
pub(super) fn read_secret(what: &'static str, path: &Path) -> Result<Vec<u8>, SecretError> {
    use std::os::unix::fs::PermissionsExt as _;
    let read = |source| SecretError::Read { what, file: path.to_owned(), source };
    let mut file = regular::open(path).map_err(read)?;
    if file.metadata().map_err(read)?.permissions().mode() & 0o007 != 0 {
        return Err(SecretError::Exposed { what, file: path.to_owned() });
    }
    let mut secret = Vec::new();
    file.read_to_end(&mut secret).map_err(read)?;
    Ok(secret)
}

/// What is known of a connection's peer. Each request has it as an extension.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Peer {
    /// A local user, if the kernel says which.
    Local(Option<u32>),
    /// Nothing: there is no TLS.
    Plain,
    /// It speaks TLS.
    Encrypted,
    /// It speaks TLS, and has presented a certificate of ours, with this subject.
    Certified(Subject),
    /// It does not speak TLS on a port that requires it.
    Mistaken,
}

/// Where a connection comes from. Each request has it as an extension.
#[derive(Clone, Debug)]
pub(super) struct Whence {
    /// In words.
    pub from: Arc<str>,
    /// Its ends, over TCP: ours and the client's.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// Marks, as an extension, a request that needs no admission: its connection stays pending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Public;

/// What a TCP listener lets pass.
#[derive(Clone)]
pub(super) struct Gate {
    pub security: Current<Security>,
    pub address: SocketAddr,
}

/// Middleware of the Unix socket: its permissions are all the access control that there is.
pub(super) async fn welcome(
    Extension(peer): Extension<Peer>,
    Extension(Whence { from, ends }): Extension<Whence>,
    mut request: Request,
    next: Next,
) -> Response {
    let uid = if let Peer::Local(uid) = peer { uid } else { None };
    request.extensions_mut().insert(Client { who: Who::User(uid), from, ends, role: Role::Admin });
    next.run(request).await
}

/// Middleware of the TCP listener.
pub(super) async fn check(
    State(gate): State<Gate>,
    Extension(peer): Extension<Peer>,
    Extension(Whence { from, ends }): Extension<Whence>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = &gate.security.get().access;
    let admitted = gate.meant(&peer, request.headers()).and_then(|()| gate.admit(access, &peer, request.headers()));
    let is_probe = matches!(*request.method(), Method::GET | Method::HEAD) && is_public(request.uri().path());
    match admitted {
        Ok((who, role)) => {
            request.extensions_mut().insert(Client { who, from, ends, role });
            next.run(request).await
        }
        Err(refused) if is_probe && refused.status() == StatusCode::UNAUTHORIZED => {
            request.extensions_mut().insert(Client { who: Who::Anyone, from, ends, role: Role::Read });
            request.extensions_mut().insert(Public);
            let mut response = next.run(request).await;
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(refused) => refused.closing().into_response(),
    }
}

impl Gate {
    /// The client of a request with these headers.
    fn admit(&self, access: &Access, peer: &Peer, headers: &HeaderMap) -> Result<(Who, Role), Refusal> {
        let authorization = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        access.admits(peer, authorization).ok_or_else(|| {
            let message = "no valid token: send `Authorization: Bearer TOKEN`, the token of the daemon's --token-file";
            Refusal::new(StatusCode::UNAUTHORIZED, Problem::invalid("", message))
        })
    }

    /// Whether the request is meant for this daemon.
    fn meant(&self, peer: &Peer, headers: &HeaderMap) -> Result<(), Refusal> {
        let header = |name| headers.get(name).map(HeaderValue::as_bytes);
        let refused = |status, message| Err(Refusal::new(status, Problem::invalid("", message)));
        if *peer == Peer::Mistaken {
            let message = format!("this port speaks TLS: use https://{}/", self.address);
            return refused(StatusCode::BAD_REQUEST, message);
        }
        // Over TLS, the client has compared the name with our certificate.
        let is_meant = |host| *peer != Peer::Plain || is_ours(host, self.address);
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

    fn gate(access: Access) -> Gate {
        let security = Current::new(Security { access, tls: None });
        Gate { security, address: "127.0.0.1:9000".parse().unwrap() }
    }

    fn examine(gate: &Gate, peer: &Peer, headers: &HeaderMap) -> Result<(Who, Role), Refusal> {
        gate.meant(peer, headers)?;
        gate.admit(&gate.security.get().access, peer, headers)
    }

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
        let access = Access::Tokens(Tokens::alone("secret"));
        for (given, allowed) in [
            (Some("Bearer secret"), true),
            (Some("bearer secret"), true),
            (Some("Bearer secreT"), false),
            (Some("secret"), false),
            (None, false),
        ] {
            let admitted = access.admits(&Peer::Encrypted, given.map(str::as_bytes));
            assert_eq!(admitted, allowed.then_some((Who::Token(None), Role::Admin)), "{given:?}");
        }
    }

    fn alice() -> Peer {
        Peer::Certified(Subject { text: "CN=alice".into(), common_names: ["alice".to_owned()].into() })
    }

    #[test]
    fn a_certificate_replaces_a_token() {
        for access in [Access::Tokens(Tokens::alone("secret")), Access::Certificate] {
            let expected = (Who::Certificate("CN=alice".into()), Role::Admin);
            assert_eq!(access.admits(&alice(), None), Some(expected));
            assert_eq!(access.admits(&Peer::Encrypted, None), None);
        }
    }

    #[test]
    fn over_tls_the_certificate_vouches_for_the_name() {
        let gate = gate(Access::Certificate);
        let certified = alice;
        let check = |peer: Peer, host: &'static str, origin: Option<&'static str>, status: Option<u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
            let refused = examine(&gate, &peer, &headers).err();
            let found = refused.map(|refused| refused.into_response().status().as_u16());
            assert_eq!(found, status, "{peer:?} {host} {origin:?}");
        };
        check(certified(), "lab.example:9000", None, None);
        check(certified(), "lab.example:9000", Some("https://lab.example:9000"), None);
        check(certified(), "lab.example:9000", Some("http://lab.example:9000"), Some(403));
        check(certified(), "lab.example:9000", Some("https://evil.example"), Some(403));
        check(certified(), "lab.example:9000", Some("null"), Some(403));
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
            (Ok(Access::Tokens(tokens)), Ok(expected)) => assert!(tokens.find(expected.as_bytes()).is_some()),
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
        check_file(b"# secret\n", 0o600, Err("/token:1:1: it has neither a token"));
        check_file(b"# Ours\n[[token]]\nname = 'a'\nrole = 'read'\ntoken = 't'\n", 0o600, Ok("t"));
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
        let gate = gate(Access::Open);
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
            let refused = examine(&gate, &Peer::Plain, &headers).err();
            assert_eq!(refused.map(|refused| refused.into_response().status().as_u16()), status, "{origin:?}");
        }
        let nameless = examine(&gate, &Peer::Plain, &HeaderMap::new()).unwrap_err().into_response();
        assert_eq!(nameless.status(), StatusCode::MISDIRECTED_REQUEST);
    }

    #[test]
    fn a_token_is_compared_whole() {
        let access = Access::Tokens(Tokens::alone("secret"));
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
            assert_eq!(access.admits(&Peer::Plain, Some(given.as_bytes())), None, "{given:?}");
        }
        assert_eq!(access.admits(&Peer::Plain, Some(b"Bearer \xff")), None);
        assert!(access.admits(&Peer::Plain, Some(b"BEARER secret")).is_some());
    }
}
