//! Refusals as HTTP has them: a status, and RESTCONF's error body (RFC 8040 section 7.1).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use polycube_api::{Error, ErrorBody, ErrorTag, Errors};

use super::document::document;
use crate::problem::{Problem, Problems, list};

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problems: Problems,
    closes: bool,
}

impl Refusal {
    /// A refusal with `status` for one reason.
    pub(super) fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problems: problem.into(), closes: false }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in the words of the first problem.
    pub(super) fn reason(&self) -> &str {
        self.problems.0.first().map_or("", |problem| problem.message.as_str())
    }

    /// The same, as the last answer of its connection: no further request is read from it.
    #[must_use]
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// A refusal of a framework call (`attach`, `cubes/NAME`). Polycube answers these with 400, whatever is wrong with
    /// them.
    pub(super) fn framework(problems: impl Into<Problems>) -> Self {
        let refusal = Self::from(problems.into());
        let status = if refusal.status.is_server_error() { refusal.status } else { StatusCode::BAD_REQUEST };
        Self { status, ..refusal }
    }

    /// What the client can do instead, or must send.
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let allowed = self.problems.0.first().map_or(&[][..], Problem::allowed);
        if !allowed.is_empty() {
            headers.extend(HeaderValue::try_from(list(allowed)).ok().map(|methods| (header::ALLOW, methods)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"polycubed\""));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110 section 15.5.16.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        headers
    }
}

impl From<Problems> for Refusal {
    fn from(problems: Problems) -> Self {
        let status = match problems.0.first().map(|problem| problem.tag) {
            Some(ErrorTag::InvalidValue | ErrorTag::BadAttribute | ErrorTag::MissingAttribute) => {
                StatusCode::BAD_REQUEST
            }
            Some(ErrorTag::DataExists | ErrorTag::DataMissing) => StatusCode::CONFLICT,
            Some(ErrorTag::UnknownElement) => StatusCode::NOT_FOUND,
            Some(ErrorTag::OperationNotSupported) => StatusCode::METHOD_NOT_ALLOWED,
            Some(ErrorTag::PreconditionFailed) => StatusCode::PRECONDITION_FAILED,
            Some(ErrorTag::OperationFailed) | None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, problems, closes: false }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Problems::from(problem).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let headers = self.headers();
        let error = self.problems.0.into_iter().map(Error::from).collect();
        let mut response = document(self.status, &ErrorBody { errors: Errors { error } });
        response.headers_mut().extend(headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use polycube_api::Method;

    use super::*;

    /// Asserts the status and the headers, other than the body's type, of an answer.
    #[track_caller]
    fn check(refusal: Refusal, status: u16, headers: &[(&str, &str)]) {
        let response = refusal.into_response();
        assert_eq!(response.status().as_u16(), status);
        let others = response.headers().iter().filter(|(name, _)| *name != header::CONTENT_TYPE);
        let found: Vec<_> = others.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(found, headers, "{status}");
    }

    #[test]
    fn the_first_problem_decides_the_status() {
        for (tag, status) in [
            (ErrorTag::InvalidValue, 400),
            (ErrorTag::BadAttribute, 400),
            (ErrorTag::MissingAttribute, 400),
            (ErrorTag::DataExists, 409),
            (ErrorTag::DataMissing, 409),
            (ErrorTag::UnknownElement, 404),
            (ErrorTag::OperationNotSupported, 405),
            (ErrorTag::PreconditionFailed, 412),
            (ErrorTag::OperationFailed, 500),
        ] {
            check(Problem::new(tag, "a", "no").into(), status, &[]);
            let problems = Problems(vec![Problem::new(tag, "a", "no"), Problem::bad("b", "no")]);
            check(problems.into(), status, &[]);
        }
    }

    #[test]
    fn the_framework_refuses_with_400_unless_the_daemon_is_to_blame() {
        check(Refusal::framework(Problem::missing("cubes/x", "no")), 400, &[]);
        check(Refusal::framework(Problem::exists("cubes/x", "no")), 400, &[]);
        check(Refusal::framework(Problem::failed("cubes/x", "no")), 500, &[]);
    }

    #[test]
    fn headers_say_what_the_client_must_send_or_may_do() {
        let refusal = |status| Refusal::new(status, Problem::invalid("", "no"));
        check(refusal(StatusCode::UNAUTHORIZED), 401, &[("www-authenticate", "Bearer realm=\"polycubed\"")]);
        check(
            refusal(StatusCode::SERVICE_UNAVAILABLE).closing(),
            503,
            &[("retry-after", "1"), ("connection", "close")],
        );
        check(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE), 415, &[("accept-encoding", "identity")]);
        check(refusal(StatusCode::FORBIDDEN).closing(), 403, &[("connection", "close")]);
        let method = Problem::method("a", "PUT", &[Method::Get, Method::Patch]);
        check(method.into(), 405, &[("allow", "GET, PATCH")]);
    }

    #[tokio::test]
    async fn the_body_has_every_problem_in_order() {
        let problems = Problems(vec![Problem::bad("b", "second letter"), Problem::missing("a/x", "first letter")]);
        let response = Refusal::from(problems).into_response();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let errors = body["ietf-restconf:errors"]["error"].as_array().unwrap();
        let fields = ["error-type", "error-tag", "error-path", "error-message"];
        let found: Vec<_> = errors.iter().map(|error| fields.map(|field| error[field].as_str().unwrap())).collect();
        assert_eq!(
            found,
            [
                ["application", "bad-attribute", "b", "second letter"],
                ["application", "data-missing", "a/x", "first letter"]
            ]
        );
    }
}
