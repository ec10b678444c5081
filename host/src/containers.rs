//! Containers, by their runtimes' API: which process a name stands for.
//!
//! Docker and Podman answer the same question over a Unix socket: `GET /containers/NAME/json`, where NAME may be the beginning
//! of an id. Each answer is awaited for [`PATIENCE`] at most, and never on the engine's thread: what it needs is in
//! [`Containers::known`]. Those in use are asked for again every second, and not by the runtimes' streams of events: these
//! end, have to be read from before the first question to be of use, and lose what happens in between. One question costs a
//! runtime less than a millisecond.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::topology::Namespace;

/// Where runtimes listen by default.
const SOCKETS: [&str; 2] = ["/run/docker.sock", "/run/podman/podman.sock"];

/// How long a runtime may take for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer is kept for a change that may need it: longer than a change waits for its turn.
const MEMORY: Duration = Duration::from_secs(60);

/// Bytes of an answer at most: that of a container with many labels and mounts has some 100 KiB.
const LARGEST: usize = 4 << 20;

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its first process.
    Runs(u32),
    /// There is none that runs under this name, and why.
    Gone(String),
    /// Its runtime does not say.
    Unknown(String),
}

/// The containers that selectors name.
pub(crate) struct Containers {
    sockets: Vec<PathBuf>,
    /// With the time of the answer.
    known: Mutex<BTreeMap<String, (Known, Instant)>>,
}

/// Why a runtime gave no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Connect(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("it has not answered for {} s", PATIENCE.as_secs())]
    Slow,
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
    #[error("it answered {status}: {message}")]
    Refused { status: StatusCode, message: String },
}

/// A container of one runtime.
#[derive(Debug, PartialEq, Eq)]
enum Container {
    Runs { pid: u32, network: String },
    Stopped,
    Missing,
}

impl Containers {
    /// Those of the runtimes that listen on `sockets`; by default, those of Docker and Podman.
    pub(crate) fn new(sockets: &[PathBuf]) -> Self {
        let sockets = if sockets.is_empty() { SOCKETS.map(PathBuf::from).into() } else { sockets.to_vec() };
        Self { sockets, known: Mutex::default() }
    }

    /// What was found out last.
    pub(crate) fn known(&self, name: &str) -> Known {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(name).map(|(known, _)| known.clone());
        found.unwrap_or_else(|| Known::Unknown(format!("container `{name}` is being looked up")))
    }

    /// Looks containers up. Answers whether anything has changed.
    pub(crate) async fn look_up(&self, namespaces: &BTreeSet<Namespace>) -> bool {
        let mut is_changed = false;
        for namespace in namespaces {
            let Namespace::Container(name) = namespace else { continue };
            let found = self.ask_all(name).await;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let before = known.insert(name.clone(), (found.clone(), Instant::now()));
            is_changed |= before.is_none_or(|(before, _)| before != found);
        }
        is_changed
    }

    /// Forgets all but these, and those that a change on its way may need.
    pub(crate) fn keep(&self, namespaces: &BTreeSet<Namespace>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_used = |name: &String| namespaces.contains(&Namespace::Container(name.clone()));
        known.retain(|name, (_, since)| is_used(name) || since.elapsed() < MEMORY);
    }

    async fn ask_all(&self, name: &str) -> Known {
        let (mut running, mut stopped, mut failures) = (Vec::new(), None, Vec::new());
        let mut is_any = false;
        for socket in &self.sockets {
            match timeout(PATIENCE, ask(socket, name)).await.unwrap_or(Err(AskError::Slow)) {
                Err(AskError::Connect(error)) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => failures.push(format!("{}: {error}", socket.display())),
                Ok(Container::Runs { pid, network }) => running.push((socket, pid, network)),
                Ok(Container::Stopped) => stopped = Some(socket),
                Ok(Container::Missing) => {}
            }
            is_any = true;
        }
        match running.as_slice() {
            [(_, _, network)] if network == "host" => Known::Gone(format!(
                "container `{name}` has no network of its own (its network mode is host): name netdevs, or `any`"
            )),
            [(_, pid, _)] => Known::Runs(*pid),
            [(one, ..), (other, ..), ..] => Known::Gone(format!(
                "{} and {} both have a container `{name}`: give its id",
                one.display(),
                other.display()
            )),
            [] if !failures.is_empty() => {
                Known::Unknown(format!("cannot look container `{name}` up: {}", failures.join("; ")))
            }
            [] if !is_any => {
                let sockets: Vec<_> = self.sockets.iter().map(|socket| socket.display().to_string()).collect();
                Known::Unknown(format!(
                    "cannot look container `{name}` up: no runtime listens on {}; `polycubed --container-socket` names another",
                    sockets.join(" or ")
                ))
            }
            [] if stopped.is_some() => Known::Gone(format!("container `{name}` does not run")),
            [] => Known::Gone(format!("container `{name}` does not exist")),
        }
    }
}

/// Asks one runtime for a container.
async fn ask(socket: &Path, name: &str) -> Result<Container, AskError> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let path = format!("/containers/{}/json", escaped(name));
    let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty());
    let request = request.map_err(|error| AskError::Unreadable(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok::<_, AskError>((status, body.map_err(|error| AskError::Unreadable(error.to_string()))?.to_bytes()))
    };
    tokio::pin!(connection, answer);
    let (status, body) = tokio::select! {
        answer = &mut answer => answer?,
        // It ends when there is nothing left to read.
        ended = &mut connection => { ended?; answer.await? }
    };
    read(status, &body)
}

/// The container that an answer describes.
fn read(status: StatusCode, body: &[u8]) -> Result<Container, AskError> {
    if status == StatusCode::NOT_FOUND {
        return Ok(Container::Missing);
    }
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != StatusCode::OK {
        let message = answer["message"].as_str().or(answer["cause"].as_str()).unwrap_or("no reason given").to_owned();
        return Err(AskError::Refused { status, message });
    }
    let state = &answer["State"];
    match (state["Running"].as_bool(), state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())) {
        (Some(true), Some(pid)) if pid > 0 => {
            let network = answer["HostConfig"]["NetworkMode"].as_str().unwrap_or_default().to_owned();
            Ok(Container::Runs { pid, network })
        }
        (Some(_), _) => Ok(Container::Stopped),
        (None, _) => Err(AskError::Unreadable("it has no State.Running".to_owned())),
    }
}

/// A name as part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: Result<Container, &str>) {
        let found = read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn answers_of_runtimes_are_read() {
        let running = r#"{"State":{"Running":true,"Pid":4711},"HostConfig":{"NetworkMode":"bridge"}}"#;
        check(200, running, Ok(Container::Runs { pid: 4711, network: "bridge".to_owned() }));
        check(200, r#"{"State":{"Running":false,"Pid":0}}"#, Ok(Container::Stopped));
        check(404, r#"{"message":"No such container: web"}"#, Ok(Container::Missing));
        let twice = r#"{"message":"multiple IDs found with provided prefix: a"}"#;
        check(400, twice, Err("it answered 400 Bad Request: multiple IDs found with provided prefix: a"));
        check(500, "no JSON", Err("it answered 500 Internal Server Error: no reason given"));
        check(200, "no JSON", Err("its answer cannot be read: it has no State.Running"));
    }

    #[test]
    fn a_name_stays_one_part_of_the_path() {
        assert_eq!(escaped("web_1.x-2"), "web_1.x-2");
        assert_eq!(escaped("a b?c%/é"), "a%20b%3Fc%25%2F%C3%A9");
    }
}
