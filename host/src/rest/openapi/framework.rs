//! The paths of the framework, from their declarations.

use polycube_api::Method;
use serde_json::{Map, Value, json};

use super::operation::{CHANGE, Done, Operation, id, path_parameter};
use crate::rest::route::{AnswerSchema, Body, Endpoint, Field, Route, Segment};

pub(super) fn paths(routes: &[Route]) -> Value {
    let items = routes.iter().map(|route| {
        let path = path(route);
        let mut item = Map::new();
        let names = route.path.iter().filter_map(|segment| match segment {
            Segment::Name(name, _) => Some(name),
            Segment::Word(_) | Segment::Fixed(_) => None,
        });
        for name in names {
            let parameter = path_parameter(name, &json!({ "type": "string", "minLength": 1 }));
            item.insert("parameters".to_owned(), json!([parameter]));
        }
        for endpoint in route.endpoints {
            let method = endpoint.method.as_str().to_ascii_lowercase();
            item.insert(method.clone(), operation(route, endpoint).write(&id(&method, &path)));
        }
        (path, item.into())
    });
    items.collect::<Map<String, Value>>().into()
}

fn path(route: &Route) -> String {
    let words = route.path.iter().map(|segment| match segment {
        Segment::Word(word) => format!("/{word}"),
        Segment::Fixed(word) => format!("/{word}"),
        Segment::Name(name, _) => format!("/{{{name}}}"),
    });
    let path: String = words.collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

fn operation(route: &Route, endpoint: &Endpoint) -> Operation<'static> {
    let status = endpoint.status.as_u16();
    let done = match &endpoint.answer {
        AnswerSchema::Nothing => Done::nothing(status),
        AnswerSchema::Document(schema) => Done::document(status, schema()),
        AnswerSchema::Text(media_type, schema) => Done { status, content: Some((media_type, schema())) },
    };
    let refused: &[u16] = match (endpoint.method, &endpoint.answer, route.name()) {
        (Method::Get, AnswerSchema::Text(..), _) => &[],
        (Method::Get, _, Some(_)) => &[400, 404, 500],
        (Method::Get, _, None) => &[500],
        _ => &CHANGE,
    };
    let body = match &endpoint.body {
        Body::None => None,
        Body::Fields(fields) => Some((object(fields), fields.iter().any(|field| field.is_required))),
        Body::Schema(schema) => Some((schema(), true)),
    };
    Operation { tag: "framework", summary: endpoint.summary.to_owned(), body, done, refused, tagged: false }
}

/// A body of fields.
fn object(fields: &[Field]) -> Value {
    let required: Vec<&str> = fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let members: Map<String, Value> = fields.iter().map(|field| (field.name.to_owned(), member(field))).collect();
    json!({ "type": "object", "required": required, "properties": members, "additionalProperties": false })
}

fn member(field: &Field) -> Value {
    let mut member = json!({ "type": "string", "description": field.about });
    if !field.values.is_empty() {
        member["enum"] = json!(field.values);
    }
    if !field.example.is_empty() {
        member["examples"] = json!([field.example]);
    }
    member
}
