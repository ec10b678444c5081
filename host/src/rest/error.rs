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
