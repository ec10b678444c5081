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
            model(include_str!("../../../schemas/helloworld.json")),
            model(include_str!("../../../schemas/packetcapture.json")),
            model(include_str!("../../../schemas/simplebridge.json")),
            model(include_str!("../../../schemas/span.json")),
            model(include_str!("../../../schemas/transparenthelloworld.json")),
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

    /// The document of the fixture's services, which have what the golden ones do not.
    fn of_fixture() -> Value {
        let registry = crate::rest::fixture::model().registry;
        let services = registry.services().map(|(_, service)| (&service.model, &service.whole));
        document(&ROUTES, services, &registry.cube, &registry.port)
    }

    /// All operations, with their paths and methods.
    fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
        let paths = document["paths"].as_object().unwrap().iter();
        let of_path = |(path, item): (&'_ String, &'_ Value)| -> Vec<_> {
            let operations = item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters");
            operations.map(|(method, _)| (path.clone(), method.clone())).collect()
        };
        let names: Vec<(String, String)> = paths.flat_map(of_path).collect();
        names
            .into_iter()
            .map(|(path, method)| {
                let (path, item) = document["paths"].as_object().unwrap().get_key_value(&path).unwrap();
                let (method, operation) = item.as_object().unwrap().get_key_value(&method).unwrap();
                (path.as_str(), method.as_str(), operation)
            })
            .collect()
    }

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_something() {
        let document = of_fixture();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100, "{} references", found.len());
        for reference in found {
            let target = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
            assert!(target.is_some(), "{reference} leads nowhere");
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let document = of_fixture();
        let mut names: Vec<&str> =
            operations(&document).iter().map(|(_, _, operation)| operation["operationId"].as_str().unwrap()).collect();
        names.sort_unstable();
        let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    #[test]
    fn every_name_in_a_path_is_declared_once() {
        let document = of_fixture();
        for (path, item) in document["paths"].as_object().unwrap() {
            let in_path: Vec<&str> =
                path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}')).collect();
            let declared = item["parameters"].as_array().into_iter().flatten();
            let declared: Vec<&str> = declared.map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(declared, in_path, "{path}");
        }
    }

    #[test]
    fn only_what_takes_a_body_declares_one() {
        let document = of_fixture();
        for (path, method, operation) in operations(&document) {
            let may_have = matches!(method, "post" | "put" | "patch");
            assert!(may_have || operation["requestBody"].is_null(), "{method} {path}");
            assert!(
                operation["responses"].as_object().is_some_and(|all| all.keys().any(|s| s.starts_with('2'))),
                "{path}"
            );
        }
    }

    /// Asserts the methods of a path.
    #[track_caller]
    fn check(path: &str, methods: &str) {
        let document = of_fixture();
        let found: Vec<_> =
            operations(&document).iter().filter(|one| one.0 == path).map(|one| one.1.to_owned()).collect();
        assert_eq!(found.join(" "), methods, "{path}");
    }

    #[test]
    fn nodes_have_the_methods_of_their_kind() {
        check("/tap", "get post");
        check("/tap/{cube}", "get post put patch delete");
        check("/tap/{cube}/size", "get put patch delete");
        check("/tap/{cube}/seen", "get");
        check("/tap/{cube}/uuid", "get");
        check("/tap/{cube}/filter", "get post put patch delete");
        check("/tap/{cube}/host/{address}", "get post put patch delete");
        check("/tap/{cube}/points/{name}", "get");
        check("/tap/{cube}/run", "post");
        check("/tap/{cube}/packets", "get");
        check("/tap/{cube}/files/{name}", "get");
        check("/tap/{cube}/ports", "");
        check("/bridge/{cube}/ports", "get post delete");
        check("/bridge/{cube}/ports/{port}/peer", "get put patch delete");
        check("/bridge/{cube}/ports/{port}/status", "get");
        check("/services/{service}", "get delete");
    }

    #[test]
    fn what_can_be_set_refuses_what_it_does_not_name_and_answers_do_not() {
        let document = of_fixture();
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["tap-settings"]["additionalProperties"], false);
        assert_eq!(schemas["tap"]["additionalProperties"], Value::Null);
        assert_eq!(schemas["tap"]["properties"]["filter"]["additionalProperties"], Value::Null);
        assert_eq!(schemas["tap-settings"]["properties"]["seen"], Value::Null);
        assert_eq!(schemas["tap-settings"]["properties"]["ports"], Value::Null, "a transparent cube has none");
        assert_eq!(schemas["bridge-settings"]["properties"]["ports"]["items"]["required"], json!(["name"]));
        assert_eq!(schemas["tap"]["properties"]["failure"]["readOnly"], true);
        let patch =
            &document["paths"]["/tap/{cube}/host/{address}"]["patch"]["requestBody"]["content"]["application/json"];
        assert_eq!(patch["schema"]["required"], Value::Null, "the key is in the path");
    }

    #[test]
    fn a_stream_has_its_parameters_and_media() {
        let document = of_fixture();
        let get = &document["paths"]["/tap/{cube}/packets"]["get"];
        assert_eq!(get["parameters"][0]["schema"]["enum"], json!(["pcap", "pcapng"]));
        let media: Vec<_> = get["responses"]["200"]["content"].as_object().unwrap().keys().collect();
        assert_eq!(media, ["application/x-pcapng"]);
    }
}
