//! Entity tags of configuration: `ETag`, `If-Match` and `If-None-Match` (RFC 9110 sections 8.8.3 and 13.1).
//!
//! A tag stands for what is set at a node, as RFC 8040 section 3.5.2 has it, not for the state that is shown with it:
//! counters must not keep one of two clients from noticing the other's change.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::engine::{Guard, View};
use crate::problem::{ErrorTag, Problem};
use crate::registry::Service;
use crate::rest::call::Call;
use crate::rest::present::{add_settings, base, ports_of};
use crate::schema::{is_read_only, shown};

/// What is set at a node of a cube, and the tag that stands for it; `None` where nothing can be set.
pub(in crate::rest) fn of(view: &View, cube: &str, path: &[String]) -> Option<(Value, String)> {
    let (name, found) = view.topology.get(cube)?;
    let Service { model, whole, .. } = view.registry.service(&found.service).ok()?;
    if is_read_only(whole, path) {
        return None;
    }
    let mut json = base(view, name, found);
    for port in ports_of(&mut json).filter_map(Value::as_object_mut) {
        port.retain(|key, _| ["name", "uuid", "peer"].contains(&key.as_str()));
    }
    if let Some(port) = &model.port {
        add_settings(&mut json, port, found, json!([]));
    }
    if let Value::Object(members) = model.present(&found.config, json!({})) {
        members.into_iter().for_each(|(key, value)| json[&key] = value);
    }
    let set = shown(whole, &json, path)?;
    let digest = Sha256::digest(set.to_string());
    let mut tag = String::from("\"");
    for byte in &digest[..12] {
        // Writing to a string does not fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    Some((set, tag))
}

/// Whether a client that sends `headers` has what `tag` stands for.
pub(super) fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    listed(headers, header::IF_NONE_MATCH).is_some_and(|known| known.iter().any(|one| one == "*" || weak(one) == tag))
}

/// The condition of the change that `call` asks for: its node is as the client says.
pub(super) fn guard(call: &Call, cube: &str, path: &[String]) -> Option<Guard> {
    let wanted = listed(&call.headers, header::IF_MATCH);
    let unwanted = listed(&call.headers, header::IF_NONE_MATCH);
    if wanted.is_none() && unwanted.is_none() {
        return None;
    }
    let (cube, path) = (cube.to_owned(), path.to_vec());
    Some(Box::new(move |view| {
        let place = [std::slice::from_ref(&cube), path.as_slice()].concat().join("/");
        let failed = |message: String| Problem::new(ErrorTag::PreconditionFailed, place.as_str(), message).into();
        let tag = of(view, &cube, &path).map(|(_, tag)| tag);
        if let Some(wanted) = &wanted {
            let fits = |one: &String| one == "*" || Some(one) == tag.as_ref();
            match &tag {
                Some(_) if wanted.iter().any(fits) => {}
                Some(tag) => {
                    let message = format!("`{place}` has changed (its ETag is {tag}): read it and try again");
                    return Err(failed(message));
                }
                None => return Err(failed(format!("nothing is set at `{place}`, so no If-Match can match"))),
            }
        }
        match (&unwanted, tag) {
            (Some(unwanted), Some(tag)) if unwanted.iter().any(|one| one == "*" || weak(one) == tag) => {
                Err(failed(format!("`{place}` exists, and If-None-Match requires that it does not")))
            }
            _ => Ok(()),
        }
    }))
}

/// The tags that a header lists; `None` where there is no such header. What is not a tag matches none.
fn listed(headers: &HeaderMap, name: HeaderName) -> Option<Vec<String>> {
    let mut lines = headers.get_all(name).iter().peekable();
    lines.peek()?;
    let tags = lines.flat_map(|line| line.to_str().unwrap_or_default().split(','));
    Some(tags.map(|tag| tag.trim().to_owned()).collect())
}

/// A tag without the mark of a weak one.
fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}
