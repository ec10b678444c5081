//! Nodes of cubes, read.

use axum::http::StatusCode;
use serde_json::Value;

use super::etag;
use crate::problem::{ErrorTag, Problem};
use crate::rest::call::{Call, Content, Done};
use crate::rest::context::{Context, blocking};
use crate::rest::present::{traffic_of, whole};
use crate::schema::{self, Node, absent, locate, shown};

/// What a node is, and what of it is set.
pub(crate) struct Read {
    pub value: Value,
    /// With the tag that stands for it.
    set: Option<(Value, String)>,
}

impl Read {
    pub(super) fn answer(self, call: &Call) -> Done {
        let Some((set, tag)) = self.set else { return Done::new(StatusCode::OK, Content::Document(self.value)) };
        // The tag does not cover state, which may have changed meanwhile.
        if self.value == set && etag::is_known(&call.headers, &tag) {
            return Done::new(StatusCode::NOT_MODIFIED, Content::Nothing).tagged(tag);
        }
        Done::new(StatusCode::OK, Content::Document(self.value)).tagged(tag)
    }
}

/// What is at `path` below a cube. Calls the plugin.
pub(crate) async fn read(context: Context, cube: String, path: Vec<String>) -> Result<Read, Problem> {
    let traffic = traffic_of(&context, &cube).await?;
    let read = blocking(move || {
        let view = &context.view;
        let (name, found) = view.topology.cube(&cube)?;
        let json = whole(view, name, found, &traffic)?;
        let all = &view.registry.service(&found.service)?.whole;
        if let [ports, port, ..] = path.as_slice()
            && ports == "ports"
        {
            view.topology.port(&cube, port)?;
        }
        let value = shown(all, &json, &path);
        let set = etag::of(view, &cube, &path);
        let value = value.ok_or_else(|| match missing_entry(all, &json, &path) {
            Some(problem) => problem.under(&cube),
            None => {
                let last = path.last().map_or("", String::as_str);
                let node = locate(all, &path).unwrap_or_else(|(node, _)| node);
                let message = format!("cube `{cube}` has no `{}`", path.join(" "));
                let place = format!("{cube}/{}", path.join("/"));
                Problem::new(ErrorTag::UnknownElement, place, message).knowing(last, node.children())
            }
        });
        Ok(Read { value: value?, set })
    });
    read.await
}

/// The problem with a path that the schema has, and that names a list's entry that does not exist.
fn missing_entry(all: &Value, json: &Value, path: &[String]) -> Option<Problem> {
    locate(all, path).ok()?;
    (1..=path.len()).find_map(|depth| {
        let (place, list) = (&path[..depth], &path[..depth - 1]);
        let Ok(Node::List { key, .. }) = locate(all, list) else { return None };
        let entries = schema::read(all, json, list)?.as_array()?;
        let is_missing = schema::read(all, json, place).is_none();
        is_missing.then(|| absent(entries, key, &path[depth - 1]).at(place.join("/")))
    })
}
