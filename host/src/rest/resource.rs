//! Services' own trees: `SERVICE/`, `SERVICE/CUBE/…`, and `CUBE/…` for short.

mod change;
pub(super) mod etag;
mod read;
mod restconf;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use polycube_plugin_api::ServiceKind;
use serde_json::Value;

pub(super) use self::read::read;
use super::call::{Call, Content, Done};
use super::context::{Context, blocking};
use super::error::Refusal;
use super::present::{traffic, unrestored, whole};
use super::resource_kind::ResourceKind;
use crate::model::{Change, Unrestored};
use crate::problem::{ErrorTag, Problem};
use crate::registry::Service;
use crate::schema::action::Called;
use crate::schema::{self, Key, Operation, PORTS, locate, word};
use crate::topology::{Cube, CubeName};

pub(super) async fn answer(context: Context, call: Call) -> Result<Done, Refusal> {
    let first = call.path[0].as_str();
    if context.view.registry.service(first).is_ok() {
        let (service, rest) = (first.to_owned(), call.path[1..].to_vec());
        return match rest.split_first() {
            None => of_service(context, &service, call).await,
            Some((cube, path)) => of_cube(context, Some(&service), cube, path, &call).await,
        };
    }
    if context.view.topology.get(first).is_some() || context.view.unrestored.contains_key(first) {
        return of_cube(context, None, first, &call.path[1..], &call).await;
    }
    Err(neither(&context, first).into())
}

/// The problem that `word` names neither a cube nor a service.
pub(super) fn neither(context: &Context, word: &str) -> Problem {
    let message = format!("there is no cube and no service `{word}`");
    Problem::new(ErrorTag::UnknownElement, word, message).knowing(word, context.cubes().chain(context.services()))
}

async fn of_service(context: Context, service: &str, mut call: Call) -> Result<Done, Refusal> {
    match call.method {
        Method::GET => Ok(Done::new(StatusCode::OK, Content::Document(cubes(context, service).await?))),
        Method::POST => {
            let name = take_name(&mut call.body, "cube", service)?;
            CubeName::parse(&name).map_err(|problem| problem.at(format!("{service}/name")))?;
            let body = call.body.take();
            create(&context, service, &name, &call, body).await
        }
        _ => Err(call.wrong_method(ResourceKind::Service.methods()).into()),
    }
}

/// The cubes of a service.
async fn cubes(context: Context, service: &str) -> Result<Value, Problem> {
    let traffic = match context.view.registry.service(service)?.model.service.kind {
        ServiceKind::Standard => traffic(&context).await?,
        ServiceKind::Transparent => BTreeMap::new(),
    };
    let service = service.to_owned();
    let cubes = blocking(move || {
        let cubes = context.view.topology.cubes().filter(|(_, cube)| cube.service == service);
        let whole = |(name, cube)| whole(&context.view, name, cube, &traffic);
        cubes.map(whole).collect::<Result<Vec<_>, _>>()
    });
    Ok(cubes.await?.into())
}

/// Takes the name of a new cube or port out of its body, for a path that ends at the list of them.
fn take_name(body: &mut Value, entry: &str, list: &str) -> Result<String, Problem> {
    take_words(body, &["name"].into_iter(), entry, list).map(|words| words.concat())
}

/// Takes the key of a new entry out of its body, for a path that ends at the list.
fn take_key(body: &mut Value, key: Key<'_>, list: &str) -> Result<Vec<String>, Problem> {
    let words = take_words(body, &key.names(), "entry", list)?;
    key.empty(&words).map_or(Ok(words), |problem| Err(problem.under(list)))
}

/// Takes the members that name an entry out of its body. One that is missing can stand in the path as well.
fn take_words<'a>(
    body: &mut Value,
    names: &(impl Iterator<Item = &'a str> + Clone),
    entry: &str,
    list: &str,
) -> Result<Vec<String>, Problem> {
    if body.is_array() {
        return Err(Problem::bad(list, format!("POST creates one {entry}, not a list: send one object")));
    }
    let in_path = || names.clone().map(str::to_uppercase).collect::<Vec<_>>().join("/");
    let take = |name: &str| {
        let place = format!("{list}/{name}");
        match body.as_object_mut().and_then(|body| body.shift_remove(name)) {
            Some(value) => {
                word(&value).ok_or_else(|| Problem::bad(place, format!("`{name}` must be a string, not {value}")))
            }
            None => {
                let problem = Problem::new(ErrorTag::MissingAttribute, place, format!("`{name}` is missing"));
                Err(problem.instead(polycube_api::Method::Post, format!("{list}/{}", in_path())))
            }
        }
    };
    names.clone().map(take).collect()
}

async fn create(context: &Context, service: &str, name: &str, call: &Call, body: Value) -> Result<Done, Refusal> {
    let guard = etag::guard(call, name, &[]);
    let change = Change::CreateCube { service: service.to_owned(), name: name.to_owned(), body };
    context.engine.change_if(guard, change).await?;
    Ok(Done::new(ResourceKind::Cube.done(&Method::POST), Content::Nothing))
}

