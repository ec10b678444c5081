//! Sockets: the Unix socket, and TCP if it is asked for.

mod access;
mod progress;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::serve::{Listener, ListenerExt as _};
use axum::{Router, middleware};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use self::access::Access;
use self::access::{Gate, Peer, check};
use self::progress::{Pause, Progress};
pub use self::tls::{Files as TlsFiles, acceptor as tls_acceptor};
use super::call::MayPause;
use super::context::Api;
use super::dispatch::router;
use crate::sys::process::group_id;

/// Most connections that a listener serves at once.
const CONNECTIONS: usize = 256;

/// How long the head of a request may take to arrive, how long a connection may idle before it, how long a client may
/// read nothing of an answer, and how long it may take to agree on TLS.
const PATIENCE: Duration = Duration::from_secs(10);

/// What TLS begins with: a record of type handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// The group whose members may use the socket.
const GROUP: &str = "polycube";

/// A socket that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {}", path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("cannot listen on {}: another polycubed answers there; stop it, or give --socket another path", path.display())]
    Taken { path: PathBuf },
    #[error("cannot listen on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
}

/// Serves the API on a Unix socket until `stop` changes.
///
/// # Errors
/// The socket cannot be opened.
pub async fn serve_unix(
    api: Api,
    path: &Path,
    stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + use<>, ListenError> {
    let listener = bind_unix(path).await?;
    // The permissions of the socket are all the access control that there is.
    Ok(serve(listener, router(api), stop, |stream, exchange: Exchange| exchange.plain(stream)))
}

/// Serves the API over TCP, with TLS if there is an acceptor, until `stop` changes.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve_tcp(
    api: Api,
    address: SocketAddr,
    access: Access,
    tls: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) -> Result<(SocketAddr, impl Future<Output = ()>), ListenError> {
    let failed = |source| ListenError::Tcp { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    // Head and body of an answer, and packets of a stream, are written one by one. None may wait until the client has
    // acknowledged the one before, which it may do 40 ms late (RFC 896, RFC 1122 section 4.2.3.2).
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm on a connection");
        }
    });
    let gate = Gate { access, address };
    let router = router(api).layer(middleware::from_fn_with_state(gate, check));
    let greet = move |stream, exchange: Exchange| {
        let tls = tls.clone();
        async move {
            match tls {
                Some(tls) => exchange.encrypted(stream, tls).await,
                None => exchange.plain(stream).await,
            }
        }
    };
    Ok((address, serve(listener, router, stop, greet)))
}

/// Serves until `stop` changes, and then finishes what has begun. `greet` turns a connection into what HTTP is spoken
/// over.
async fn serve<L: Listener, F: Future<Output = io::Result<()>> + Send + 'static>(
    mut listener: L,
    router: Router,
    mut stop: watch::Receiver<bool>,
    greet: impl Fn(L::Io, Exchange) -> F,
) {
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            // A client that finds no room waits in the listener's queue. The semaphore is never closed.
            let place = Arc::clone(&room).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, (stream, _)) = tokio::select! {
            next = next => next,
            // The sender is gone only when the daemon is.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let exchange = Exchange { router: router.clone(), watcher: connections.watcher(), pause: Pause::default() };
        let served = greet(stream, exchange);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(%error, "a connection broke");
            }
            drop(place);
        });
    }
    drop(listener);
    connections.shutdown().await;
}

/// What answers the requests of one connection.
struct Exchange {
    router: Router,
    watcher: Watcher,
    pause: Pause,
}

impl Exchange {
    async fn plain<S: AsyncRead + AsyncWrite + AsFd + Unpin + 'static>(self, stream: S) -> io::Result<()> {
        let stream = self.watched(stream);
        self.run(stream, Peer::Plain).await
    }

    async fn encrypted(self, stream: TcpStream, tls: TlsAcceptor) -> io::Result<()> {
        let mut first = [0];
        timeout(PATIENCE, stream.peek(&mut first)).await??;
        let stream = self.watched(stream);
        if first != [HANDSHAKE] {
            return self.run(stream, Peer::Mistaken).await;
        }
        let stream = timeout(PATIENCE, tls.accept(stream)).await??;
        let (_, session) = stream.get_ref();
        let peer = if session.peer_certificates().is_some() { Peer::Certified } else { Peer::Encrypted };
        self.run(stream, peer).await
    }

    fn watched<S: AsFd>(&self, stream: S) -> Progress<S> {
        Progress::new(stream, PATIENCE, self.pause.clone())
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S, peer: Peer) -> io::Result<()> {
        let Self { router, watcher, pause } = self;
        let service = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let (pause, answer) = (pause.clone(), service.call(request));
            async move {
                let answer = answer.await;
                pause.set(answer.as_ref().is_ok_and(|answer| answer.extensions().get::<MayPause>().is_some()));
                answer
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await.map_err(io::Error::other)
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |source| ListenError::Unix { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket()) {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            _ => return Err(ListenError::Taken { path: path.to_owned() }),
        }
    }
    restricted(path).map_err(failed)
}

/// A socket that only its owner and group can use.
fn restricted(path: &Path) -> io::Result<UnixListener> {
    // Nobody may connect before the permissions are right.
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
