//! Cubes that go with a stream: `POST SERVICE/?ephemeral=STREAM` creates a cube and answers with that stream of it. The
//! cube is removed when the answer ends, however it ends: the client hangs up or dies, the connection is lost, the stream
//! is complete, or somebody deletes the cube, which ends the stream.
//!
//! The body is that of any other new cube, so it says where the cube is attached (`parents`); further parameters are the
//! stream's. A cube that nobody named gets a name. All of it happens, or nothing: if the stream cannot be opened, the cube
//! is gone before the refusal is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use polycube_api::{BASE, EPHEMERAL, Limits};
use polycube_plugin_api::{Stream, keyword};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::call::Call;
use super::client::{Client, Role};
use super::context::Context;
use super::error::Refusal;
use super::{permission, stream};
use crate::engine::{Guard, Handle};
use crate::model::Change;
use crate::problem::{Problem, Problems};
use crate::registry::Service;
use crate::schema::word;
use crate::topology::{CubeName, Ephemeral};

/// A cube and its stream, as a request asks for them.
pub(super) struct Wanted {
    service: String,
    stream: Stream,
    query: BTreeMap<String, String>,
    role: Role,
    /// The leaf that gets the client's connection, if the service has one.
    connection: Option<String>,
}

impl Wanted {
    /// The role that the client needs.
    pub(super) fn needs(&self) -> Role {
        self.role
    }
}

/// What `call` asks for, if it is a cube that goes with a stream.
///
/// # Errors
/// The service has no such stream, or a parameter is wrong.
pub(super) fn find(context: &Context, call: &Call) -> Result<Option<Wanted>, Problem> {
    let mut pairs: Vec<&str> = call.query.split('&').filter(|pair| !pair.is_empty()).collect();
    let is_ephemeral = |pair: &&str| pair.split('=').next() == Some(EPHEMERAL);
    let Some(at) = pairs.iter().position(is_ephemeral) else { return Ok(None) };
    let ([name], &Method::POST) = (call.path.as_slice(), &call.method) else { return Ok(None) };
    let Ok(service) = context.view.registry.service(name) else { return Ok(None) };
    let asked = pairs.remove(at).split_once('=').map_or("", |(_, value)| value);
    let stream = stream_of(service, asked).map_err(|problem| problem.at(name.as_str()))?;
    let query = stream::parameters(stream, &pairs.join("&")).map_err(|problem| problem.at(name.as_str()))?;
    let settings = service.model.service.config["properties"].as_object().into_iter().flatten();
    let mut connection = settings.filter(|(_, leaf)| leaf[keyword::CONNECTION] == true);
    Ok(Some(Wanted {
        service: name.clone(),
        stream: stream.clone(),
        query,
        role: permission::of_ephemeral(service),
        connection: connection.next().map(|(name, _)| name.clone()),
    }))
}

/// The stream called `asked`. One with a name in its path is for what exists.
fn stream_of<'a>(service: &'a Service, asked: &str) -> Result<&'a Stream, Problem> {
    let streams = service.model.service.streams.iter().filter(|stream| !stream.path.contains('{'));
    streams.clone().find(|stream| stream.path == asked).ok_or_else(|| {
        let values: Vec<String> = streams.map(|stream| stream.path.clone()).collect();
        let message = match values.as_slice() {
            [] => format!("service `{}` has no streams", service.model.service.name),
            known => format!("`{EPHEMERAL}` is one of {}, not `{asked}`", known.join(", ")),
        };
        Problem::invalid("", message).within(Limits { values, ..Limits::default() })
    })
}

