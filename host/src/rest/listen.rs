//! Sockets: the Unix socket, and TCP if it is asked for.

mod access;
mod admission;
mod bind;
mod current;
mod host;
mod progress;
mod receiving;
mod subject;
mod tls;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::serve::{Listener, ListenerExt as _};
use axum::{Router, middleware};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::access::Access;
use self::access::{Gate, Peer, Whence, check, welcome};
use self::admission::{Admission, Connection, Origin, admit};
pub(crate) use self::bind::{UnixSocket, bind_tcp};
pub(crate) use self::current::Current;
use self::progress::{Pause, Progress};
use self::receiving::Receiving;
use self::subject::Subject;
pub(crate) use self::tls::{Files as TlsFiles, acceptor as tls_acceptor};
use super::call::MayPause;
use super::context::Api;
use super::dispatch::router;
use super::handed::Handed;
use crate::sys::socket;

/// How long the head of a request may take to arrive, how long a connection may idle before it, how long a client may
/// read nothing of an answer, and how long a request may wait to be admitted. [`admission::PENDING_PATIENCE`] is shorter.
const PATIENCE: Duration = Duration::from_secs(10);

/// What TLS begins with: a record of type handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;

/// What a TCP listener asks of its clients. It may change while the daemon runs.
pub(crate) struct Security {
    pub access: Access,
    pub tls: Option<TlsAcceptor>,
}

/// A socket that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
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
/// What the kernel says.
pub(crate) fn serve_unix(
    api: Api,
    socket: &UnixSocket,
    stop: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let router = router(api).layer(middleware::from_fn(admit)).layer(middleware::from_fn(welcome));
    let origin = |stream: &UnixStream, _: &_| {
        let credentials = stream.peer_cred().ok();
        let process = credentials.and_then(|peer| peer.pid());
        let from = process.map_or_else(|| "Unix socket".to_owned(), |pid| format!("Unix socket, pid {pid}"));
        (Origin::User(credentials.map(|peer| peer.uid())), Whence { from: from.into(), ends: None })
    };
    let greet = |stream: UnixStream, exchange: Exchange| {
        let user = stream.peer_cred().ok().map(|peer| peer.uid());
        let stream = Receiving::new(stream, exchange.handed.clone());
        exchange.plain(stream, Peer::Local(user))
    };
    Ok(serve(listener, router, stop, origin, greet))
}

/// Serves the API over TCP, as `security` says when a connection or a request comes, until `stop` changes.
///
/// # Errors
/// What the kernel says.
pub(crate) fn serve_tcp(
    api: Api,
    listener: std::net::TcpListener,
    security: Current<Security>,
    stop: watch::Receiver<bool>,
) -> io::Result<impl Future<Output = ()> + use<>> {
    let address = listener.local_addr()?;
    // Head and body of an answer, and packets of a stream, are written one by one. None may wait until the client has
    // acknowledged the one before, which it may do 40 ms late (RFC 896, RFC 1122 section 4.2.3.2).
    let listener = TcpListener::from_std(listener)?.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm on a connection");
        }
        if let Err(error) = socket::keep_alive(&*stream) {
            tracing::debug!(%error, "cannot have the kernel check whether a client is still there");
        }
    });
    let gate = Gate { security: security.clone(), address };
    let router = router(api).layer(middleware::from_fn(admit)).layer(middleware::from_fn_with_state(gate, check));
    let greet = move |stream, exchange: Exchange| {
        let tls = security.get().tls.clone();
        async move {
            match tls {
                Some(tls) => exchange.encrypted(stream, tls).await,
                None => exchange.plain(stream, Peer::Plain).await,
            }
        }
    };
    let origin = |stream: &TcpStream, peer: &SocketAddr| {
        let ends = stream.local_addr().ok().map(|own| (own, *peer));
        (Origin::of(peer.ip()), Whence { from: peer.to_string().into(), ends })
    };
    Ok(serve(listener, router, stop, origin, greet))
}

/// Serves until `stop` changes, and then finishes what has begun. `greet` turns a connection into what HTTP is spoken
/// over.
async fn serve<L: Listener, F: Future<Output = io::Result<()>> + Send + 'static>(
    mut listener: L,
    router: Router,
    mut stop: watch::Receiver<bool>,
    origin: impl Fn(&L::Io, &L::Addr) -> (Origin, Whence),
    greet: impl Fn(L::Io, Exchange) -> F,
) {
    let router = router.layer(middleware::from_fn(host::check));
    let admission = Admission::new();
    let mut connections = JoinSet::new();
    loop {
        let (stream, address) = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            // The sender is gone only when the daemon is.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (origin, whence) = origin(&stream, &address);
        let connection = admission.accept(origin);
        let exchange = Exchange {
            router: router.clone(),
            stop: stop.clone(),
            connection: Arc::clone(&connection),
            pause: Pause::default(),
            handed: Handed::default(),
            whence,
        };
        let served = greet(stream, exchange);
        connections.spawn(async move {
            tokio::select! {
                served = served => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "a connection broke");
                    }
                }
                () = connection.evicted() => tracing::debug!("closed a connection without an admitted request"),
            }
        });
        if admission.may_evict() {
            // Read what this client has sent before the next one can evict it.
            tokio::task::yield_now().await;
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What answers the requests of one connection.
struct Exchange {
    router: Router,
    stop: watch::Receiver<bool>,
    connection: Arc<Connection>,
    pause: Pause,
    handed: Handed,
    whence: Whence,
}

impl Exchange {
    async fn plain<S: AsyncRead + AsyncWrite + AsFd + Unpin + 'static>(self, stream: S, peer: Peer) -> io::Result<()> {
        let stream = self.watched(stream);
        self.run(stream, peer).await
    }

    async fn encrypted(self, stream: TcpStream, tls: TlsAcceptor) -> io::Result<()> {
        let mut first = [0];
        stream.peek(&mut first).await?;
        let stream = self.watched(stream);
        if first != [HANDSHAKE] {
            return self.run(stream, Peer::Mistaken).await;
        }
        let stream = tls.accept(stream).await?;
        let (_, session) = stream.get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let peer = certificate.map_or(Peer::Encrypted, |certificate| Peer::Certified(Subject::of(certificate)));
        self.run(stream, peer).await
    }

    fn watched<S: AsFd>(&self, stream: S) -> Progress<S> {
        Progress::new(stream, PATIENCE, self.pause.clone())
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin + 'static>(self, stream: S, peer: Peer) -> io::Result<()> {
        let Self { router, mut stop, connection, pause, handed, whence } = self;
        let service = TowerToHyperService::new(router);
        let extension = Arc::clone(&connection);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(whence.clone());
            request.extensions_mut().insert(handed.clone());
            request.extensions_mut().insert(Arc::clone(&extension));
            let (pause, answer) = (pause.clone(), service.call(request));
            async move {
                let answer = answer.await;
                pause.set(answer.as_ref().is_ok_and(|answer| answer.extensions().get::<MayPause>().is_some()));
                answer
            }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        let mut served = pin!(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            result = served.as_mut() => return result.map_err(io::Error::other),
            _ = stop.wait_for(|stop| *stop) => {}
            () = connection.crowded_out() => {}
        }
        served.as_mut().graceful_shutdown();
        served.await.map_err(io::Error::other)
    }
}
