//! Which requests are admitted over TCP.

use std::fs::Permissions;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use polycube_tests::http;
use polycube_tests::lab::Lab;

use crate::site::{Site, assert_errors};

fn over_tcp(lab: &Lab, headers: &[(&str, &str)]) -> Result<u16> {
    let stream = lab.host().enter(|| TcpStream::connect(("127.0.0.1", 9000)))?;
    let mut reply = http::exchange(stream, headers, "GET", "/polycube/v1/cubes/", None)?;
    let mut body = String::new();
    reply.body.read_to_string(&mut body)?;
    if reply.status != 200 {
        assert_errors(&serde_json::from_str(&body)?, &[("invalid-value", "")]);
        let challenge =
            reply.headers.iter().any(|(name, value)| name == "www-authenticate" && value.starts_with("Bearer"));
        assert_eq!(challenge, reply.status == 401);
    }
    Ok(reply.status)
}

#[test]
fn tcp_requires_the_token_and_the_daemons_own_name() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let token = temporary.path().join("token");
    std::fs::write(&token, "secret\nnot this\n")?;
    std::fs::set_permissions(&token, Permissions::from_mode(0o640))?;
    let site = Site::build(&["--addr", "127.0.0.1", "--token-file", token.to_str().context("UTF-8")?])?;
    let ask = |host: &str, authorization: Option<&str>| {
        let authorization = authorization.map(|value| ("authorization", value));
        over_tcp(&site.scene.lab, &[("host", host)].into_iter().chain(authorization).collect::<Vec<_>>())
    };
    let right = Some("Bearer secret");
    assert_eq!(ask("127.0.0.1:9000", right)?, 200);
    assert_eq!(ask("localhost:9000", right)?, 200);
    for wrong in [
        None,
        Some("Bearer secre"),
        Some("Bearer secret2"),
        Some("Bearer not this"),
        Some("secret"),
        Some("Basic secret"),
    ] {
        assert_eq!(ask("127.0.0.1:9000", wrong)?, 401, "{wrong:?}");
    }
    for host in ["evil.example:9000", "evil.example", "localhost", "localhost:9001", "127.0.0.1.evil.example:9000"] {
        assert_eq!(ask(host, right)?, 421, "{host}");
    }
    // On the Unix socket, its permissions are enough.
    site.get("cubes/");
    Ok(())
}

#[test]
fn tcp_without_a_token_needs_no_auth() -> Result<()> {
    let site = Site::build(&["--port", "9000", "--no-auth"])?;
    assert_eq!(over_tcp(&site.scene.lab, &[("host", "127.0.0.1:9000")])?, 200);
    assert_eq!(over_tcp(&site.scene.lab, &[("host", "evil.example:9000")])?, 421);
    Ok(())
}

#[test]
fn tcp_is_off_unless_asked_for() -> Result<()> {
    let site = Site::build(&[])?;
    let table = site.scene.lab.host().enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp"))?;
    assert_eq!(table.lines().count(), 1, "{table}");
    let mode = std::fs::metadata(site.scene.daemon.socket())?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o660);
    Ok(())
}
