//! `GET /openapi.json`: the whole API, plugins' part included, as OpenAPI 3.1. Made from the schemas that requests are
//! checked against, and from the declarations that they are routed by.

pub(super) mod components;
mod framework;
mod node_path;
mod operation;
mod schemas;
mod service;

use polycube_api::BASE;
use serde_json::{Value, json};

use super::call::Content;
use super::context::Context;
use super::route::Route;
use crate::schema::Model;

pub(super) fn answer(context: &Context, routes: &'static [Route]) -> Content {
    let registry = &context.view.registry;
    let services = registry.services().map(|(_, service)| (&service.model, &service.whole));
    let document = document(routes, services, &registry.cube, &registry.port);
    Content::Text { media_type: "application/json", text: document.to_string() }
}

fn document<'a>(
    routes: &[Route],
    services: impl Iterator<Item = (&'a Model, &'a Value)>,
    cube: &Model,
    port: &Model,
) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "polycubed",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Hosts network functions (services) as cubes, and chains their programs into the path of a \
                port. What is below `/SERVICE/{name}` is also found below `/{name}`. A path may end with a slash.",
        },
        "servers": [{ "url": BASE }],
        "security": [{}, { "token": [] }],
        "paths": framework::paths(routes),
        "components": components::components(cube, port),
    });
    for (model, whole) in services {
        service::add(&mut document, model, whole, cube);
    }
    document
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::registry::{Registry, whole};
    use crate::rest::routes::ROUTES;

    /// A model from the text of a file in `schemas/`, which has no version.
    fn model(text: &str) -> Model {
        let mut schema: Value = serde_json::from_str(text).unwrap();
        schema["version"] = "".into();
        Model::new(serde_json::from_value(schema).unwrap()).unwrap()
    }

    #[test]
    fn the_document_is_the_golden_one() {
        let services = [
            model(include_str!("../../../schemas/packetcapture.json")),
            model(include_str!("../../../schemas/simplebridge.json")),
        ];
        let registry = Registry::new().unwrap();
        let services = services.map(|model| (whole(&model), model));
        let services = services.iter().map(|(whole, model)| (model, whole));
        let mut document = document(&ROUTES, services, &registry.cube, &registry.port);
        // A release does not change the API.
        document["info"]["version"] = "".into();
        let found = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/openapi.json");
        if std::env::var_os("UPDATE_GOLDENS").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == golden, "schemas/openapi.json differs: UPDATE_GOLDENS=1 cargo test -p polycubed rewrites it");
    }
}