async fn of_cube(
    context: Context,
    service: Option<&str>,
    cube: &str,
    path: &[String],
    call: &Call,
) -> Result<Done, Refusal> {
    if let (Some(service), [], &Method::POST) = (service, path, &call.method) {
        return create(&context, service, cube, call, call.body.clone()).await;
    }
    let view = Arc::clone(&context.view);
    if let Some((name, found)) = view.unrestored.get_key_value(cube) {
        return of_unrestored(&context, name, found, path, call).await;
    }
    let (name, found) = view.topology.cube(cube)?;
    if let Some(service) = service
        && found.service != service
    {
        let message = format!("cube `{cube}` is of service {}, not of {service}", found.service);
        return Err(Problem::missing(format!("{service}/{cube}"), message).into());
    }
    let of_service = view.registry.service(&found.service)?;
    let path = &restconf::words(&of_service.whole, &call.segments[call.segments.len() - path.len()..])[..];
    let action = of_service.model.called(path);
    if action.is_some() && call.method != Method::POST {
        return Err(call.wrong_method(ResourceKind::Run.methods()).into());
    }
    if let Some(action) = of_service.model.action_above(path) {
        let words = &path[..action.path.split('/').count()];
        let message = format!("`{}` is an action: nothing follows it", words.join(" "));
        return Err(call.nowhere(message).into());
    }
    if call.method == Method::GET {
        return Ok(read(context, cube.to_owned(), path.to_vec()).await?.answer(call));
    }
    if let Some(action) = action {
        require_entry(&context, (cube, found, of_service), path, &action).await?;
        // The condition on an action is about the whole cube.
        let guard = || etag::guard(call, name.as_str(), &[]);
        let answer = context.engine.act(guard, cube, path, call.body.clone()).await?;
        return Ok(done(ResourceKind::Run, call, answer));
    }
    let (change, kind) = match path {
        [] => change_of_cube(cube, call)?,
        [ports, rest @ ..] if ports == PORTS => {
            let registry = &context.view.registry;
            let model = registry.service(&found.service)?.model.port.as_deref();
            change::of_ports(model.unwrap_or(&registry.port), cube, rest, call)?
        }
        _ => change::of_node(context.view.registry.service(&found.service)?, cube, path, call)?,
    };
    let guard = etag::guard(call, name.as_str(), path);
    let answer = context.engine.change_if(guard, change).await?;
    Ok(done(kind, call, answer))
}

/// Refuses an action of an entry that does not exist. Those that only the state has are asked for at the plugin.
async fn require_entry(
    context: &Context,
    (cube, found, service): (&str, &Cube, &Service),
    path: &[String],
    action: &Called<'_>,
) -> Result<(), Problem> {
    let entry = &path[..action.entry];
    let model = &service.model;
    if entry.is_empty() || schema::read(model.config(), &found.config, entry).is_some() {
        return Ok(());
    }
    let missing = |problem: Problem| problem.tagged(ErrorTag::UnknownElement);
    if locate(&model.service.state, entry).is_err() {
        let problem = read::missing_entry(model.config(), &found.config, entry);
        return problem.map_or(Ok(()), |problem| Err(missing(problem.under(cube))));
    }
    let found = read(context.clone(), cube.to_owned(), entry.to_vec()).await;
    found.map(drop).map_err(|problem| if problem.tag == ErrorTag::DataMissing { missing(problem) } else { problem })
}

/// A cube that could not be brought back can be looked at and deleted.
async fn of_unrestored(
    context: &Context,
    name: &CubeName,
    found: &Unrestored,
    path: &[String],
    call: &Call,
) -> Result<Done, Refusal> {
    match (&call.method, path) {
        (&Method::GET, []) => Ok(Done::new(StatusCode::OK, Content::Document(unrestored(name, found)))),
        (&Method::DELETE, []) => {
            let answer = context.engine.change(Change::DeleteCube { cube: name.to_string() }).await?;
            Ok(done(ResourceKind::Cube, call, answer))
        }
        _ => Err(found.refusal(name).into()),
    }
}

/// The answer to a request that was carried out, with what an action answers.
fn done(kind: ResourceKind, call: &Call, answer: Value) -> Done {
    let content = if answer.is_null() { Content::Nothing } else { Content::Document(answer) };
    Done::new(kind.done(&call.method), content)
}

fn change_of_cube(cube: &str, call: &Call) -> Result<(Change, ResourceKind), Problem> {
    let configure = |operation| {
        let (cube, path, value) = (cube.to_owned(), Vec::new(), call.body.clone());
        Change::Configure { cube, path, operation, value }
    };
    let change = match call.method {
        Method::PATCH => configure(Operation::Merge),
        Method::PUT => configure(Operation::Replace),
        Method::DELETE => Change::DeleteCube { cube: cube.to_owned() },
        Method::POST => {
            let problem = Problem::exists(cube, format!("cube `{cube}` already exists"));
            let (patch, put) = (polycube_api::Method::Patch, polycube_api::Method::Put);
            return Err(problem.instead(patch, cube).instead(put, cube));
        }
        _ => return Err(call.wrong_method(ResourceKind::Cube.methods())),
    };
    Ok((change, ResourceKind::Cube))
}
