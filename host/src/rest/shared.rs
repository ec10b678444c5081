//! Streams of a service as a whole, at `services/NAME/PATH`: they need no cube.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use polycube_api::Word;

use super::call::{Call, Content, Done};
use super::client::{Client, Role};
use super::context::{Context, blocking};
use super::error::Refusal;
use super::{permission, stream};
use crate::plugins::{self, Plugin};
use crate::problem::Problem;
use crate::schema::template;

/// What a request names.
pub(super) struct Wanted {
    plugin: Plugin,
    stream: polycube_plugin_api::Stream,
    /// Words below the service, in one piece.
    path: String,
}

/// Finds the stream that `call` is about, if it is one of a service as a whole.
pub(super) fn find(context: &Context, call: &Call) -> Option<Wanted> {
    let (first, rest) = call.path.split_first()?;
    let (service, path) = rest.split_first()?;
    if Word::parse(first) != Some(Word::Services) {
        return None;
    }
    let service = context.view.registry.service(service).ok()?;
    let streams = &service.model.service.shared_streams;
    let stream = streams.iter().find(|stream| template::is_at(&stream.path, path))?.clone();
    Some(Wanted { plugin: service.plugin.clone(), stream, path: path.join("/") })
}

/// Answers with the stream, or deletes it.
///
/// # Errors
/// The client may not do it, or the plugin refuses.
pub(super) async fn answer(
    context: &Context,
    client: &Client,
    wanted: Wanted,
    call: &Call,
) -> Result<Response, Refusal> {
    let Wanted { plugin, stream, path, .. } = wanted;
    let dirs = Arc::clone(&context.capture_dirs);
    let place = call.place();
    match call.method {
        Method::GET => {
            permission::require(client, permission::STREAM, call)?;
            let query = stream::parameters(&stream, &call.query).map_err(|problem| problem.at(place.as_str()))?;
            let name = plugin.service.name.clone();
            let made = blocking(move || {
                plugins::shared(&plugin, &dirs).map_err(|failure| Problem::from_plugin(&place, failure.into()))
            });
            let instance = Arc::new(made.await?);
            let cube = format!("{}/{name}", Word::Services);
            Ok(stream::answer(
                stream::Found { cube, instance, path, query, media: stream.media, into_files: false },
                call,
            )
            .await?)
        }
        Method::DELETE if stream.can_be_deleted => {
            permission::require(client, Role::Admin, call)?;
            let name = format!("{}/{}", Word::Services, plugin.service.name);
            let deleted = blocking(move || {
                let deleted = plugins::delete_shared(&plugin, &dirs, &path);
                deleted.map_err(|failure| Problem::from_plugin(&name, failure.into()))
            });
            deleted.await?;
            Ok(Done::new(StatusCode::NO_CONTENT, Content::Nothing).into_response())
        }
        _ => {
            let (get, delete) = (polycube_api::Method::Get, polycube_api::Method::Delete);
            let allow: &[polycube_api::Method] = if stream.can_be_deleted { &[get, delete] } else { &[get] };
            Err(call.wrong_method(allow).into())
        }
    }
}
