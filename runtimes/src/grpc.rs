//! gRPC with one message each way (grpc.io, PROTOCOL-HTTP2).

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request, header};
use percent_encoding::percent_decode_str;
use tokio::net::UnixStream;

use super::AskError;

/// The status of something that does not exist.
pub(super) const NOT_FOUND: u32 = 5;
/// The status of a service that the server does not have.
const UNIMPLEMENTED: u32 = 12;
/// The prefix of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Bytes of an answer at most: as many as the kubelet takes (`maxMsgSize` in pkg/kubelet/cri/remote/utils.go of Kubernetes).
const LARGEST: usize = 16 << 20;
/// Bytes of an answer's headers at most. A status and its message are all that is read of them.
const LARGEST_HEADERS: u32 = 16 << 10;

/// What asks, over a connection that [`talk`] keeps going.
pub(super) struct Client(SendRequest<Bytes>);

/// Has `questions` asked over a connection.
///
/// # Errors
/// The other end does not speak HTTP/2, or what `questions` says.
pub(super) async fn talk<T, F>(stream: UnixStream, questions: impl FnOnce(Client) -> F) -> Result<T, AskError>
where
    F: Future<Output = Result<T, AskError>>,
{
    let mut builder = Builder::new();
    builder.enable_push(false).max_header_list_size(LARGEST_HEADERS);
    let (sender, connection) = builder.handshake(stream).await?;
    let answer = questions(Client(sender));
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It ends when there is nothing left to read.
        ended = &mut connection => { ended?; answer.await }
    }
}

impl Client {
    /// Calls `method` (`package.Service/Method`) with a message; returns the answer's.
    ///
    /// # Errors
    /// The server does not answer, or answers with a status.
    pub(super) async fn call(&mut self, method: &str, message: &[u8]) -> Result<Bytes, AskError> {
        let length = u32::try_from(message.len()).map_err(|error| AskError::Unreadable(error.to_string()))?;
        let question = [&[0][..], &length.to_be_bytes(), message].concat();
        let request = Request::post(format!("http://localhost/{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .map_err(|error| AskError::Unreadable(error.to_string()))?;
        self.0 = self.0.clone().ready().await?;
        let (response, mut sent) = self.0.send_request(request, false)?;
        sent.send_data(question.into(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut answer = Vec::new();
        while let Some(part) = body.data().await {
            let part = part?;
            if answer.len() + part.len() > LARGEST {
                return Err(AskError::Unreadable(format!("it is larger than {} MiB", LARGEST >> 20)));
            }
            answer.extend_from_slice(&part);
            body.flow_control().release_capacity(part.len())?;
        }
        let trailers = body.trailers().await?;
        // An answer without a message has its status in the head.
        match [trailers.as_ref().and_then(status), status(&head.headers)].into_iter().flatten().next() {
            Some((0, _)) => read(&answer.into()),
            Some((UNIMPLEMENTED, message)) => Err(AskError::Unimplemented(message)),
            Some((status, message)) => Err(AskError::Status { status, message }),
            None => Err(AskError::Unreadable(format!("it has no status of gRPC, and is {}", head.status))),
        }
    }
}

fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let message = text("grpc-message").map(|message| percent_decode_str(message).decode_utf8_lossy().into_owned());
    Some((text("grpc-status")?.parse().ok()?, message.unwrap_or_default()))
}

/// The message in the body of an answer.
fn read(body: &Bytes) -> Result<Bytes, AskError> {
    let unreadable = |what: &str| AskError::Unreadable(what.to_owned());
    let [compressed, a, b, c, d] = *body.first_chunk::<PREFIX>().ok_or_else(|| unreadable("it has no message"))?;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if compressed != 0 || body.len() != PREFIX + length {
        return Err(unreadable("it is compressed, or not one message"));
    }
    Ok(body.slice(PREFIX..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_one_message() {
        let read = |body: &'static [u8]| read(&Bytes::from_static(body)).map_err(|error| error.to_string());
        assert_eq!(read(b"\0\0\0\0\x02ab").unwrap(), "ab");
        assert_eq!(read(b"\0\0\0\0\0").unwrap(), "");
        assert!(read(b"\0\0\0").unwrap_err().ends_with("it has no message"));
        for wrong in [&b"\x01\0\0\0\x02ab"[..], b"\0\0\0\0\x03ab", b"\0\0\0\0\x01ab"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_status_has_a_message_that_is_escaped() {
        let mut headers = HeaderMap::new();
        assert_eq!(status(&headers), None);
        headers.insert("grpc-status", "12".parse().unwrap());
        assert_eq!(status(&headers), Some((UNIMPLEMENTED, String::new())));
        headers.insert("grpc-message", "unknown%20service".parse().unwrap());
        assert_eq!(status(&headers), Some((UNIMPLEMENTED, "unknown service".to_owned())));
    }
}
