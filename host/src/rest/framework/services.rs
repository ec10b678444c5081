//! Services: those that are loaded, and requests to load and unload one.

use serde_json::{Value, json};

use super::{find, list};
use crate::file_type::FileType;
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

fn services(context: &Context) -> Vec<(String, Value)> {
    let services = context.view.registry.services();
    services
        .map(|(name, service)| {
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
        })
        .collect()
}
