//! The schemas of the framework's own documents, whatever is loaded.

use polycube_api::media;
use serde_json::{Value, json};

use super::operation::reference;
use super::schemas::ephemeral;
use crate::file_type::FileType;
use crate::schema::Model;

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn texts() -> Value {
    json!({ "type": "array", "items": { "type": "string" } })
}

pub(crate) fn components(cube: &Model, port: &Model) -> Value {
    json!({
        "schemas": {
            "errors": errors(),
            "error-info": error_info(),
            "cube": cube_schema(cube),
            "port": shown(port, &["name", "uuid", "status", "peer"]),
            "chains": chains(),
            "service": service(),
            "netdev": netdev(),
        },
        "responses": {
            "Refused": {
                "description": "Not done, and nothing has changed: everything that is wrong with the request",
                "content": { media::DATA: { "schema": reference("schemas", "errors") } },
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

fn errors() -> Value {
    let error = json!({
        "type": "object",
        "required": ["error-type", "error-tag", "error-path", "error-message", "error-info"],
        "properties": {
            "error-type": { "const": "application" },
            "error-tag": { "type": "string", "enum": [
                "invalid-value", "bad-attribute", "missing-attribute", "data-exists", "data-missing", "unknown-element",
                "operation-not-supported", "operation-failed",
            ] },
            "error-path": text("What it is about: a path below /polycube/v1/"),
            "error-message": text("What is wrong and what to do, in one line"),
            "error-info": reference("schemas", "error-info"),
        },
    });
    json!({
        "type": "object",
        "required": ["ietf-restconf:errors"],
        "properties": { "ietf-restconf:errors": {
            "type": "object",
            "required": ["error"],
            "properties": { "error": { "type": "array", "minItems": 1, "items": error } },
        } },
    })
}

/// The message in fields.
fn error_info() -> Value {
    let method = json!({ "type": "string", "enum": ["GET", "POST", "PUT", "PATCH", "DELETE"] });
    json!({
        "type": "object",
        "description": "The message in fields, for programs",
        "properties": {
            "name": text("What the mistake is about: the last word of the path, or the word that is not known"),
            "reason": text("What is wrong, without advice"),
            "candidates": {
                "type": "object",
                "description": "Names that could be meant",
                "required": ["known", "more"],
                "properties": {
                    "nearest": text("The one that was probably meant"),
                    "known": texts(),
                    "more": { "type": "integer", "minimum": 0, "description": "How many there are besides those known" },
                },
            },
            "method": method,
            "allow": { "type": "array", "items": method, "description": "Methods that work here" },
            "instead": {
                "type": "array",
                "description": "Requests that do what this one was meant to do",
                "items": { "type": "object", "required": ["method", "path"], "properties": {
                    "method": method, "path": text("Path below /polycube/v1/; words in capitals stand for names"),
                } },
            },
            "limits": {
                "type": "object",
                "description": "What a value must keep to",
                "properties": {
                    "minimum": { "type": "number" },
                    "maximum": { "type": "number" },
                    "unit": text("What the numbers count, where it is not obvious"),
                    "values": texts(),
                    "examples": texts(),
                },
            },
            "log": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Lines of a log that says more, such as the verifier's",
            },
        },
    })
}

fn cube_schema(cube: &Model) -> Value {
    let mut cube = shown(cube, &["name", "uuid", "service-name", "type", "loglevel"]);
    cube["properties"]["ports"] =
        json!({ "type": "array", "items": reference("schemas", "port"), "description": "Ports of a standard cube" });
    cube["properties"]["parent"] = text("What a transparent cube is attached to, with commas; empty for nothing");
    cube["properties"]["config"] =
        json!({ "type": "object", "description": "Settings that are not as they would be by default" });
    cube["properties"]["ephemeral"] = ephemeral();
    cube["properties"]["parents"] =
        json!({ "type": "array", "items": { "type": "string" }, "description": "The same, one by one" });
    cube
}

fn chains() -> Value {
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": text("Port or network device"),
            "ingress service chain": text("Cubes that packets from the netdev pass, in order"),
            "egress service chain": text("Cubes that packets to the netdev pass, in order"),
        },
    })
}

fn service() -> Value {
    json!({
        "type": "object",
        "required": ["name", "type"],
        "properties": {
            "name": text("Name of the service"),
            "type": { "type": "string", "enum": FileType::NAMES, "description": "What it was made from" },
            "kind": { "type": "string", "enum": ["standard", "transparent"] },
            "description": text("What it does"),
            "version": text("Version of the plugin, or the one in the object's manifest"),
            "sdk-version": text("Version of polycube-plugin-api that a library was built with"),
            "abi": text("Version of the plugin ABI that it was built with"),
            "servicecontroller": text("File that it was loaded from"),
            "since": text("When it was loaded, in UTC"),
            "failure": text("Why it is not loaded, where it is stored or stored cubes need it"),
        },
    })
}

fn netdev() -> Value {
    json!({
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
            "status": {
                "type": "string",
                "enum": ["UP", "DOWN"],
                "description": "UP while the device is set up and has carrier",
            },
            "reason": {
                "type": "string",
                "enum": ["netdev-down", "no-carrier"],
                "description": "Why it is DOWN: it is not set up, or it has no carrier",
            },
            "peer": text("Port that it is the peer of, CUBE:PORT; empty for none"),
        },
    })
}

