//! A service's part of the document: every node of its tree, with the methods that it takes.

use axum::http::Method;
use polycube_api::{DESCRIPTOR, EPHEMERAL, INTO, Word, media};
use polycube_plugin_api::{Action, Parameter, Stream};
use serde_json::{Map, Value, json};

use super::node_path::NodePath;
use super::operation::{CHANGE, Done, Operation, id, path_parameter, reference};
use super::schemas::{add_port_settings, answers, members, name_schema, settings, settings_of};
use crate::rest::resource_kind::ResourceKind;
use crate::schema::host::{PORT, parse};
use crate::schema::{Model, Node, PORTS, locate};

/// Adds what belongs to the service of `model`. `whole` is the schema of all that its cubes have, `cube` what every cube
/// has.
pub(super) fn add(document: &mut Value, model: &Model, whole: &Value, cube: &Model) {
    let name = &model.service.name;
    document["components"]["schemas"][name] = answers(model, whole);
    document["components"]["schemas"][settings_of(name)] = settings(model, cube);
    let mut tree = Tree { model, host_port: parse(PORT), paths: Map::new() };
    tree.add_service();
    tree.add_cube(whole);
    for stream in &model.service.streams {
        tree.add_stream(&format!("/{name}/{{cube}}/"), &["cube"], stream);
    }
    for stream in &model.service.shared_streams {
        let base = format!("/{}/{name}/", Word::Services);
        tree.add_stream(&base, &[], stream);
        if stream.can_be_deleted {
            tree.add_deletion(&format!("{base}{}", stream.path), &stream.description);
        }
    }
    if let Value::Object(paths) = &mut document["paths"] {
        paths.extend(tree.paths);
    }
}

/// What is at a path.
struct Resource {
    kind: ResourceKind,
    summary: String,
    /// Schema of what is read, or of what an action answers.
    answer: Value,
    /// Schema of what is sent, and whether it must be sent.
    body: (Value, bool),
}

struct Tree<'a> {
    model: &'a Model,
    /// Schema of what every port has.
    host_port: Value,
    paths: Map<String, Value>,
}

