//! Services: those that are loaded or missing, and requests to load and unload one.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{find, list};
use crate::engine::View;
use crate::file_type::FileType;
use crate::model::Change;
use crate::problem::{Problem, Problems};
use crate::registry::Missing;
use crate::rest::call::Content;
use crate::rest::context::Context;
use crate::rest::route::Input;

pub(crate) fn all(context: &Context, _: &str) -> Result<Content, Problem> {
    Ok(list(services(context)))
}

pub(crate) fn one(context: &Context, name: &str) -> Result<Content, Problem> {
    find("service", name, services(context))
}

pub(crate) async fn load(context: Context, mut input: Input) -> Result<Content, Problems> {
    // The body's fields have been checked.
    let file_type = FileType::parse(&input.take("type")).unwrap_or_default();
    context.engine.load_service(file_type, &input.take("name"), &input.take("uri")).await?;
    Ok(Content::Nothing)
}

pub(crate) async fn reload(context: Context, mut input: Input) -> Result<Content, Problems> {
    let uri = input.take("uri");
    context.engine.reload_service(&input.name, &uri).await?;
    Ok(Content::Nothing)
}

pub(crate) fn unload(input: Input) -> Result<Change, Problems> {
    Ok(Change::RemoveService { name: input.name })
}

/// Those that are loaded, and those that are not although something that is stored needs them.
fn services(context: &Context) -> Vec<(String, Value)> {
    let View { registry, unrestored, .. } = &*context.view;
    let loaded = registry.services();
    let loaded = loaded.map(|(name, service)| {
        let schema = &service.model.service;
        let mut json = json!({
            "name": name,
            "type": service.plugin.file_type(),
            "kind": schema.kind,
            "description": schema.description,
            "version": schema.version,
            "sdk-version": service.plugin.sdk,
            "abi": service.plugin.abi,
            "servicecontroller": service.plugin.path,
            "since": service.plugin.since,
        });
        if let Value::Object(members) = &mut json {
            // An object was built with neither.
            members.retain(|_, value| !value.is_null());
        }
        (name.to_owned(), json)
    });
    let missing = registry.missing().map(|(name, Missing { uri, file_type, why })| {
        let failure = format!("is not loaded, and is tried again when its files change: {why}");
        let json = json!({ "name": name, "type": file_type, "servicecontroller": uri, "failure": failure });
        (name.to_owned(), json)
    });
    // A plugin that the plugin directory had when its cubes were made.
    let needed = unrestored.values().map(|cube| cube.cube.service.as_str()).collect::<BTreeSet<_>>().into_iter();
    let is_absent =
        |name: &&str| registry.service(name).is_err() && registry.missing().all(|(other, _)| other != *name);
    let absent = needed.filter(|name| !name.is_empty()).filter(is_absent).map(|name| {
        let failure = "is not loaded, and stored cubes need it: no plugin directory has its plugin";
        (name.to_owned(), json!({ "name": name, "type": FileType::Lib, "failure": failure }))
    });
    let mut all: Vec<_> = loaded.chain(missing).chain(absent).collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}
