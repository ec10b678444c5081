//! The part of the document that is the same whatever is loaded.

use serde_json::{Map, Value, json};

use super::operation::{CHANGE, Operation, id, reference};
use crate::rest::dispatch::DATA_TYPE;
use crate::schema::Model;

pub fn components(cube: &Model, port: &Model) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    let error = json!({
        "type": "object",
        "required": ["error-type", "error-tag", "error-path", "error-message"],
        "properties": {
            "error-type": { "const": "application" },
            "error-tag": { "type": "string", "enum": [
                "invalid-value", "bad-attribute", "missing-attribute", "data-exists", "data-missing", "unknown-element",
                "operation-not-supported", "operation-failed",
            ] },
            "error-path": text("What it is about: a path below /polycube/v1/"),
            "error-message": text("What is wrong and what to do, in one line"),
            "error-info": text("Last word of the path"),
        },
    });
    let port = shown(port, &["name", "uuid", "status", "peer"]);
    let mut cube = shown(cube, &["name", "uuid", "service-name", "type", "loglevel"]);
    cube["properties"]["ports"] =
        json!({ "type": "array", "items": reference("schemas", "port"), "description": "Ports of a standard cube" });
    cube["properties"]["parent"] = text("What a transparent cube is attached to, with commas; empty for nothing");
    cube["properties"]["parents"] =
        json!({ "type": "array", "items": { "type": "string" }, "description": "The same, one by one" });
    json!({
        "schemas": {
            "errors": {
                "type": "object",
                "required": ["ietf-restconf:errors"],
                "properties": { "ietf-restconf:errors": {
                    "type": "object",
                    "required": ["error"],
                    "properties": { "error": { "type": "array", "minItems": 1, "items": error } },
                } },
            },
            "cube": cube,
            "port": port,
            "chains": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": text("Port or network device"),
                    "ingress service chain": text("Whom packets from the network device pass, in their order"),
                    "egress service chain": text("Whom packets to the network device pass, in their order"),
                },
            },
            "service": {
                "type": "object",
                "required": ["name", "kind", "description", "version", "servicecontroller"],
                "properties": {
                    "name": text("Name of the service"),
                    "kind": { "type": "string", "enum": ["standard", "transparent"] },
                    "description": text("What it does"),
                    "version": text("Version of the plugin"),
                    "servicecontroller": text("File that the plugin was loaded from"),
                },
            },
            "netdev": {
                "type": "object",
                "required": ["name", "index", "status", "peer"],
                "properties": {
                    "name": text("Name of the device"),
                    "index": { "type": "integer", "minimum": 1 },
                    "mac": { "type": ["string", "null"], "description": "MAC address, if it has one" },
                    "mtu": { "type": ["integer", "null"] },
                    "addresses": {
                        "type": "array",
                        "items": text("IP address and prefix length"),
                        "description": "IP addresses of the host on it",
                    },
                    "status": { "type": "string", "enum": ["UP", "DOWN"] },
                    "peer": text("Port that it is the peer of, CUBE:PORT; empty for none"),
                },
            },
        },
        "responses": {
            "Refused": {
                "description": "Not done, and nothing has changed: everything that is wrong with the request",
                "content": { DATA_TYPE: { "schema": reference("schemas", "errors") } },
            },
        },
        "parameters": {
            "If-Match": {
                "name": "If-Match",
                "in": "header",
                "description": "Change nothing unless the ETag, which stands for what is set here, is one of these",
                "schema": { "type": "string" },
            },
            "If-None-Match": {
                "name": "If-None-Match",
                "in": "header",
                "description": "Answer 304 if the ETag is one of these, and no state is shown with what is set",
                "schema": { "type": "string" },
            },
        },
        "securitySchemes": {
            "token": { "type": "http", "scheme": "bearer", "description": "Over TCP: the daemon's --token-file" },
        },
    })
}

