//! Opening sockets, while the daemon still has the capabilities for low ports and for giving a socket to a group.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use super::ListenError;
use crate::sys::process::group_id;
use crate::sys::socket;

/// The group whose members may use the socket.
pub(crate) const GROUP: &str = "polycube";

/// Most connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The Unix socket. Dropping it removes it from the file system.
pub(crate) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl UnixSocket {
    /// Opens the socket at `path`, in the place of one that nothing listens on. Clients that connect wait until it is
    /// served.
    ///
    /// # Errors
    /// The socket cannot be opened.
    pub(crate) fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Unix { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        if path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(failed)?;
                }
                _ => return Err(ListenError::Taken { path: path.to_owned() }),
            }
        }
        restricted(path).map_err(failed)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "removing the socket");
        }
    }
}

/// A socket that only its owner and group can use.
fn restricted(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnixSocket { listener: socket::bind_private(path)?, path: path.to_owned() };
    let given = group_id(GROUP).map_or(Ok(()), |group| chown(path, None, Some(group)));
    let mode = match given {
        Ok(()) => 0o660,
        // Without CAP_CHOWN, users may only give it to a group that they are in.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(socket = %path.display(), "cannot give the socket to group {GROUP}: only its owner can use it");
            0o600
        }
        Err(error) => return Err(error),
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    prepare(&socket.listener, UnixListener::set_nonblocking)?;
    Ok(socket)
}

/// Opens a TCP socket. If the port is 0, the kernel chooses one.
///
/// # Errors
/// The address cannot be listened on.
pub(crate) fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        prepare(&listener, TcpListener::set_nonblocking)?;
        Ok(listener)
    };
    bind().map_err(|source| ListenError::Tcp { address, source })
}

fn prepare<L: AsFd>(listener: &L, set_nonblocking: fn(&L, bool) -> io::Result<()>) -> io::Result<()> {
    // The standard library's backlog may be smaller.
    socket::set_backlog(listener, BACKLOG)?;
    set_nonblocking(listener, true)
}
