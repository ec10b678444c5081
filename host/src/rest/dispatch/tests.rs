mod conditions;
mod config;
mod framework;
mod help;
mod resources;
mod roles;

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse as _;
use polycube_api::BASE;
use serde_json::Value;

use super::dispatch;
use crate::rest::client::{Client, Role, Who};
use crate::rest::context::Api;
use crate::rest::fixture;

/// An answer, read.
struct Answer {
    status: u16,
    headers: HeaderMap,
    /// Null where there is none.
    body: Value,
}

impl Answer {
    /// The paths and messages of a refusal.
    fn problems(&self) -> Vec<(&str, &str)> {
        let errors = self.body["ietf-restconf:errors"]["error"].as_array().into_iter().flatten();
        let text = |error: &'_ Value, name: &str| error[name].as_str().unwrap_or_default().len();
        errors
            .map(|error| {
                assert!(text(error, "error-message") > 0, "{error}");
                (error["error-path"].as_str().unwrap_or_default(), error["error-message"].as_str().unwrap_or_default())
            })
            .collect()
    }

    fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Sends a request, with a body unless that is null, and headers.
async fn send(api: &Api, method: &str, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    send_as(api, Role::Admin, &format!("{method} {path}"), body, headers).await
}

/// As [`send`], by a client with this role; the request is method and path.
async fn send_as(api: &Api, role: Role, request: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let (method, path) = request.split_once(' ').unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client { who: Who::Token(Some("lab".into())), from: "192.0.2.1:5".into(), ends: None, role };
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = dispatch(State(api.clone()), Extension(client), request.body(body).unwrap()).await.into_response();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let bytes = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or_else(|_| text.into()) };
    Answer { status, headers, body }
}

/// Asks the fixture, at a path below the base path.
async fn ask(method: &str, path: &str, body: &Value) -> Answer {
    send(&fixture::api(), method, &format!("{BASE}/{path}"), body, &[]).await
}

/// Asserts that a request is refused, with which status, about what, and a part of the message.
async fn refused(request: &str, body: &Value, status: u16, about: &str, message: &str) {
    let (method, path) = request.split_once(' ').unwrap();
    let answer = ask(method, path, body).await;
    let request = format!("{request} {body}: {}", answer.body);
    assert_eq!(answer.status, status, "{request}");
    let problems = answer.problems();
    assert!(problems.len() == 1 && problems[0].0 == about && problems[0].1.contains(message), "{request}");
}
