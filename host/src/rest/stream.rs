//! Streams: resources that a plugin answers with a descriptor, and that are copied from it to the client.

mod range;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use futures_util::stream;
use percent_encoding::percent_decode_str;
use polycube_api::{DESCRIPTOR, INTO, Limits, STREAM_ID};
use polycube_plugin_api as plugin;
use rustix::fs::{FileType, OFlags, Stat, fcntl_getfl, fstat, major, minor};
use serde_json::Value;
use tokio::net::unix::pipe;

use self::range::{Range, Wanted};
use super::call::{Call, MayPause};
use super::context::{Context, blocking};
use super::error::Refusal;
use super::resource_kind::ResourceKind;
use crate::plugins::{Instance, Stream};
use crate::problem::Problem;
use crate::schema::{locate, template};

/// Bytes per read: what a pipe holds (`PIPE_DEF_BUFFERS` pages, include/linux/pipe_fs_i.h).
const PIECE: usize = 64 << 10;
/// Major and minor number of `/dev/null` (null(4)).
const NULL_DEVICE: (u32, u32) = (1, 3);
/// Says which of the readers in the cube's state the client is.
const ID: HeaderName = HeaderName::from_static(STREAM_ID);

/// A stream that a request names.
pub(super) struct Found {
    pub cube: String,
    pub instance: Arc<Instance>,
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// Media types that it may have.
    pub media: Vec<String>,
    /// Whether it can go into a client's file.
    pub into_files: bool,
}

/// Finds the stream that `call` asks for, if it is one.
///
/// # Errors
/// A parameter that the stream does not have, or not with this value.
pub(super) fn find(context: &Context, call: &Call) -> Result<Option<Found>, Problem> {
    let view = &context.view;
    let registry = &view.registry;
    let below = if registry.service(&call.path[0]).is_ok() { 1 } else { 0 };
    let Some((cube, path)) = call.path.get(below..).and_then(<[String]>::split_first) else { return Ok(None) };
    let Some((name, cube)) = view.topology.get(cube) else { return Ok(None) };
    if below == 1 && cube.service != call.path[0] {
        return Ok(None);
    }
    let model = &registry.service(&cube.service)?.model;
    let Some(stream) = model.service.streams.iter().find(|stream| template::is_at(&stream.path, path)) else {
        return Ok(None);
    };
    let is_node = locate(&model.tree, path).is_ok();
    if call.method != Method::GET {
        return if is_node { Ok(None) } else { Err(call.wrong_method(ResourceKind::Read.methods())) };
    }
    if is_node && !accepts(&call.headers, &stream.media) {
        return Ok(None);
    }
    let query = parameters(stream, &call.query).map_err(|problem| problem.at(format!("{name}/{}", path.join("/"))))?;
    let (instance, media) = (Arc::clone(&view.instances[name]), stream.media.clone());
    let (path, into_files) = (path.join("/"), stream.into_files);
    Ok(Some(Found { cube: name.to_string(), instance, path, query, media, into_files }))
}

