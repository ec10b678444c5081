//! What belongs to no service: the functions that answer the paths of `routes`.

pub(super) mod bundle;
pub(super) mod config;
pub(super) mod fields;
pub(super) mod health;
pub(super) mod links;
pub(super) mod metrics;
pub(super) mod netdevs;
pub(super) mod services;
pub(super) mod topology;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use polycube_api::{BASE, Word};
use serde_json::{Value, json};

use super::call::Content;
use super::context::Context;
use super::route::Route;
use crate::problem::Problem;

/// What is escaped in a segment of a path: everything but the unreserved characters (RFC 3986 section 2.3).
const HREF: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where everything is, with paths for `href`: over a Unix socket there is no host to name.
pub(super) fn root(context: &Context, routes: &'static [Route]) -> Content {
    let mut words: Vec<&str> = routes.iter().filter_map(Route::word).map(Word::as_str).collect();
    // A word's paths are declared one after the other.
    words.dedup();
    let words = words.into_iter().chain(context.services()).chain(context.cubes());
    let links: Value = words
        .map(|word| json!({ "rel": word, "href": format!("{BASE}/{}", utf8_percent_encode(word, HREF)) }))
        .collect();
    Content::Document(json!({ "_links": links }))
}

pub(super) fn version(_: &Context, _: &str) -> Result<Content, Problem> {
    Ok(Content::Document(json!({ "polycubed": { "version": env!("CARGO_PKG_VERSION") } })))
}

/// The one called `name` among all of a `kind`.
fn find(kind: &str, name: &str, all: Vec<(String, Value)>) -> Result<Content, Problem> {
    let problem = Problem::missing(format!("{kind}s/{name}"), format!("{kind} `{name}` does not exist"));
    let problem = problem.knowing(name, all.iter().map(|(name, _)| name.as_str()));
    let found = all.into_iter().find(|(other, _)| other == name);
    found.map(|(_, json)| Content::Document(json)).ok_or(problem)
}

/// All of a kind, as a list.
fn list(all: Vec<(String, Value)>) -> Content {
    Content::Document(all.into_iter().map(|(_, json)| json).collect())
}
