//! Streams: resources that a plugin answers with a descriptor, and that are copied from it to the client.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use futures_util::stream;
use percent_encoding::percent_decode_str;
use polycube_plugin_api as api;
use rustix::fs::FileType;
use serde_json::Value;
use tokio::net::unix::pipe;

use super::Api;
use super::dispatch::{Call, wrong_method};
use super::error::Refused;
use super::kind::Kind;
use super::present::blocking;
use super::progress::MayPause;
use super::range::{Range, Wanted};
use crate::plugins::{Instance, Stream};
use crate::problem::{Problem, suggestion};
use crate::schema::locate;

/// Bytes that are read at once: what a pipe holds (`PIPE_DEF_BUFFERS` pages, include/linux/pipe_fs_i.h).
const PIECE: usize = 64 << 10;
/// Tells a client which of the readers in the cube's state it is.
const ID: HeaderName = HeaderName::from_static("polycube-stream");

/// A stream that a request names.
pub struct Found {
    cube: String,
    instance: Arc<Instance>,
    path: String,
    query: BTreeMap<String, String>,
    /// Those that it may have.
    media: Vec<String>,
}

/// Finds the stream that `call` asks for, if it is one.
///
/// # Errors
/// A parameter that the stream does not have, or not with this value.
pub fn find(api: &Api, call: &Call) -> Result<Option<Found>, Refused> {
    let view = &*api.view;
    let registry = &api.view.registry;
    let below = if registry.service(&call.path[0]).is_ok() { 1 } else { 0 };
    let Some((cube, path)) = call.path.get(below..).and_then(<[String]>::split_first) else { return Ok(None) };
    let Ok((name, cube)) = view.topology.cube(cube) else { return Ok(None) };
    if below == 1 && cube.service != call.path[0] {
        return Ok(None);
    }
    let model = &registry.service(&cube.service)?.model;
    let Some(stream) = model.service.streams.iter().find(|stream| is_at(&stream.path, path)) else { return Ok(None) };
    let is_node = locate(&model.tree, path).is_ok();
    if call.method != Method::GET {
        return if is_node { Ok(None) } else { Err(wrong_method(call, Kind::Read)) };
    }
    if is_node && !accepts(&call.headers, &stream.media) {
        return Ok(None);
    }
    let place = format!("{name}/{}", path.join("/"));
    let query = parameters(stream, &call.query).map_err(|message| Problem::invalid(place, message))?;
    let (instance, media) = (Arc::clone(&view.instances[name]), stream.media.clone());
    Ok(Some(Found { cube: name.to_string(), instance, path: path.join("/"), query, media }))
}

/// Opens the stream and begins to copy it. For HEAD, which is to change nothing (RFC 9110 section 9.2.1), it is not
/// opened: a reader may take packets away.
///
/// # Errors
/// The plugin's, or a descriptor that cannot be copied from.
pub async fn answer(found: Found, call: &Call) -> Result<Response<Body>, Refused> {
    let Found { cube, instance, path, query, media } = found;
    if call.is_head {
        // Its length is not known: an empty body would tell one.
        let mut response = Response::new(Body::from_stream(stream::empty::<io::Result<Bytes>>()));
        if let ([only], headers) = (media.as_slice(), response.headers_mut()) {
            headers.extend(HeaderValue::from_str(only).ok().map(|media| (header::CONTENT_TYPE, media)));
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return Ok(response);
    }
    let name = cube.clone();
    let query = serde_json::to_value(query).unwrap_or(Value::Null);
    let opened = blocking(move || {
        let opened = instance.open(&path, &query);
        opened.map_err(|failure| Problem::from_plugin(&name, failure.into()))
    });
    let Stream { info, fd } = opened.await?;
    let unusable = |error: io::Error| Problem::failed(cube.as_str(), format!("the stream cannot be copied: {error}"));
    let mut response = match rustix::fs::fstat(&fd).map(|stat| (FileType::from_raw_mode(stat.st_mode), stat.st_size)) {
        Ok((FileType::RegularFile, size)) => file(fd, size.cast_unsigned(), &call.headers),
        Ok((FileType::Fifo, _)) => {
            let mut response = Response::new(piped(fd).map_err(unusable)?);
            // Whoever fills the pipe leaves out what finds no room. A pager or Ctrl-S is no reason to end a capture.
            response.extensions_mut().insert(MayPause);
            response
        }
        Ok(_) => return Err(unusable(io::Error::other("the plugin opened neither a pipe nor a file")).into()),
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

/// Whether `path` is one that `pattern` stands for.
fn is_at(pattern: &str, path: &[String]) -> bool {
    let words: Vec<&str> = pattern.split('/').collect();
    words.len() == path.len() && words.iter().zip(path).all(|(word, given)| word.starts_with('{') || word == given)
}

/// Whether a client that says what it accepts would take one of `media`. Weights are not looked at.
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

fn parameters(stream: &api::Stream, query: &str) -> Result<BTreeMap<String, String>, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let decoded = percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned);
        decoded.map_err(|_| String::from("the parameters are no UTF-8"))
    };
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        let Some(parameter) = stream.query.iter().find(|parameter| parameter.name == name) else {
            let known = suggestion(&name, stream.query.iter().map(|parameter| parameter.name.as_str()));
            return Err(format!("there is no parameter `{name}`{known}"));
        };
        if !parameter.values.is_empty() && !parameter.values.contains(&value) {
            return Err(format!("`{name}` is one of {}, not `{value}`", parameter.values.join(", ")));
        }
        if found.insert(name.clone(), value).is_some() {
            return Err(format!("parameter `{name}` is given twice"));
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

/// Reads off the threads that serve connections: a disk may take its time.
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
                // Somebody cut the file: the client learns from the broken connection that this is not all.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let next = at + piece.len() as u64;
            Ok(Some((Bytes::from(piece), next)))
        }
    })
}

/// What comes through a pipe, until its other end is closed. Ours is closed when the client is gone.
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

    fn stream() -> api::Stream {
        let stream = api::Stream::new("stream", "Packets", &["application/x-pcapng"]);
        stream.parameter("format", "Format", &["pcap", "pcapng"]).parameter("name", "Name", &[])
    }

    #[track_caller]
    fn check(query: &str, expected: Result<&[(&str, &str)], &str>) {
        let found = parameters(&stream(), query);
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
        check("name=%ff", Err("the parameters are no UTF-8"));
    }

    #[test]
    fn a_word_in_braces_stands_for_any() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_at("files/{name}", &path("files/a.pcap")));
        assert!(!is_at("files/{name}", &path("files")));
        assert!(!is_at("files/{name}", &path("file/a.pcap")));
        assert!(!is_at("files/{name}", &path("files/a/b")));
    }

    #[test]
    fn who_asks_for_a_document_gets_none_of_the_streams() {
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
}
