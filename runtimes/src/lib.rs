//! Questions to container runtimes: which network namespace does a container or a pod have?
//!
//! Docker and Podman speak one language over a Unix socket (`docker`), containerd and CRI-O another (`cri`), which alone
//! has pods. What a runtime sends is bounded in size and in time, whatever it is.
//!
//! This is a crate of its own, so that it and HTTP/2 can be compiled for size: a question is asked once a second, and of
//! what the client adds to a daemon as it is packaged, that and the use of h2 without hyper save a third.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod cri;
mod docker;
mod grpc;
mod protobuf;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use http::StatusCode;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long a runtime may take for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a runtime speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The API of Docker, which Podman has, too.
    Docker,
    /// The API by which Kubernetes asks containerd and CRI-O.
    Cri,
}

/// What a runtime is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A container, by its name or the beginning of its id.
    Container(&'a str),
    /// A pod of Kubernetes.
    #[expect(missing_docs, reason = "as Kubernetes calls them")]
    Pod { namespace: &'a str, name: &'a str },
}

/// What a runtime says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs, with this network.
    Runs(Network),
    /// It exists and does not run.
    Stopped,
    /// It does not exist.
    Missing,
    /// Several that run have this name.
    Several,
}

/// The network of what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// The machine's own.
    Host,
    /// That of a process.
    Process(u32),
    /// A namespace, as `ip netns` lists it.
    Named(String),
}

/// Why a runtime gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket cannot be connected to.
    #[error(transparent)]
    Connect(io::Error),
    /// What it speaks is not HTTP, or the connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// What it speaks is not HTTP/2, or the connection broke.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// It takes too long.
    #[error("it has not answered for {} s", PATIENCE.as_secs())]
    Slow,
    /// Its answer is too large, or not what it should be.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    /// It answered with a status of HTTP.
    #[error("it answered {status}: {message}")]
    #[expect(missing_docs, reason = "named for what they are")]
    Refused { status: StatusCode, message: String },
    /// It does not have the service: a containerd whose CRI is off.
    #[error("it has no CRI: {0}")]
    Unimplemented(String),
    /// It answered with another status of gRPC.
    #[error("it answered with gRPC's status {status}: {message}")]
    #[expect(missing_docs, reason = "named for what they are")]
    Status { status: u32, message: String },
}

/// Asks the runtime that listens on `socket`.
///
/// # Errors
/// It gives no answer in 3 s.
pub async fn ask(socket: &Path, language: Language, asked: Asked<'_>) -> Result<Answer, AskError> {
    timeout(PATIENCE, answer(socket, language, asked)).await.unwrap_or(Err(AskError::Slow))
}

/// An answer that is on its way.
type Pending<'a> = Pin<Box<dyn Future<Output = Result<Answer, AskError>> + Send + 'a>>;

/// A boxed future is compiled here, with this crate's options, and not where it is awaited.
fn answer<'a>(socket: &'a Path, language: Language, asked: Asked<'a>) -> Pending<'a> {
    Box::pin(async move {
        let stream = UnixStream::connect(socket).await.map_err(AskError::Connect)?;
        match (language, asked) {
            (Language::Docker, Asked::Container(name)) => docker::ask(stream, name).await,
            (Language::Docker, Asked::Pod { .. }) => Ok(Answer::Missing),
            (Language::Cri, asked) => cri::ask(stream, asked).await,
        }
    })
}
