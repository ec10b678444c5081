//! The Host header, of which an HTTP/1.1 request has exactly one (RFC 9112 section 3.2).

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::problem::Problem;
use crate::rest::error::Refusal;

/// Middleware of all listeners.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match fault(request.version(), request.headers()) {
        None => next.run(request).await,
        Some(reason) => Refusal::new(StatusCode::BAD_REQUEST, Problem::invalid("", reason)).closing().into_response(),
    }
}

fn fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version < Version::HTTP_11 => None,
        (None, _) => Some("the request has no Host header: send one"),
        (Some(_), Some(_)) => Some("the request has more than one Host header: send one"),
        (Some(host), None) if is_host(host.as_bytes()) => None,
        (Some(_), None) => Some("the Host header is not valid: send a name or an address, with or without a port"),
    }
}

/// A host and perhaps a port, or nothing at all, which is for paths without a host.
fn is_host(value: &[u8]) -> bool {
    value.is_empty() || !value.contains(&b'@') && Authority::try_from(value).is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(version: Version, hosts: &[&'static str], about: Option<&str>) {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_static(host));
        }
        let found = fault(version, &headers);
        assert_eq!(found.is_some(), about.is_some(), "{hosts:?}: {found:?}");
        assert!(found.unwrap_or_default().contains(about.unwrap_or_default()), "{hosts:?}: {found:?}");
    }

    #[test]
    fn a_request_has_one_host() {
        for host in ["localhost", "localhost:9000", "10.0.0.1", "[::1]:9000", "[::1]", "x", ""] {
            check(Version::HTTP_11, &[host], None);
            check(Version::HTTP_11, &[host, host], Some("more than one"));
        }
        check(Version::HTTP_11, &[], Some("no Host"));
        check(Version::HTTP_10, &[], None);
        check(Version::HTTP_10, &["a", "b"], Some("more than one"));
        for host in ["a b", "a/b", "user@localhost", "http://localhost", "[::1", "a, b", "a:b:c"] {
            check(Version::HTTP_11, &[host], Some("not valid"));
        }
    }
}