/// One document of a kind.
pub(crate) fn one(kind: &str) -> Value {
    reference("schemas", kind)
}

/// A list of documents of a kind.
pub(crate) fn array_of(kind: &str) -> Value {
    json!({ "type": "array", "items": one(kind) })
}

/// Lists of cubes, by their service's name.
pub(crate) fn by_service() -> Value {
    json!({ "type": "object", "additionalProperties": array_of("cube") })
}

pub(crate) fn version() -> Value {
    let version =
        json!({ "type": "object", "required": ["version"], "properties": { "version": { "type": "string" } } });
    json!({ "type": "object", "required": ["polycubed"], "properties": { "polycubed": version } })
}

pub(crate) fn root_links() -> Value {
    let link = json!({ "type": "object", "required": ["rel", "href"], "properties": {
        "rel": { "type": "string" }, "href": { "type": "string", "format": "uri-reference" },
    } });
    let links = json!({ "type": "array", "items": link });
    json!({ "type": "object", "required": ["_links"], "properties": { "_links": links } })
}

/// A body of several cubes: a list, or lists by service.
pub(crate) fn cubes() -> Value {
    json!({ "oneOf": [cube_list(), { "type": "object", "additionalProperties": cube_list() }] })
}

fn cube_list() -> Value {
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

/// A whole configuration.
pub(crate) fn configuration() -> Value {
    let mut cubes = cube_list();
    if let Some(cube) = cubes["items"]["properties"].as_object_mut() {
        cube.retain(|member, _| !member.starts_with("parent"));
    }
    cubes["description"] = "Cubes, each with the settings that are not as they would be by default".into();
    let chains = json!({
        "type": "object",
        "additionalProperties": texts(),
        "description": "Transparent cubes at each port, as CUBE:PORT, and each netdev, in the order in which packets from \
                        the wire pass them",
    });
    json!({ "type": "object", "properties": { "cubes": cubes, "chains": chains }, "additionalProperties": false })
}

/// What surrounds captures.
pub(crate) fn bundle() -> Value {
    let objects = |about: &str| json!({ "type": "array", "items": { "type": "object" }, "description": about });
    json!({
        "type": "object",
        "properties": {
            "seconds-since-1970": { "type": "integer", "description": "When this was so" },
            "links": array_of("netdev"),
            "neighbours": objects("Netdev, address, MAC address and state of each"),
            "routes": objects("Network, metric and hops of each, in the table main"),
            "cubes": array_of("cube"),
            "counters": {
                "type": "object",
                "additionalProperties": { "type": "object" },
                "description": "What each cube has counted",
            },
        },
    })
}

/// What applying a configuration changes.
pub(crate) fn report() -> Value {
    let result = json!({ "type": "string", "enum": ["created", "changed", "removed", "left", "unlisted"] });
    let change = json!({
        "type": "object",
        "required": ["path", "from", "to"],
        "properties": { "path": text("Setting, or ports/NAME"), "from": {}, "to": {} },
    });
    let cube = json!({
        "type": "object",
        "required": ["name", "service-name", "result"],
        "properties": {
            "name": text("Name of the cube"),
            "service-name": text("Service that the cube is of"),
            "result": result,
            "changes": { "type": "array", "items": change },
        },
    });
    let chain = json!({
        "type": "object",
        "required": ["name", "result"],
        "properties": {
            "name": text("Port, as CUBE:PORT, or netdev"), "result": result, "from": texts(), "cubes": texts(),
        },
    });
    let list = |items: Value| json!({ "type": "array", "items": items });
    json!({
        "type": "object",
        "required": ["cubes", "chains"],
        "properties": { "cubes": list(cube), "chains": list(chain) },
    })
}

/// A model of the host's own as an answer, with what is always there.
fn shown(model: &Model, required: &[&str]) -> Value {
    json!({ "type": "object", "required": required, "properties": model.tree["properties"] })
}