pub fn paths() -> Value {
    let mut paths = Map::new();
    let array = |name: &str| json!({ "type": "array", "items": reference("schemas", name) });
    let by_service = json!({ "type": "object", "additionalProperties": array("cube") });
    let link = json!({ "type": "object", "required": ["rel", "href"], "properties": {
        "rel": { "type": "string" }, "href": { "type": "string", "format": "uri-reference" },
    } });
    let links = json!({ "type": "array", "items": link });
    let links = json!({ "type": "object", "required": ["_links"], "properties": { "_links": links } });
    let version =
        json!({ "type": "object", "required": ["version"], "properties": { "version": { "type": "string" } } });
    let version = json!({ "type": "object", "required": ["polycubed"], "properties": { "polycubed": version } });
    for (path, summary, answer) in [
        ("/", "Where everything is", links),
        ("/version", "Version of the daemon", version),
        ("/services", "Services that are loaded", array("service")),
        ("/services/{service}", "A service", reference("schemas", "service")),
        ("/cubes", "All cubes, by service", by_service),
        ("/cubes/{cube}", "What a cube has, whatever its service", reference("schemas", "cube")),
        ("/topology", "All cubes, in one list", array("cube")),
        (
            "/topology/{place}",
            "The chains at a port, as CUBE:PORT, or at a network device",
            reference("schemas", "chains"),
        ),
        ("/netdevs", "Network devices of the daemon's network namespace", array("netdev")),
        ("/netdevs/{netdev}", "A network device", reference("schemas", "netdev")),
    ] {
        let operation = Operation {
            tag: "framework",
            summary: summary.to_owned(),
            body: None,
            done: (200, Some(answer)),
            tagged: false,
            refused: if path.contains('{') { &[400, 404, 500] } else { &[500] },
        };
        let mut item = json!({ "get": operation.write(&id("get", path)) });
        if let Some((_, parameter)) = path.trim_end_matches('}').split_once('{') {
            item["parameters"] = json!([path_parameter(parameter, &json!({ "type": "string", "minLength": 1 }))]);
        }
        paths.insert(path.to_owned(), item);
    }
    let post = Operation {
        tag: "framework",
        summary: "Create several cubes, all of them or none".to_owned(),
        body: Some((cubes(), true)),
        done: (201, None),
        refused: &CHANGE,
        tagged: false,
    };
    paths["/cubes"]["post"] = post.write(&id("post", "/cubes"));
    let load = Operation {
        tag: "framework",
        summary: "Load the plugin in a file of the plugin directory; `type` is lib".to_owned(),
        body: Some((words(&["type", "uri", "name"], &[]), true)),
        done: (200, None),
        refused: &CHANGE,
        tagged: false,
    };
    paths["/services"]["post"] = load.write(&id("post", "/services"));
    let unload = Operation {
        tag: "framework",
        summary: "Forget a service that has no cubes".to_owned(),
        body: None,
        done: (204, None),
        refused: &CHANGE,
        tagged: false,
    };
    paths["/services/{service}"]["delete"] = unload.write(&id("delete", "/services/{service}"));
    for (path, summary, media_type, schema) in [
        ("/metrics", "Counters of all cubes, for Prometheus", "text/plain", json!({ "type": "string" })),
        ("/openapi.json", "This document", "application/json", json!({ "type": "object" })),
    ] {
        let done = json!({ "description": "Done", "content": { media_type: { "schema": schema } } });
        let get = json!({
            "tags": ["framework"], "summary": summary, "operationId": id("get", path), "responses": { "200": done },
        });
        paths.insert(path.to_owned(), json!({ "get": get }));
    }
    for (path, summary, required, optional) in [
        ("/connect", "Link a port to its peer", ["peer1", "peer2"], &[][..]),
        ("/disconnect", "End a link", ["peer1", "peer2"], &[]),
        (
            "/attach",
            "Attach a transparent cube to a port or a netdev",
            ["cube", "port"],
            &["position", "before", "after"],
        ),
        ("/detach", "Detach a transparent cube", ["cube", "port"], &[]),
    ] {
        let operation = Operation {
            tag: "framework",
            summary: summary.to_owned(),
            body: Some((words(&required, optional), true)),
            done: (200, None),
            tagged: false,
            refused: &CHANGE,
        };
        paths.insert(path.to_owned(), json!({ "post": operation.write(&id("post", path)) }));
    }
    paths.into()
}

/// A body of several cubes.
fn cubes() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "type": "array",
        "items": {
            "type": "object",
            "description": "A cube, with what its service lets one set",
            "required": ["name", "service-name"],
            "properties": {
                "name": text("Name of the cube"),
                "service-name": text("Service that the cube is of"),
                "parent": text("What a transparent cube is attached to, CUBE:PORT or a netdev, with commas between several"),
                "parents": {
                    "type": "array",
                    "items": { "type": "string" },
                    "description": "The same as a list: give one of the two",
                },
                "ports": { "type": "array", "items": { "type": "object" }, "description": "Ports of a standard cube" },
            },
        },
    })
}

/// A body of words, of which some have to be given.
fn words(required: &[&str], optional: &[&str]) -> Value {
    let describe = |name: &str| match name {
        "position" => json!({
            "type": "string", "enum": ["auto", "first", "last"], "description": "Where among those attached there",
        }),
        "before" | "after" => json!({ "type": "string", "description": "A cube that is attached there" }),
        "port" => json!({ "type": "string", "description": "CUBE:PORT, or a netdev", "examples": ["br1:p1", "eth0"] }),
        "cube" => json!({ "type": "string", "description": "Name of a transparent cube" }),
        _ => json!({ "type": "string", "description": "CUBE:PORT, or a netdev", "examples": ["br1:p1", "eth0"] }),
    };
    let members: Map<String, Value> =
        required.iter().chain(optional).map(|name| ((*name).to_owned(), describe(name))).collect();
    json!({ "type": "object", "required": required, "properties": members, "additionalProperties": false })
}

/// A model of the host's own as an answer, with what is always there.
fn shown(model: &Model, required: &[&str]) -> Value {
    json!({ "type": "object", "required": required, "properties": model.tree["properties"] })
}

/// A parameter in a path.
pub fn path_parameter(name: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}