impl Tree<'_> {
    fn answer(&self, pointer: &str) -> Value {
        reference("schemas", &format!("{}{pointer}", self.model.service.name))
    }

    fn body(&self, pointer: &str) -> Value {
        reference("schemas", &format!("{}{pointer}", settings_of(&self.model.service.name)))
    }

    fn add_service(&mut self) {
        let name = &self.model.service.name;
        let mut body = self.body("");
        body["required"] = json!(["name"]);
        let place = NodePath { path: format!("/{name}"), ..NodePath::default() };
        let resource = Resource {
            kind: ResourceKind::Service,
            summary: format!("cubes of {name}"),
            answer: json!({ "type": "array", "items": self.answer("") }),
            body: (body, true),
        };
        self.add(&place, &resource);
        let streams = self.model.service.streams.iter().filter(|stream| !stream.path.contains('{'));
        let streams: Vec<&Stream> = streams.collect();
        if !streams.is_empty() {
            add_ephemeral(&mut self.paths[&place.path]["post"], &streams);
        }
    }

    fn add_cube(&mut self, whole: &Value) {
        let name = &self.model.service.name;
        let root = NodePath {
            path: format!("/{name}/{{cube}}"),
            parameters: vec![path_parameter("cube", &name_schema())],
            ..NodePath::default()
        };
        let summary = format!("a cube of {name}");
        let resource =
            Resource { kind: ResourceKind::Cube, summary, answer: self.answer(""), body: (self.body(""), false) };
        self.add(&root, &resource);
        for (word, member) in members(whole) {
            match word.as_str() {
                "ports" => self.add_ports(&root.member(word), member),
                _ => self.add_node(&root.member(word), &Node::of(member)),
            }
        }
        for action in &self.model.service.actions {
            self.add_action(&root, action);
        }
    }

    fn add_action(&mut self, root: &NodePath, action: &Action) {
        let (words, mut place) = (action.path.split('/'), root.clone());
        let mut node = Node::of(&self.model.tree);
        for word in words {
            let below = node.child(word);
            place = match node {
                Node::List { key, .. } => place.entry(key),
                // The list's first word has added them all.
                Node::Part { .. } => place,
                _ => place.member(word),
            };
            node = below.unwrap_or(Node::Leaf(&Value::Null));
        }
        let body = match self.model.inputs.get(&action.path) {
            Some(input) => (input.config().clone(), input.config()["required"].is_array()),
            None => (json!({ "type": "object", "additionalProperties": false }), false),
        };
        let answer = action.output.clone().unwrap_or(Value::Null);
        self.add(&place, &Resource { kind: ResourceKind::Run, summary: action.description.clone(), answer, body });
    }

    fn add_ports(&mut self, ports: &NodePath, schema: &Value) {
        let is_extended = members(&schema["items"]).any(|(name, _)| self.host_port["properties"][name].is_null());
        let port = match is_extended {
            true => self.answer("/properties/ports/items"),
            false => reference("schemas", "port"),
        };
        let peer = json!({ "type": "string", "description": "Netdev on the other side; empty for none" });
        let mut body = json!({ "type": "object", "properties": { "peer": peer }, "additionalProperties": false });
        let mut named = body.clone();
        named["properties"]["name"] = name_schema();
        named["required"] = json!(["name"]);
        if let Some(model) = &self.model.port {
            add_port_settings(&mut body, model);
            add_port_settings(&mut named, model);
        }
        let resource = Resource {
            kind: ResourceKind::Ports,
            summary: "ports of a cube".to_owned(),
            answer: json!({ "type": "array", "items": port }),
            body: (named, true),
        };
        self.add(ports, &resource);
        let one = ports.port(&name_schema());
        let summary = "a port".to_owned();
        self.add(&one, &Resource { kind: ResourceKind::Whole, summary, answer: port, body: (body, false) });
        for (word, member) in members(&schema["items"]) {
            self.add_node(&one.member(word), &Node::of(member));
        }
    }

    /// What can be set at a node.
    fn settable(&self, words: &[String]) -> Option<Node<'_>> {
        match (words, &self.model.port) {
            ([ports, _, below @ ..], Some(port)) if ports == PORTS => locate(port.config(), below).ok(),
            _ => locate(self.model.config(), words).ok(),
        }
    }

    /// A node, and what is below it.
    fn add_node(&mut self, place: &NodePath, node: &Node<'_>) {
        let schema = node.schema();
        let place = &NodePath { is_read_only: place.is_read_only || schema["readOnly"] == true, ..place.clone() };
        let kind = if place.is_read_only { ResourceKind::Read } else { ResourceKind::of(node) };
        let answer = match node {
            // What is unset is null.
            Node::Leaf(_) | Node::Container(_) if !can_be_null(schema) => {
                json!({ "anyOf": [self.answer(&place.pointer), { "type": "null" }] })
            }
            _ => self.answer(&place.pointer),
        };
        let body = match self.settable(&place.words) {
            Some(Node::Entry(entry)) => without_key(entry, &place.key),
            _ => self.body(&place.pointer),
        };
        self.add(place, &Resource { kind, summary: description(schema), answer, body: (body, true) });
        match node {
            Node::List { key, schema } => {
                self.add_node(&place.entry(*key), &Node::Entry(&schema["items"]));
            }
            _ => {
                for (word, member) in members(schema) {
                    self.add_node(&place.member(word), &Node::of(member));
                }
            }
        }
    }

    /// A stream below `base`, in which `names` stand. It may share a node's path: then the client's `Accept` says which of
    /// the two is meant.
    fn add_stream(&mut self, base: &str, names: &[&str], stream: &Stream) {
        let service = &self.model.service.name;
        let path = format!("{base}{}", stream.path);
        let media = media_of(&[stream]);
        let parameters = parameters_of(&[stream]);
        let item = self.paths.entry(&path).or_insert_with(|| {
            let text = json!({ "type": "string", "minLength": 1 });
            let words = stream.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
            let parameters: Vec<_> =
                names.iter().copied().chain(words).map(|word| path_parameter(word, &text)).collect();
            let operation = Operation {
                tag: service,
                summary: stream.description.clone(),
                body: None,
                done: Done::document(200, json!({})),
                tagged: false,
                refused: &[400, 404, 409, 500],
            };
            let mut item = json!({ "parameters": parameters, "get": operation.write(&id("get", &path)) });
            item["get"]["responses"]["200"]["content"] = json!({});
            item
        });
        match item["get"]["parameters"].as_array_mut() {
            Some(known) => known.extend(parameters),
            None => item["get"]["parameters"] = parameters.into(),
        }
        if let Some(content) = item["get"]["responses"]["200"]["content"].as_object_mut() {
            content.extend(media);
        }
    }

    /// That the stream at `path` can be deleted.
    fn add_deletion(&mut self, path: &str, summary: &str) {
        let operation = Operation {
            tag: &self.model.service.name,
            summary: format!("Delete: {summary}"),
            body: None,
            done: Done::nothing(204),
            tagged: false,
            refused: &[400, 403, 404, 500],
        };
        self.paths[path]["delete"] = operation.write(&id("delete", path));
    }

    /// Everything that can be done at a path.
    fn add(&mut self, place: &NodePath, resource: &Resource) {
        let Resource { kind, summary, answer, body } = resource;
        let mut item = Map::new();
        if !place.parameters.is_empty() {
            item.insert("parameters".to_owned(), place.parameters.clone().into());
        }
        for method in kind.methods() {
            let name = method.as_str();
            let lower = name.to_ascii_lowercase();
            let Ok(method) = Method::from_bytes(name.as_bytes()) else { continue };
            let mut body = match name {
                // What is created is an entry.
                "POST" if *kind == ResourceKind::List => Some((self.body(&format!("{}/items", place.pointer)), true)),
                "POST" | "PUT" | "PATCH" => Some(body.clone()),
                _ => None,
            };
            if let (Some((Value::Object(body), _)), "PATCH") = (&mut body, name) {
                // What is not named stays.
                body.shift_remove("required");
            }
            let status = kind.done(&method).as_u16();
            let operation = Operation {
                tag: &self.model.service.name,
                summary: summary.clone(),
                body,
                done: match (name, kind) {
                    ("GET", _) => Done::document(status, answer.clone()),
                    (_, ResourceKind::Run) if !answer.is_null() => Done::document(status, answer.clone()),
                    _ => Done::nothing(status),
                },
                tagged: !matches!(kind, ResourceKind::Read | ResourceKind::Run | ResourceKind::Service),
                refused: if name == "GET" { &[404, 409, 500] } else { &CHANGE },
            };
            item.insert(lower.clone(), operation.write(&id(&lower, &place.path)));
        }
        self.paths.insert(place.path.clone(), item.into());
    }
}

