//! Sockets: the Unix socket, and TCP where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::Path;

use axum::middleware;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

use super::access::{Access, Gate, check};
use super::{Api, router};
use crate::sys::process::group_id;

/// The group whose members may use the socket.
const GROUP: &str = "polycube";

/// Serves the API on a Unix socket until `stop` changes.
///
/// # Errors
/// One line that says why the socket cannot be had.
pub async fn serve_unix(
    api: Api,
    path: &Path,
    stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<>, String> {
    let listener = bind_unix(path).await.map_err(|error| format!("cannot listen on {}: {error}", path.display()))?;
    Ok(async move {
        let served = axum::serve(listener, router(api)).with_graceful_shutdown(stopped(stop)).await;
        report(served);
    })
}

/// Serves the API over TCP until `stop` changes.
///
/// # Errors
/// One line that says why the address cannot be had.
pub async fn serve_tcp(
    api: Api,
    address: SocketAddr,
    access: Access,
    stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, impl Future<Output = ()>), String> {
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let gate = Gate { access, address };
    let router = router(api).layer(middleware::from_fn_with_state(gate, check));
    Ok((address, async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped(stop)).await;
        report(served);
    }))
}

fn report(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::error!(%error, "a listener ended");
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender is gone only when the daemon is.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => {
                return Err(io::Error::other(
                    "another polycubed answers there; stop it, or give --socket another path",
                ));
            }
        }
    }
    // Nobody connects before the permissions are right.
    let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(umask);
    let listener = listener?;
    if let Some(group) = group_id(GROUP) {
        chown(path, None, Some(group))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}