/// Opens the stream and begins to copy it. HEAD must not change anything (RFC 9110 section 9.2.1) and does not open it:
/// a reader may take packets away.
///
/// # Errors
/// The plugin's, or a descriptor that cannot be copied from.
pub(super) async fn answer(found: Found, call: &Call) -> Result<Response<Body>, Refusal> {
    let Found { cube, instance, path, query, media, into_files } = found;
    if call.is_head {
        // Its length is not known, and an empty body would state one.
        let mut response = Response::new(Body::from_stream(stream::empty::<io::Result<Bytes>>()));
        if let ([only], headers) = (media.as_slice(), response.headers_mut()) {
            headers.extend(HeaderValue::from_str(only).ok().map(|media| (header::CONTENT_TYPE, media)));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    let at = format!("{cube}/{path}");
    let into = handed(call, into_files).map_err(|problem| problem.at(at.as_str()))?;
    let name = cube.clone();
    let query = serde_json::to_value(query).unwrap_or(Value::Null);
    let opened = blocking(move || {
        into.as_ref().map_or(Ok(()), check_file).map_err(|problem| problem.at(at))?;
        let opened = instance.open(&path, &query, into);
        opened.map_err(|failure| Problem::from_plugin(&name, failure.into()))
    });
    let Stream { info, fd } = opened.await?;
    let unusable = |error: io::Error| Problem::failed(cube.as_str(), format!("cannot copy the stream: {error}"));
    let mut response = match fstat(&fd).map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_size)) {
        Ok((FileType::RegularFile, size)) => file(fd, size.cast_unsigned(), &call.headers),
        Ok((FileType::Fifo, _)) => {
            let mut response = Response::new(piped(fd).map_err(unusable)?);
            // What fills the pipe leaves out what does not fit. A pager or Ctrl-S must not end a capture.
            response.extensions_mut().insert(MayPause);
            response
        }
        Ok(_) => {
            return Err(
                unusable(io::Error::other("the plugin opened something that is neither a pipe nor a file")).into()
            );
        }
        Err(error) => return Err(unusable(error.into()).into()),
    };
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &info.media);
    set(header::CACHE_CONTROL, "no-store");
    if let Some(name) = info.file_name {
        set(header::CONTENT_DISPOSITION, &format!("attachment; filename=\"{}\"", name.replace(['"', '\\'], "_")));
    }
    if let Some(id) = info.id {
        set(ID, &id.to_string());
    }
    Ok(response)
}

/// What the stream is to go into, if the client has handed something over. Where no descriptor came, as through a proxy, the
/// client gets the stream.
fn handed(call: &Call, into_files: bool) -> Result<Option<OwnedFd>, Problem> {
    let Some(value) = call.headers.get(INTO) else { return Ok(None) };
    if value != DESCRIPTOR {
        return Err(Problem::invalid("", format!("the header {INTO} has the value `{DESCRIPTOR}`, and no other")));
    }
    if !into_files {
        return Err(Problem::invalid(
            "",
            format!("this stream is not written into files: leave out the header {INTO}"),
        ));
    }
    Ok(call.handed.take())
}

/// Refuses what is not a file to write into. Its file system may take long to say what it is.
fn check_file(file: &OwnedFd) -> Result<(), Problem> {
    let is_fit = |stat: Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => true,
        FileType::CharacterDevice => (major(stat.st_rdev), minor(stat.st_rdev)) == NULL_DEVICE,
        _ => false,
    };
    // What appends has no position: the whole file would be cut off.
    let is_writable = |flags: OFlags| {
        flags.intersects(OFlags::WRONLY | OFlags::RDWR) && !flags.intersects(OFlags::PATH | OFlags::APPEND)
    };
    if fcntl_getfl(file).is_ok_and(is_writable) && fstat(file).is_ok_and(is_fit) {
        return Ok(());
    }
    Err(Problem::invalid("", "the descriptor must be of a regular file that is open for writing, without O_APPEND"))
}

/// Whether a client that says what it accepts would take one of `media`. Weights are ignored.
fn accepts(headers: &HeaderMap, media: &[String]) -> bool {
    let Some(accepted) = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()) else { return true };
    accepted.split(',').map(|range| range.split(';').next().unwrap_or_default().trim()).any(|range| {
        range == "*/*"
            || media.iter().any(|media| match range.strip_suffix('*') {
                Some(kind) => media.starts_with(kind),
                None => media.split(';').next() == Some(range),
            })
    })
}