/// Creates the cube and answers with its stream.
///
/// # Errors
/// What is wrong with the cube or the stream; then there is no cube.
pub(super) async fn answer(
    context: Context,
    client: &Client,
    wanted: Wanted,
    call: &Call,
) -> Result<Response<Body>, Refusal> {
    let Wanted { service, stream, query, connection, .. } = wanted;
    let (name, body) = described(&service, connection.as_deref(), client, call)?;
    let tied = Tied::new(context.engine.clone(), name.clone(), &client.from);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ephemeral = Ephemeral { id: tied.id, owner: format!("{}, {}", client.who, client.from), since };
    let change = Change::CreateEphemeral { service: service.clone(), name: name.to_string(), body, ephemeral };
    if let Err(problems) = context.engine.change(change).await {
        tied.end().await;
        return Err(about_request(problems, &name).into());
    }
    let Some(instance) = context.engine.view().instances.get(&name).map(Arc::clone) else {
        tied.end().await;
        return Err(Problem::failed(name.as_str(), "the cube was deleted at once").into());
    };
    let Stream { path, media, into_files, .. } = stream;
    let found = stream::Found { cube: name.to_string(), instance, path, query, media, into_files };
    match stream::answer(found, call).await {
        Ok(response) => {
            let mut response = response.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    // It goes with the body.
                    let _ = &tied;
                    frame
                }))
            });
            *response.status_mut() = StatusCode::CREATED;
            let location = HeaderValue::try_from(format!("{BASE}/{name}/")).ok();
            response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
            Ok(response)
        }
        Err(refusal) => {
            tied.end().await;
            Err(refusal)
        }
    }
}

/// The cube's name, and its body without it.
fn described(
    service: &str,
    connection: Option<&str>,
    client: &Client,
    call: &Call,
) -> Result<(CubeName, Value), Problem> {
    let mut body = if call.body.is_null() { json!({}) } else { call.body.clone() };
    let mut name = format!("{service}-{:06x}", rand_24());
    if let Some(members) = body.as_object_mut() {
        if let Some(given) = members.shift_remove("name") {
            name = word(&given).ok_or_else(|| Problem::bad(format!("{service}/name"), "`name` must be a string"))?;
        }
        if let (Some(leaf), Some((own, peer))) = (connection, client.ends) {
            // The client asks how the capture is doing, and ends it, on other connections.
            members.entry(leaf).or_insert_with(|| format!("{own} {}", peer.ip()).into());
        }
    }
    let name = CubeName::parse(&name).map_err(|problem| problem.at(format!("{service}/name")))?;
    Ok((name, body))
}

fn rand_24() -> u32 {
    let [a, b, c, ..] = uuid::Uuid::new_v4().into_bytes();
    u32::from_be_bytes([0, a, b, c])
}

/// Problems without the name of a cube that there never was.
fn about_request(problems: Problems, name: &CubeName) -> Problems {
    let below = format!("{name}/");
    let mut problems = problems;
    for problem in &mut problems.0 {
        if let Some(rest) = problem.path.strip_prefix(&below) {
            problem.path = rest.to_owned();
        }
    }
    problems
}

/// A cube that is removed when this is dropped.
struct Tied {
    engine: Handle,
    runtime: tokio::runtime::Handle,
    name: CubeName,
    id: u64,
    from: Arc<str>,
    has_ended: bool,
}

impl Tied {
    fn new(engine: Handle, name: CubeName, from: &Arc<str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let runtime = tokio::runtime::Handle::current();
        Self { engine, runtime, name, id, from: Arc::clone(from), has_ended: false }
    }

    /// Removes the cube, if it is there, and returns when it is gone.
    async fn end(mut self) {
        self.has_ended = true;
        // It goes on by itself if the client hangs up meanwhile, and nothing waits for it here.
        drop(self.removal().await);
    }

    fn removal(&self) -> JoinHandle<()> {
        self.runtime.spawn(remove(self.engine.clone(), self.name.clone(), self.id, Arc::clone(&self.from)))
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        if !self.has_ended {
            drop(self.removal());
        }
    }
}

async fn remove(engine: Handle, name: CubeName, id: u64, from: Arc<str>) {
    let cube = name.to_string();
    // The client may have deleted it, and another cube may have its name.
    let guard: Guard = Box::new(move |view| {
        let is_ours = view
            .topology
            .get(&cube)
            .is_some_and(|(_, cube)| cube.ephemeral.as_ref().is_some_and(|ephemeral| ephemeral.id == id));
        if is_ours { Ok(()) } else { Err(Problem::missing(cube.as_str(), "it is gone already").into()) }
    });
    let change = Change::DeleteCube { cube: name.to_string() };
    if engine.change_if(Some(guard), change).await.is_ok() {
        tracing::debug!(cube = %name, %from, "removed with its stream");
    }
}
