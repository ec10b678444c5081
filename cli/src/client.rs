//! HTTP to the daemon, over its Unix socket, TCP or TLS.

mod error;
mod half_closed;
mod handing;
mod redirect;
mod tls;

use std::error::Error as _;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::TokioIo;
use polycube_api::{DESCRIPTOR, INTO, media};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub(crate) use self::error::ClientError;
use self::half_closed::HalfClosed;
use self::handing::Handing;
pub(crate) use self::tls::{FileError, Tls};
use crate::address::{Address, Transport};
use crate::grammar::Request;
use crate::terminal::escape;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the user may wonder.
const NOTICE_AFTER: Duration = Duration::from_secs(3);
const MAX_REDIRECTS: usize = 5;
/// A guard against a resource that never ends. No model should come near it.
const MAX_ANSWER: usize = 64 << 20;

/// Characters of a request's target that an error shows.
const SHOWN: usize = 64;

/// The media type that documents are asked for with. It does not match a stream of plain JSON, such as network mode's
/// next packet: showing a packet must not take it.
const DOCUMENT: &str = media::YANG_DATA;

/// A client of one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    address: Address,
    tls: Option<Tls>,
    authorization: Option<HeaderValue>,
    debug: bool,
    /// Whether the daemon was started for one capture.
    is_private: bool,
}

/// What is shown of a request's body where requests are shown.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    Everything,
    Nothing,
}