/// The parameters of a query.
///
/// # Errors
/// One that the stream does not have, or not with this value.
pub(super) fn parameters(stream: &plugin::Stream, query: &str) -> Result<BTreeMap<String, String>, Problem> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(Cow::into_owned);
        decoded.map_err(|_| Problem::invalid("", "the parameters are not valid UTF-8"))
    };
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        let Some(parameter) = stream.query.iter().find(|parameter| parameter.name == name) else {
            let known = stream.query.iter().map(|parameter| parameter.name.as_str());
            return Err(Problem::invalid("", format!("there is no parameter `{name}`")).knowing(&name, known));
        };
        let values = &parameter.values;
        if !values.is_empty() && !values.contains(&value) {
            let limits = Limits { values: values.clone(), ..Limits::default() };
            let message = format!("`{name}` is one of {}, not `{value}`", values.join(", "));
            return Err(Problem::invalid("", message).within(limits));
        }
        if found.insert(name.clone(), value).is_some() {
            return Err(Problem::invalid("", format!("parameter `{name}` is given twice")));
        }
    }
    Ok(found)
}

/// A file as it is now, or the part of it that the client asks for.
fn file(fd: OwnedFd, size: u64, headers: &HeaderMap) -> Response<Body> {
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, range) = match Wanted::parse(wanted, size) {
        Wanted::Whole => (StatusCode::OK, Range { start: 0, end: size }),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, Range { start: size, end: size }),
    };
    let body = Body::from_stream(pieces(Arc::new(File::from(fd)), range));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    let content_range = match status {
        StatusCode::PARTIAL_CONTENT => Some(format!("bytes {}-{}/{size}", range.start, range.end - 1)),
        StatusCode::RANGE_NOT_SATISFIABLE => Some(format!("bytes */{size}")),
        _ => None,
    };
    if let Some(value) = content_range.and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    response
}

/// Reads away from the threads that serve connections: a disk may be slow.
fn pieces(file: Arc<File>, range: Range) -> impl stream::Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(range.start, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at == range.end {
                return Ok(None);
            }
            let length = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let read = tokio::task::spawn_blocking(move || {
                use std::os::unix::fs::FileExt as _;
                let mut piece = vec![0; length];
                let count = file.read_at(&mut piece, at)?;
                piece.truncate(count);
                io::Result::Ok(piece)
            });
            let piece = read.await.map_err(io::Error::other)??;
            if piece.is_empty() {
                // The file was truncated: the broken connection tells the client that this is not all.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let next = at + piece.len() as u64;
            Ok(Some((Bytes::from(piece), next)))
        }
    })
}

