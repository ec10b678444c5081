//! From a request to whoever answers it, by the first word of its path.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::error::Refused;
use super::kind::Kind;
use super::{Api, BASE, body, framework, help, metrics, openapi, resource, stream};
use crate::problem::{ErrorTag, Problem};

/// Media type of answers, as Polycube's clients know it.
pub const DATA: &str = "application/yang.data+json; charset=utf-8";

/// The same, without parameters.
pub const DATA_TYPE: &str = "application/yang.data+json";

/// What is found without [`BASE`] as well.
const ALSO_AT_ROOT: [&str; 2] = ["/metrics", "/openapi.json"];

/// A request, read.
pub struct Call {
    /// GET for HEAD too, which is answered in the same way.
    pub method: Method,
    /// Whether the client wants no more than the head of the answer.
    pub is_head: bool,
    /// Words of the path below [`BASE`].
    pub path: Vec<String>,
    /// What stands behind the `?`.
    pub query: String,
    pub headers: HeaderMap,
    /// The body; null when there was none.
    pub body: Value,
}

/// A request that was carried out.
pub struct Done {
    status: StatusCode,
    /// Media type and text.
    body: Option<(&'static str, String)>,
    tag: Option<String>,
}

impl Done {
    pub fn new(status: StatusCode, body: Option<Value>) -> Self {
        Self { status, body: body.map(|body| (DATA, body.to_string())), tag: None }
    }

    pub fn text(status: StatusCode, media_type: &'static str, text: String) -> Self {
        Self { status, body: Some((media_type, text)), tag: None }
    }

    /// The same with an `ETag`.
    #[must_use]
    pub fn tagged(self, tag: String) -> Self {
        Self { tag: Some(tag), ..self }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some((media_type, text)) => (self.status, [(header::CONTENT_TYPE, media_type)], text).into_response(),
            None => self.status.into_response(),
        };
        let tag = self.tag.and_then(|tag| HeaderValue::try_from(tag).ok());
        response.headers_mut().extend(tag.map(|tag| (header::ETAG, tag)));
        response
    }
}

pub async fn dispatch(State(api): State<Api>, request: Request) -> Result<Response, Refused> {
    let call = read(request).await?;
    let api = Api { view: api.engine.view(), ..api };
    let done = match call.path.first().map(String::as_str) {
        Some("metrics" | "openapi.json") if call.path.len() == 1 && call.method == Method::OPTIONS => {
            return Ok([(header::ALLOW, Kind::Read.methods())].into_response());
        }
        _ if call.method == Method::OPTIONS => help::answer(api, call).await,
        Some("metrics") if call.path.len() == 1 => metrics::answer(api, &call).await,
        Some("openapi.json") if call.path.len() == 1 => openapi::answer(&api, &call),
        Some(
            "services" | "cubes" | "netdevs" | "topology" | "version" | "connect" | "disconnect" | "attach" | "detach",
        ) => framework::answer(api, call).await,
        Some(_) => match stream::find(&api, &call)? {
            Some(found) => return stream::answer(found, &call).await,
            None => resource::answer(api, call).await,
        },
        None => framework::root(&api, &call),
    };
    done.map(IntoResponse::into_response)
}

pub fn nothing_here(path: &str, message: &str) -> Refused {
    Problem::new(ErrorTag::UnknownElement, path, message).into()
}

/// A refusal of a method that the node at `path` does not take.
pub fn wrong_method(call: &Call, kind: Kind) -> Refused {
    let path = call.path.join("/");
    let message = format!("{} does not work on `{path}`: it takes {}", call.method, kind.methods());
    Refused::from(Problem::new(ErrorTag::OperationNotSupported, path, message)).allowing(kind)
}

async fn read(request: Request) -> Result<Call, Refused> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    // Scrapers and generators look there.
    let path = if ALSO_AT_ROOT.contains(&path) { &format!("{BASE}{path}") } else { path };
    let below = path.strip_prefix(BASE).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(below) = below else {
        return Err(nothing_here(path, &format!("there is nothing at `{path}`: every path begins with {BASE}/")));
    };
    let decode = |word: &str| percent_decode_str(word).decode_utf8().map(std::borrow::Cow::into_owned);
    let words: Result<Vec<String>, _> = below.split('/').filter(|word| !word.is_empty()).map(decode).collect();
    let words = words.map_err(|_| Problem::invalid(below, "the path is no UTF-8"))?;
    let body = body::read(&parts.headers, body, &words.join("/")).await?;
    let query = parts.uri.query().unwrap_or_default().to_owned();
    // hyper sends the head of an answer to HEAD, and no more.
    let is_head = parts.method == Method::HEAD;
    let method = if is_head { Method::GET } else { parts.method };
    Ok(Call { method, is_head, path: words, query, headers: parts.headers, body })
}