/// The daemon's answer to a request, redirects followed.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    /// `authorization` is the whole value of the header; with `debug`, requests and answers are shown on stderr.
    pub(crate) fn new(address: Address, tls: Option<Tls>, authorization: Option<HeaderValue>, debug: bool) -> Self {
        Self { address, tls, authorization, debug, is_private: false }
    }

    /// The client of a daemon that was started for one capture: it is not named to the user, who has not started it.
    pub(crate) fn of_private_daemon(self) -> Self {
        Self { is_private: true, ..self }
    }

    /// Sends a request, following redirects within the same daemon.
    ///
    /// # Errors
    ///
    /// The daemon cannot be reached, or what it sends is not an answer. A refusal is an answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, ClientError> {
        let response = self.open(request, DOCUMENT).await?;
        match response.headers().get(CONTENT_TYPE).filter(|media| !is_readable(media)) {
            // It may be long, or never end.
            Some(media) => Err(ClientError::Stream { media: String::from_utf8_lossy(media.as_bytes()).into_owned() }),
            None => self.answer(response).await,
        }
    }

    /// As [`Client::send`]; the request's body is shown nowhere.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub(crate) async fn confide(&self, request: &Request) -> Result<Answer, ClientError> {
        self.answer(self.ask(request, DOCUMENT, Shown::Nothing, None).await?).await
    }

    /// As [`Client::send`], without the body: it may be long, or never end.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub(crate) async fn open(&self, request: &Request, accept: &str) -> Result<Response<Incoming>, ClientError> {
        self.ask(request, accept, Shown::Everything, None).await
    }

    /// Whether there is somebody to ask.
    ///
    /// # Errors
    ///
    /// The daemon cannot be reached.
    pub(crate) async fn reach(&self) -> Result<(), ClientError> {
        match &self.address.transport {
            Transport::Unix(path) => drop(self.connect(UnixStream::connect(path)).await?),
            Transport::Tcp { host, port, .. } => drop(self.connect(TcpStream::connect((host.as_str(), *port))).await?),
        }
        Ok(())
    }

    /// Whether the daemon can be handed files.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.address.transport, Transport::Unix(_))
    }

    /// As [`Client::open`] of a daemon that [is local](Self::is_local), and has it write what it would answer into `file`: the
    /// answer is of type [`media::REPORTS`] if it does.
    ///
    /// # Errors
    ///
    /// As [`Client::send`].
    pub(crate) async fn open_into(
        &self,
        request: &Request,
        accept: &str,
        file: &File,
    ) -> Result<Response<Incoming>, ClientError> {
        self.ask(request, accept, Shown::Everything, Some(file)).await
    }

    async fn ask(
        &self,
        request: &Request,
        accept: &str,
        shown: Shown,
        file: Option<&File>,
    ) -> Result<Response<Incoming>, ClientError> {
        let body = request.body.as_ref().map(|body| Bytes::from(body.to_string()));
        let traced = body.as_deref().filter(|_| shown == Shown::Everything);
        let mut target = format!("{}{}", self.address.base, request.path);
        for _ in 0..=MAX_REDIRECTS {
            self.trace(format_args!("> {} {target} to {}", request.method, self.address), traced);
            let mut sent = self.request(&request.method, &target, accept, body.clone())?;
            if file.is_some() {
                sent.headers_mut().insert(INTO, HeaderValue::from_static(DESCRIPTOR));
            }
            let response = self.attempt(sent, file).await?;
            self.trace(format_args!("< {}", response.status()), None);
            let location = response.headers().get(LOCATION);
            let (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, Some(location)) =
                (response.status(), location)
            else {
                return Ok(response);
            };
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            target = redirect::target(&location, self.address.scheme(), self.address.authority())
                .ok_or_else(|| ClientError::RedirectElsewhere { address: self.address.to_string(), location })?;
        }
        Err(ClientError::Redirects { address: self.address.to_string(), most: MAX_REDIRECTS })
    }

    /// Reads an answer to its end.
    ///
    /// # Errors
    ///
    /// It ends early, or is too long.
    pub(crate) async fn answer(&self, response: Response<Incoming>) -> Result<Answer, ClientError> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        match self.wait(body).await? {
            Ok(body) => {
                let answer = Answer { status, body: body.to_bytes() };
                self.trace(format_args!("< {} bytes", answer.body.len()), Some(&answer.body));
                Ok(answer)
            }
            Err(error) => Err(match error.downcast() {
                Ok(source) => self.broken(*source),
                Err(_) => ClientError::TooLong { address: self.address.to_string(), most: MAX_ANSWER >> 20 },
            }),
        }
    }

    /// The error of a connection that failed.
    pub(crate) fn broken(&self, source: hyper::Error) -> ClientError {
        let address = self.address.to_string();
        match self.tls.as_ref().and_then(|tls| tls.reason(&source)) {
            Some(source) => ClientError::Tls { address, source },
            None if is_closed(&source) => ClientError::Closed { address },
            None => ClientError::Broken { address, source },
        }
    }

    fn silent(&self) -> ClientError {
        ClientError::Silent { address: self.address.to_string(), seconds: ANSWER_TIMEOUT.as_secs() }
    }

    fn trace(&self, line: fmt::Arguments<'_>, body: Option<&[u8]>) {
        if self.debug {
            let body = String::from_utf8_lossy(body.unwrap_or_default());
            // There is nowhere to report that stderr is closed.
            let _ = writeln!(io::stderr(), "{line}");
            let _ = body.lines().try_for_each(|line| writeln!(io::stderr(), "  {}", escape(line)));
        }
    }

    async fn attempt(
        &self,
        request: hyper::Request<Full<Bytes>>,
        file: Option<&File>,
    ) -> Result<Response<Incoming>, ClientError> {
        match &self.address.transport {
            Transport::Unix(path) => {
                let stream = self.connect(UnixStream::connect(path)).await?;
                let Some(file) = file else { return self.exchange(HalfClosed(stream), request).await };
                let file = file.try_clone().map_err(|source| ClientError::connect(&self.address, source))?;
                self.exchange(HalfClosed(Handing::new(stream, file.into())), request).await
            }
            Transport::Tcp { host, port, .. } => {
                let stream = self.connect(TcpStream::connect((host.as_str(), *port))).await?;
                match &self.tls {
                    Some(tls) => self.exchange(self.connect(tls.connect(HalfClosed(stream))).await?, request).await,
                    None => self.exchange(HalfClosed(stream), request).await,
                }
            }
        }
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        accept: &str,
        body: Option<Bytes>,
    ) -> Result<hyper::Request<Full<Bytes>>, ClientError> {
        let mut request = hyper::Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, self.address.authority())
            .header(ACCEPT, accept);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, media::JSON);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .body(Full::new(body.unwrap_or_default()))
            .map_err(|source| ClientError::Request { target: target.chars().take(SHOWN).collect(), source })
    }

    async fn connect<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S, ClientError> {
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|source| match self.tls.as_ref().and_then(|tls| tls.reason(&source)) {
                Some(source) => ClientError::Tls { address: self.address.to_string(), source },
                None => ClientError::connect(&self.address, source),
            }),
            Err(_) => Err(ClientError::connect(&self.address, io::ErrorKind::TimedOut.into())),
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: hyper::Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let head = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its errors reach us through the sender and the body as well.
            tokio::spawn(connection);
            sender.send_request(request).await
        };
        self.wait(head).await?.map_err(|source| self.broken(source))
    }

    /// Waits for the daemon, and says so where that takes long: it may be stopped, or at work.
    async fn wait<T>(&self, answer: impl Future<Output = T>) -> Result<T, ClientError> {
        let mut answer = pin!(answer);
        if let Ok(answered) = timeout(NOTICE_AFTER, &mut answer).await {
            return Ok(answered);
        }
        let seconds = ANSWER_TIMEOUT.as_secs();
        // There is nowhere to report that stderr is closed.
        let _ = match self.is_private {
            true => writeln!(io::stderr(), "polycubectl: loading the programs, for up to {seconds} s"),
            false => writeln!(
                io::stderr(),
                "polycubectl: the daemon at {} has not answered yet: waiting for up to {seconds} s",
                self.address
            ),
        };
        timeout(ANSWER_TIMEOUT.saturating_sub(NOTICE_AFTER), answer).await.map_err(|_| self.silent())
    }
}

/// Whether the peer closed the connection, and not sent something else than HTTP.
fn is_closed(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_incomplete_message()
        || source.is_some_and(|source| [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&source.kind()))
}

/// Whether a body of this media type can be shown: JSON in one of its forms, or text.
fn is_readable(media: &HeaderValue) -> bool {
    let media = String::from_utf8_lossy(media.as_bytes()).to_ascii_lowercase();
    let bare = media.split(';').next().unwrap_or_default().trim();
    bare.is_empty() || bare.ends_with("json") || bare.starts_with("text/")
}

#[cfg(test)]
mod tests;