/// What arrives through a pipe, until its writer closes it. Our end is closed when the client is gone.
fn piped(fd: OwnedFd) -> io::Result<Body> {
    let pipe = pipe::Receiver::from_owned_fd(fd)?;
    Ok(Body::from_stream(stream::try_unfold(pipe, |pipe| async move {
        let mut piece = vec![0; PIECE];
        loop {
            pipe.readable().await?;
            match pipe.try_read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    piece.truncate(count);
                    return io::Result::Ok(Some((Bytes::from(piece), pipe)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> plugin::Stream {
        let stream = plugin::Stream::new("stream", "Packets", &["application/x-pcapng"]);
        stream.parameter("format", "Format", &["pcap", "pcapng"]).parameter("name", "Name", &[])
    }

    #[track_caller]
    fn check(query: &str, expected: Result<&[(&str, &str)], &str>) {
        let found = parameters(&stream(), query).map_err(|problem| problem.to_string());
        let pairs = expected.map(|pairs| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        assert_eq!(found, pairs.map_err(str::to_owned), "{query}");
    }

    #[test]
    fn parameters_are_those_that_the_stream_declares() {
        check("", Ok(&[]));
        check("format=pcap&name=a%20b+c", Ok(&[("format", "pcap"), ("name", "a b c")]));
        check("fromat=pcap", Err("there is no parameter `fromat`; did you mean `format`?"));
        check("format=erf", Err("`format` is one of pcap, pcapng, not `erf`"));
        check("name=a&name=b", Err("parameter `name` is given twice"));
        check("name=%ff", Err("the parameters are not valid UTF-8"));
    }

    #[test]
    fn a_word_in_braces_matches_any() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(template::is_at("files/{name}", &path("files/a.pcap")));
        assert!(!template::is_at("files/{name}", &path("files")));
        assert!(!template::is_at("files/{name}", &path("file/a.pcap")));
        assert!(!template::is_at("files/{name}", &path("files/a/b")));
    }

    #[test]
    fn a_client_that_accepts_documents_only_gets_no_stream() {
        let media = ["application/vnd.tcpdump.pcap".to_owned()];
        let check = |accept: Option<&str>, expected: bool| {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            }
            assert_eq!(accepts(&headers, &media), expected, "{accept:?}");
        };
        check(None, true);
        check(Some("*/*"), true);
        check(Some("application/json"), false);
        check(Some("application/json, */*;q=0.1"), true);
        check(Some("application/vnd.tcpdump.pcap"), true);
        check(Some("application/*"), true);
        check(Some("text/*"), false);
    }

    #[test]
    fn parameters_are_decoded_before_they_are_compared() {
        check("f%6frmat=pc%61p", Ok(&[("format", "pcap")]));
        check("&&name=a=b&", Ok(&[("name", "a=b")]));
        check("name", Ok(&[("name", "")]));
        check("name=%26%3D%2B", Ok(&[("name", "&=+")]));
        check("n%61me=a&name=b", Err("parameter `name` is given twice"));
        check("FORMAT=pcap", Err("there is no parameter `FORMAT`; known: format, name"));
        check("format=", Err("`format` is one of pcap, pcapng, not ``"));
    }

    /// Asserts status, `Content-Range` and content of a file of ten digits.
    async fn check_file(range: Option<&str>, status: u16, content_range: Option<&str>, expected: &str) {
        use std::io::Write as _;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let headers = range.map(|range| (header::RANGE, HeaderValue::from_str(range).unwrap())).into_iter().collect();
        let response = super::file(file.into(), 10, &headers);
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(
            (response.status().as_u16(), header(header::CONTENT_RANGE), header(header::ACCEPT_RANGES)),
            (status, content_range, Some("bytes")),
            "{range:?}"
        );
        assert_eq!(header(header::CONTENT_LENGTH), Some(expected.len().to_string().as_str()), "{range:?}");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert_eq!(bytes, Bytes::copy_from_slice(expected.as_bytes()), "{range:?}");
    }

    #[tokio::test]
    async fn a_file_is_sent_whole_or_in_part() {
        check_file(None, 200, None, "0123456789").await;
        check_file(Some("bytes=2-4"), 206, Some("bytes 2-4/10"), "234").await;
        check_file(Some("bytes=8-"), 206, Some("bytes 8-9/10"), "89").await;
        check_file(Some("bytes=-1"), 206, Some("bytes 9-9/10"), "9").await;
        check_file(Some("bytes=10-"), 416, Some("bytes */10"), "").await;
        check_file(Some("lines=1-2"), 200, None, "0123456789").await;
    }

    #[tokio::test]
    async fn a_file_that_was_truncated_breaks_the_answer_off() {
        let file = tempfile::tempfile().unwrap();
        let response = super::file(file.into(), 10, &HeaderMap::new());
        assert!(axum::body::to_bytes(response.into_body(), usize::MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_large_file_comes_in_pieces_that_fit_together() {
        use std::io::Write as _;
        let content: Vec<u8> = (0..PIECE * 2 + 7).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        let response = super::file(file.into(), content.len() as u64, &HeaderMap::new());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(bytes == content, "{} bytes of {}", bytes.len(), content.len());
    }

    #[tokio::test]
    async fn a_pipe_is_sent_until_its_writer_closes_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        let body = piped(reader.into()).unwrap();
        let writing = std::thread::spawn(move || {
            use std::io::Write as _;
            for _ in 0..3 {
                writer.write_all(&[7; PIECE]).unwrap();
            }
        });
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        writing.join().unwrap();
        assert_eq!((bytes.len(), bytes.iter().all(|byte| *byte == 7)), (PIECE * 3, true));
    }

    #[tokio::test]
    async fn what_is_not_a_pipe_cannot_be_copied_as_one() {
        assert!(piped(tempfile::tempfile().unwrap().into()).is_err());
    }
}
