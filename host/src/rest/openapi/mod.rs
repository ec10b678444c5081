//! `GET /openapi.json`: the whole API, plugins' part included, as OpenAPI 3.1. Made from the schemas that requests are
//! checked against and from the methods that they are routed by.

mod framework;
mod operation;
mod place;
mod schemas;
mod service;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::dispatch::{Call, Done, wrong_method};
use super::error::Refused;
use super::kind::Kind;
use super::{Api, BASE};
use crate::schema::Model;

pub fn answer(api: &Api, call: &Call) -> Result<Done, Refused> {
    if call.method != Method::GET {
        return Err(wrong_method(call, Kind::Read));
    }
    let registry = &api.view.registry;
    let document = document(
        registry.services().map(|(_, service)| (&service.model, &service.whole)),
        &registry.cube,
        &registry.port,
    );
    Ok(Done::text(StatusCode::OK, "application/json", document.to_string()))
}

fn document<'a>(services: impl Iterator<Item = (&'a Model, &'a Value)>, cube: &Model, port: &Model) -> Value {
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
        "paths": framework::paths(),
        "components": framework::components(cube, port),
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

    /// A model from the text of a file in `schemas/`, which has no version.
    fn model(text: &str) -> Model {
        let mut schema: Value = serde_json::from_str(text).unwrap();
        schema["version"] = "".into();
        Model::new(serde_json::from_value(schema).unwrap()).unwrap()
    }

    #[test]
    fn the_document_is_the_golden_one() {
        let services = [
            model(include_str!("../../../../schemas/packetcapture.json")),
            model(include_str!("../../../../schemas/simplebridge.json")),
        ];
        let registry = Registry::new().unwrap();
        let services = services.map(|model| (whole(&model), model));
        let mut document =
            document(services.iter().map(|(whole, model)| (model, whole)), &registry.cube, &registry.port);
        // A release is no change of the API.
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
