//! Refusals as the client reads them: RESTCONF's error body (RFC 8040 section 7.1) and a status.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::dispatch::DATA;
use super::kind::Kind;
use crate::problem::{ErrorTag, Problem, Problems};

/// A refused request.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    problems: Problems,
    /// What the client can do instead, or has to show.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// A refusal of `status` for one reason.
    pub fn new(status: StatusCode, problem: Problem) -> Self {
        Self { status, problems: problem.into(), header: None }
    }

    /// The same, telling the methods that work.
    #[must_use]
    pub fn allowing(mut self, kind: Kind) -> Self {
        self.header = Some((header::ALLOW, HeaderValue::from_static(kind.methods())));
        self
    }

    /// The same, telling how to say who asks.
    #[must_use]
    pub fn wanting_token(mut self) -> Self {
        self.header = Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"polycubed\"")));
        self
    }

    /// A refusal of a framework call (`attach`, `cubes/NAME`), for which Polycube knows no status but 400.
    pub fn framework(problems: impl Into<Problems>) -> Self {
        let refused = Self::from(problems.into());
        let status = if refused.status.is_server_error() { refused.status } else { StatusCode::BAD_REQUEST };
        Self { status, ..refused }
    }
}

impl From<Problems> for Refused {
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
        Self { status, problems, header: None }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Problems::from(problem).into()
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let errors: Vec<_> = self
            .problems
            .0
            .iter()
            .map(|problem| {
                json!({
                    "error-type": "application",
                    "error-tag": problem.tag,
                    "error-path": problem.path,
                    "error-message": problem.message,
                    "error-info": problem.path.rsplit('/').next().unwrap_or_default(),
                })
            })
            .collect();
        let body = json!({ "ietf-restconf:errors": { "error": errors } });
        let mut response = (self.status, [(header::CONTENT_TYPE, DATA)], body.to_string()).into_response();
        response.headers_mut().extend(self.header);
        response
    }
}