/// Adds, to the creation of a cube, that it can go with one of `streams` and be answered with that.
fn add_ephemeral(post: &mut Value, streams: &[&Stream]) {
    let names: Vec<&str> = streams.iter().map(|stream| stream.path.as_str()).collect();
    let own = json!({
        "name": EPHEMERAL,
        "in": "query",
        "description": "Create a cube, with or without a name, that goes with this stream of it, and answer with the stream; the \
            parameters are the stream's",
        "schema": { "type": "string", "enum": names },
    });
    let mut parameters = vec![own];
    parameters.extend(parameters_of(streams));
    post["parameters"] = parameters.into();
    post["responses"]["201"]["content"] = media_of(streams).into();
    post["responses"]["201"]["headers"] = json!({
        "Location": { "description": "The cube, if it goes with its stream", "schema": { "type": "string" } },
    });
}

/// What a request for one of `streams` may say.
fn parameters_of(streams: &[&Stream]) -> Vec<Value> {
    let mut parameters: Vec<Value> = streams.iter().flat_map(|stream| &stream.query).map(query_parameter).collect();
    if streams.iter().any(|stream| stream.into_files) {
        parameters.push(json!({
            "name": INTO,
            "in": "header",
            "description": "Over the Unix socket: with the request came a descriptor (SCM_RIGHTS) of a regular file that is open \
                for writing; the stream goes there, and the answer has a line of JSON from time to time that says how much",
            "schema": { "type": "string", "enum": [DESCRIPTOR] },
        }));
    }
    parameters
}

/// What an answer with one of `streams` may be.
fn media_of(streams: &[&Stream]) -> Map<String, Value> {
    let reports = streams.iter().any(|stream| stream.into_files).then_some(media::REPORTS);
    let all = streams.iter().flat_map(|stream| &stream.media).map(String::as_str).chain(reports);
    all.map(|media| (media.split(';').next().unwrap_or_default().to_owned(), json!({ "schema": {} }))).collect()
}

fn query_parameter(parameter: &Parameter) -> Value {
    let mut schema = json!({ "type": "string" });
    if !parameter.values.is_empty() {
        schema["enum"] = json!(parameter.values);
    }
    json!({ "name": parameter.name, "in": "query", "description": parameter.description, "schema": schema })
}

fn can_be_null(schema: &Value) -> bool {
    schema["type"].as_array().is_some_and(|types| types.iter().any(|one| one == "null"))
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// An entry of a list, whose key is in the path.
fn without_key(entry: &Value, key: &[String]) -> Value {
    let mut entry = entry.clone();
    if let Some(required) = entry.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| key.iter().all(|member| name != member));
    }
    entry
}
