//! Where a `Location` header leads.

use hyper::Uri;

/// The request target that `location` names, if it is on the server that `scheme` and `authority` name.
///
/// Another server would be sent the bearer token.
pub(super) fn target(location: &str, scheme: &str, authority: &str) -> Option<String> {
    let absolute = match location.strip_prefix("//") {
        Some(rest) => format!("{scheme}://{rest}"),
        None => location.to_owned(),
    };
    let uri: Uri = absolute.parse().ok()?;
    match (uri.scheme_str(), uri.authority()) {
        (None, None) => {}
        (Some(same), None) if same == scheme => {}
        (Some(same), Some(there)) if same == scheme && there.as_str().eq_ignore_ascii_case(authority) => {}
        _ => return None,
    }
    let target = uri.path_and_query()?.as_str();
    target.starts_with('/').then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(location: &str, expected: Option<&str>) {
        assert_eq!(target(location, "http", "localhost:9000").as_deref(), expected, "{location:?}");
    }

    #[test]
    fn the_same_server_is_followed() {
        check("/polycube/v1/svc/s/", Some("/polycube/v1/svc/s/"));
        check("/a?b=c", Some("/a?b=c"));
        check("http://localhost:9000/a/", Some("/a/"));
        check("http://LOCALHOST:9000/a/", Some("/a/"));
        check("//localhost:9000/a/", Some("/a/"));
    }

    #[test]
    fn another_server_is_not() {
        for location in
            ["http://evil/a/", "//evil/a/", "https://localhost:9000/a", "http://localhost/a", "evil/a", "", "*"]
        {
            check(location, None);
        }
    }
}
