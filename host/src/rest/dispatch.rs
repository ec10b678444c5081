//! From a request to what answers it, by the first word of its path.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use polycube_api::Word;
use serde_json::Value;

use super::audit::Entry;
use super::call::{Call, Content, Done};
use super::client::{Client, Role};
use super::context::{Api, Context};
use super::error::Refusal;
use super::framework::fields;
use super::route::{Body, CommandLine, Endpoint, Handler, Input, Route};
use super::routes::{ROUTES, is_short};
use super::{ephemeral, help, permission, resource, shared, stream};
use crate::problem::{ErrorTag, Problem, Problems, list};

/// The API as a service.
pub(super) fn router(api: Api) -> Router {
    Router::new().fallback(dispatch).with_state(api)
}

async fn dispatch(
    State(api): State<Api>,
    Extension(client): Extension<Client>,
    request: Request,
) -> Result<Response, Refusal> {
    let call = Call::read(request, is_short).await?;
    let context = Context::new(api);
    let entry = changes(&call).then(|| Entry::begin(&context, &client, &call));
    let answer = answer(context, &client, call).await;
    if let Some(entry) = entry {
        entry.end(&answer);
    }
    answer
}

/// Whether a request is for a change, if its client may ask for it.
fn changes(call: &Call) -> bool {
    let route = ROUTES.iter().find(|route| route.is_at(&call.path));
    let method = polycube_api::Method::parse(call.method.as_str());
    let compares = route
        .zip(method)
        .and_then(|(route, method)| route.endpoint(method))
        .is_some_and(|endpoint| matches!(endpoint.handler, Handler::Comparison(_)));
    !compares && !matches!(call.method, Method::GET | Method::OPTIONS)
}

/// Answers a request, if its client may ask for that.
async fn answer(context: Context, client: &Client, call: Call) -> Result<Response, Refusal> {
    let route = ROUTES.iter().find(|route| route.is_at(&call.path));
    if call.method == Method::OPTIONS {
        permission::require(client, Role::Read, &call)?;
        return match route.filter(|route| matches!(route.command_line, CommandLine::Hidden) && !route.path.is_empty()) {
            Some(route) => Ok(allow(route)),
            None => Ok(help::answer(&context, &call, &ROUTES).await?.into_response()),
        };
    }
    let is_own = call.path.first().is_none_or(|word| Word::parse(word).is_some());
    let done = match route {
        Some(route) => {
            permission::require(client, permission::of_route(&context, route, &call), &call)?;
            framework(context, call, route).await?
        }
        None if is_own => {
            if let Some(wanted) = shared::find(&context, &call) {
                return shared::answer(&context, client, wanted, &call).await;
            }
            let message = format!("there is nothing at `{}`", call.path.join(" "));
            return Err(call.nowhere(message).into());
        }
        None => match ephemeral::find(&context, &call)? {
            Some(wanted) => {
                permission::require(client, wanted.needs(), &call)?;
                return ephemeral::answer(context, client, wanted, &call).await;
            }
            None => match stream::find(&context, &call)? {
                Some(found) => {
                    permission::require(client, permission::STREAM, &call)?;
                    return stream::answer(found, &call).await;
                }
                None => {
                    permission::require(client, permission::of_resource(&context, &call), &call)?;
                    resource::answer(context, call).await?
                }
            },
        },
    };
    Ok(done.into_response())
}

/// The answer to `OPTIONS` for a path without help.
fn allow(route: &Route) -> Response {
    let methods = HeaderValue::try_from(list(&route.methods())).ok();
    let mut response = ().into_response();
    response.headers_mut().extend(methods.map(|methods| (header::ALLOW, methods)));
    response
}

/// Answers a request as `route` declares.
async fn framework(context: Context, call: Call, route: &'static Route) -> Result<Done, Refusal> {
    let method = polycube_api::Method::parse(call.method.as_str());
    let Some(endpoint) = method.and_then(|method| route.endpoint(method)) else {
        return Err(call.wrong_method(&route.methods()).into());
    };
    let name = route.name_in(&call.path).cloned().unwrap_or_default();
    let content = match endpoint.handler {
        Handler::Model(read) => read(&context, &name).map_err(Refusal::framework)?,
        Handler::Live(read) => read(context, name).await.map_err(Refusal::framework)?,
        Handler::Api(describe) => describe(&context, &ROUTES),
        Handler::Change(change) | Handler::Comparison(change) => {
            unconditional(&call)?;
            let input = input(endpoint, call, name).map_err(Refusal::framework)?;
            let change = change(input).map_err(Refusal::framework)?;
            match context.engine.change(change).await.map_err(Refusal::framework)? {
                Value::Null => Content::Nothing,
                answer => Content::Document(answer),
            }
        }
        Handler::Engine(work) => {
            unconditional(&call)?;
            let input = input(endpoint, call, name).map_err(Refusal::framework)?;
            work(context, input).await.map_err(Refusal::framework)?
        }
    };
    Ok(Done::new(endpoint.status, content))
}

fn input(endpoint: &Endpoint, call: Call, name: String) -> Result<Input, Problems> {
    let place = call.place();
    let (fields, body) = match endpoint.body {
        Body::Fields(fields) => (fields::read(&place, call.body, fields)?, Value::Null),
        Body::None | Body::Schema(_) => (BTreeMap::new(), call.body),
    };
    Ok(Input { name, fields, body })
}

/// Refuses conditions on what has no tag.
fn unconditional(call: &Call) -> Result<(), Problem> {
    if !call.headers.contains_key(header::IF_MATCH) {
        return Ok(());
    }
    let place = call.place();
    let message = format!("`{place}` has no ETag, so no If-Match can match");
    Err(Problem::new(ErrorTag::PreconditionFailed, place, message))
}

#[cfg(test)]
mod tests;
