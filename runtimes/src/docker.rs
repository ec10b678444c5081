//! Docker's API, which Podman has, too: `GET /containers/NAME/json`, where NAME may be the beginning of an id.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use super::{Answer, AskError, Network};

/// Bytes of an answer at most: that of a container with many labels and mounts has some 100 KiB.
const LARGEST: usize = 4 << 20;

/// Asks for a container.
///
/// # Errors
/// No answer came.
pub(super) async fn ask(stream: UnixStream, name: &str) -> Result<Answer, AskError> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let path = format!("/containers/{}/json", escaped(name));
    let request = Request::get(path).header(header::HOST, "localhost").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| AskError::Unreadable(error.to_string()))?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        Ok::<_, AskError>((status, body.map_err(|error| AskError::Unreadable(error.to_string()))?.to_bytes()))
    };
    tokio::pin!(connection, answer);
    let (status, body) = tokio::select! {
        answer = &mut answer => answer?,
        // It ends when there is nothing left to read.
        ended = &mut connection => { ended?; answer.await? }
    };
    read(status, &body)
}

/// The container that an answer describes.
fn read(status: StatusCode, body: &[u8]) -> Result<Answer, AskError> {
    if status == StatusCode::NOT_FOUND {
        return Ok(Answer::Missing);
    }
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != StatusCode::OK {
        let message = answer["message"].as_str().or(answer["cause"].as_str()).unwrap_or("no reason given").to_owned();
        return Err(AskError::Refused { status, message });
    }
    let state = &answer["State"];
    match (state["Running"].as_bool(), state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())) {
        (Some(true), Some(pid)) if pid > 0 => {
            let is_host = answer["HostConfig"]["NetworkMode"] == "host";
            Ok(Answer::Runs(if is_host { Network::Host } else { Network::Process(pid) }))
        }
        (Some(_), _) => Ok(Answer::Stopped),
        (None, _) => Err(AskError::Unreadable("it has no State.Running".to_owned())),
    }
}

/// A name as part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: Result<Answer, &str>) {
        let found = read(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn answers_of_runtimes_are_read() {
        let running = r#"{"State":{"Running":true,"Pid":4711},"HostConfig":{"NetworkMode":"bridge"}}"#;
        check(200, running, Ok(Answer::Runs(Network::Process(4711))));
        check(200, &running.replace("bridge", "host"), Ok(Answer::Runs(Network::Host)));
        check(200, r#"{"State":{"Running":false,"Pid":0}}"#, Ok(Answer::Stopped));
        check(404, r#"{"message":"No such container: web"}"#, Ok(Answer::Missing));
        let twice = r#"{"message":"multiple IDs found with provided prefix: a"}"#;
        check(400, twice, Err("it answered 400 Bad Request: multiple IDs found with provided prefix: a"));
        check(500, "no JSON", Err("it answered 500 Internal Server Error: no reason given"));
        check(200, "no JSON", Err("its answer cannot be read: it has no State.Running"));
    }

    #[test]
    fn a_name_stays_one_part_of_the_path() {
        assert_eq!(escaped("web_1.x-2"), "web_1.x-2");
        assert_eq!(escaped("a b?c%/é"), "a%20b%3Fc%25%2F%C3%A9");
    }
}
