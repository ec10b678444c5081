//! Services: those that are loaded, and requests to load and unload one.

use serde_json::{Value, json};

use super::{find, list};
use crate::model::Change;
use crate::problem::{Problem, Problems};
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
    context.engine.load_service(&input.take("name"), &input.take("uri")).await?;
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

fn services(context: &Context) -> Vec<(String, Value)> {
    let services = context.view.registry.services();
    services
        .map(|(name, service)| {
            let schema = &service.model.service;
            let json = json!({
                "name": name,
                "kind": schema.kind,
                "description": schema.description,
                "version": schema.version,
                "sdk-version": service.plugin.sdk,
                "abi": service.plugin.abi,
                "servicecontroller": service.plugin.path,
                "since": service.plugin.since,
            });
            (name.to_owned(), json)
        })
        .collect()
}
