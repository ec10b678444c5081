//! As much of an HTTP/1.1 client as a test needs: one blocking exchange per connection. It shares no code with the
//! daemon or its command line, so that a mistake of theirs does not cancel out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A daemon that is silent for this long counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer whose body has not been read yet, for streams that do not end by themselves.
#[derive(Debug)]
pub struct Reply<S> {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Body<S>,
}

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// A body that is read as it arrives.
#[derive(Debug)]
pub struct Body<S> {
    stream: BufReader<S>,
    framing: Framing,
}

/// RFC 9112, section 6.3.
#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked { left: u64 },
    UntilClose,
    Ended,
}

impl Response {
    /// The body as text, for a message.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// Fails when it is not JSON; the message shows it.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("status {}, body is not JSON: {}", self.status, self.text()))
    }

    /// Asserts a status of 200 to 299.
    ///
    /// # Panics
    /// Panics with the status and the body otherwise.
    #[track_caller]
    #[must_use]
    pub fn ok(self) -> Self {
        assert!((200..300).contains(&self.status), "status {}: {}", self.status, self.text());
        self
    }
}

/// One exchange over a Unix socket, with the body read to its end. Headers are as [`exchange`] takes them.
///
/// # Errors
/// Fails when nothing listens, or when the answer is not HTTP or is cut off.
pub fn request(
    socket: &Path,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Response> {
    let mut reply = exchange(connect(socket)?, headers, method, path, body)?;
    let mut bytes = Vec::new();
    reply.body.read_to_end(&mut bytes).with_context(|| format!("{method} {path}: the body is cut off"))?;
    Ok(Response { status: reply.status, headers: reply.headers, body: bytes })
}

/// One exchange over a Unix socket, with the body not read yet. Dropping the answer closes the connection.
///
/// # Errors
/// As [`request`].
pub fn open(socket: &Path, method: &str, path: &str, body: Option<&serde_json::Value>) -> Result<Reply<UnixStream>> {
    exchange(connect(socket)?, &[], method, path, body)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).with_context(|| format!("nothing listens on {}", socket.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One exchange over any stream, with additional headers, such as a bearer token. A `host` header replaces the default,
/// `localhost`.
///
/// # Errors
/// As [`request`].
pub fn exchange<S: Read + Write>(
    mut stream: S,
    headers: &[(&str, &str)],
    method: &str,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Reply<S>> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str("host: localhost\r\n");
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = body.map(serde_json::Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        head.push_str("content-type: application/json\r\n");
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes()).with_context(|| format!("{method} {path}: cannot send"))?;
    read_head(BufReader::new(stream), method).with_context(|| format!("{method} {path}: bad answer"))
}

fn read_head<S: Read>(mut stream: BufReader<S>, method: &str) -> Result<Reply<S>> {
    let status_line = read_line(&mut stream)?;
    let mut words = status_line.split(' ');
    ensure!(words.next() == Some("HTTP/1.1"), "status line {status_line:?} is not HTTP/1.1");
    let status =
        words.next().and_then(|word| word.parse().ok()).with_context(|| format!("no status in {status_line:?}"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(&mut stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("{line:?} is not a header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    let framing = match (value("transfer-encoding"), value("content-length")) {
        _ if method == "HEAD" || status == 204 || status == 304 => Framing::Ended,
        (Some("chunked"), _) => Framing::Chunked { left: 0 },
        (_, Some(length)) => Framing::Length(length.parse().with_context(|| format!("content-length {length:?}"))?),
        _ => Framing::UntilClose,
    };
    Ok(Reply { status, headers, body: Body { stream, framing } })
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("connection ends after {line:?}"))),
    }
}

impl<S: Read> Read for Body<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if let Framing::Chunked { left: 0 } = self.framing {
            self.next_chunk()?;
        }
        let (Framing::Length(left) | Framing::Chunked { left }) = &mut self.framing else {
            return if matches!(self.framing, Framing::Ended) { Ok(0) } else { self.stream.read(buffer) };
        };
        let most = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let length = self.stream.read(&mut buffer[..most])?;
        if length == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{left} bytes of the body are missing")));
        }
        *left -= length as u64;
        if *left == 0 && matches!(self.framing, Framing::Chunked { .. }) {
            let rest = read_line(&mut self.stream)?;
            if !rest.is_empty() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{rest:?} follows a chunk")));
            }
        }
        Ok(length)
    }
}

impl<S: Read> Body<S> {
    /// The stream under the body, to set its timeouts.
    #[must_use]
    pub fn stream(&self) -> &S {
        self.stream.get_ref()
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let line = read_line(&mut self.stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let left = u64::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {size:?}")))?;
        self.framing = if left == 0 { Framing::Ended } else { Framing::Chunked { left } };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scripted(&'static [u8]);

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            // Odd pieces, so that nothing arrives in step with the framing.
            let most = buffer.len().min(3);
            self.0.read(&mut buffer[..most])
        }
    }

    impl Write for Scripted {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            Ok(buffer.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn body_of(answer: &'static str) -> io::Result<String> {
        let mut reply = exchange(Scripted(answer.as_bytes()), &[], "GET", "/", None).expect("head is well formed");
        let mut text = String::new();
        reply.body.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn each_framing_yields_its_body_and_no_more() {
        assert_eq!(body_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more").unwrap(), "hello");
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nc;x=y\r\n, wide\nworld\r\n0\r\n\r\n";
        assert_eq!(body_of(chunked).unwrap(), "hello, wide\nworld");
        assert_eq!(body_of("HTTP/1.1 200 OK\r\n\r\nto the end").unwrap(), "to the end");
        assert_eq!(body_of("HTTP/1.1 204 No Content\r\n\r\n").unwrap(), "");
    }

    #[test]
    fn a_body_that_is_cut_off_is_an_error() {
        assert!(body_of("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell").is_err());
        assert!(body_of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").is_err());
    }
}
