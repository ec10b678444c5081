//! The streams that the cube serves: live packets, packets so far, files, and the next packet of network mode.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use polycube_plugin_api::{Opened, Refusal, Stream, Tag};
use rustix::fs::{MemfdFlags, OFlags, memfd_create};

use crate::format::Format;
use crate::outcome::{FileState, Outcome};
use crate::session::CubeContext;
use crate::settings::Settings;
use crate::sink::{Excerpt, bytes_in_a_pipe, is_there, snapshot};
use crate::state::Packet;
use crate::store::Form;

pub(crate) const STREAM: &str = "stream";
const PACKET: &str = "packet";
const FILES: &str = "files/";

/// The media type that the original client expects for documents.
const JSON: &str = "application/yang.data+json; charset=utf-8";
/// Reports of what goes into a file, a line of JSON each.
const REPORTS: &str = "application/x-ndjson";
const ZSTD: &str = "application/zstd";

pub(crate) fn declared() -> Vec<Stream> {
    let formats = Format::MEDIA;
    let file = [&formats[..], &[ZSTD]].concat();
    vec![
        Stream::new(STREAM, "Packets as they come, or those so far", &formats)
            .parameter("format", "Form of the stream; the capture's if it is left out", &Format::NAMES)
            .parameter("follow", "Whether to wait for packets (true), or to end with those so far", &["true", "false"])
            .parameter(
                "packets",
                "Number of packets after which the stream ends; it has no end if this is left out",
                &[],
            )
            .into_files(),
        Stream::new("files/{name}", "A capture file, whole or in ranges", &file),
        Stream::new(PACKET, "Takes the oldest packet of network mode's queue", &[JSON, "application/json"]),
    ]
}

/// Whether a request asks for live packets.
pub(crate) fn follows(query: &BTreeMap<String, String>) -> bool {
    query.get("follow").is_none_or(|follow| follow != "false")
}

pub(crate) fn open(
    context: &CubeContext,
    settings: Option<&Settings>,
    path: &str,
    query: &BTreeMap<String, String>,
) -> Result<Opened, Refusal> {
    match path {
        STREAM => {
            let (format, limit) = (format(settings, query), limit(query)?);
            stream(context, settings, format, follows(query), limit).map_err(|error| Refusal::from(error).at(path))
        }
        PACKET => packet(context, settings).map_err(|error| Refusal::from(StreamError::Io(error)).at(path)),
        _ => match path.strip_prefix(FILES) {
            Some(name) => file(context, name),
            None => Err(Refusal::new(Tag::OperationNotSupported, format!("packetcapture has no stream `{path}`"))),
        },
    }
}

/// Writes live packets into `file`.
pub(crate) fn open_into(
    context: &CubeContext,
    settings: Option<&Settings>,
    path: &str,
    query: &BTreeMap<String, String>,
    file: OwnedFd,
) -> Result<Opened, Refusal> {
    if path != STREAM || !follows(query) {
        let message = "only packets as they come are written into a file of the client's";
        return Err(Refusal::new(Tag::OperationNotSupported, message).at(path));
    }
    let (format, limit) = (format(settings, query), limit(query)?);
    let open = || {
        check_links(context, format)?;
        let source = settings.map(|settings| settings.format).unwrap_or_default();
        let (id, fd) =
            context.readers.open_into(file, format, source.resolution(), limit).map_err(StreamError::File)?;
        Ok(Opened { fd, media: REPORTS.to_owned(), file_name: None, id: Some(id) })
    };
    open().map_err(|error: StreamError| Refusal::from(error).at(path))
}

fn format(settings: Option<&Settings>, query: &BTreeMap<String, String>) -> Format {
    let given = query.get("format").and_then(|name| Format::parse_name(name));
    given.or(settings.map(|settings| settings.stream_format)).unwrap_or_default()
}

/// Refuses a format that cannot tell apart where packets begin.
fn check_links(context: &CubeContext, format: Format) -> Result<(), StreamError> {
    let section = context.readers.section();
    match section.raw_ip().filter(|_| format != Format::Pcapng && section.only_link().is_none()) {
        Some(place) => Err(StreamError::RawIp(place.to_owned())),
        None => Ok(()),
    }
}

/// The number of packets after which the stream is to end.
pub(crate) fn limit(query: &BTreeMap<String, String>) -> Result<Option<u64>, Refusal> {
    let Some(text) = query.get("packets") else { return Ok(None) };
    text.parse().ok().filter(|packets| *packets > 0).map(Some).ok_or_else(|| {
        let message = format!("`packets` is a number from 1, not `{text}`");
        Refusal::new(Tag::InvalidValue, message).at(STREAM)
    })
}

/// Why a stream of packets cannot be opened.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("cannot open the stream: {0}")]
    Io(#[from] io::Error),
    #[error("cannot write into the file: {0}")]
    File(io::Error),
    #[error("the capture's files were removed or truncated by another program: `files show` lists them")]
    Removed,
    #[error("the capture keeps no packets (`store=none`): follow the stream, which has those from now on")]
    NotKept,
    #[error(
        "`{0}` has packets without Ethernet headers, and other places have them, which only pcapng can tell apart: ask for \
         the stream with format=pcapng"
    )]
    RawIp(String),
}

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        let tag = match error {
            StreamError::Io(_) | StreamError::File(_) => Tag::OperationFailed,
            StreamError::Removed | StreamError::NotKept => Tag::DataMissing,
            StreamError::RawIp(_) => Tag::InvalidValue,
        };
        Self::new(tag, error.to_string())
    }
}

fn stream(
    context: &CubeContext,
    settings: Option<&Settings>,
    format: Format,
    follows: bool,
    limit: Option<u64>,
) -> Result<Opened, StreamError> {
    let CubeContext { cube, outcome, queue, readers, keys, .. } = context;
    check_links(context, format)?;
    let section = readers.section();
    let (id, fd) = if follows {
        let source = settings.map(|settings| settings.format).unwrap_or_default();
        let (id, fd) = readers.open(format, source.resolution(), limit)?;
        (Some(id), fd)
    } else if settings.is_some_and(|settings| settings.network) {
        let excerpt = queue.snapshot(Excerpt::new(format, &section).up_to(limit).with_keys(keys.all()));
        (None, bytes_in_a_pipe(excerpt.finish(|packets| outcome.statistics_of_session(packets)))?)
    } else {
        let files = files(outcome)?;
        if files.is_empty() && settings.is_some_and(|settings| !settings.keeps_files()) {
            return Err(StreamError::NotKept);
        }
        let excerpt = Excerpt::new(format, &section).up_to(limit).with_keys(keys.all());
        (None, snapshot(files, excerpt, Arc::clone(outcome))?)
    };
    let file_name = Some(format!("{}.{}", cube.name(), format.extension()));
    Ok(Opened { fd, media: format.media().to_owned(), file_name, id })
}

/// The files with the packets so far.
fn files(outcome: &Outcome) -> Result<Vec<FileState>, StreamError> {
    let files = outcome.files_of_last_session();
    let were_any = !outcome.files().is_empty();
    if were_any && !files.iter().any(is_there) { Err(StreamError::Removed) } else { Ok(files) }
}

fn file(context: &CubeContext, name: &str) -> Result<Opened, Refusal> {
    let place = format!("{FILES}{name}");
    let files = context.outcome.files().into_iter().rev().map(|state| state.stored.current());
    let Some((file, form)) = files.into_iter().find(|(file, _)| file.name() == name) else {
        let message = format!("there is no file `{name}`: `files show` lists them");
        return Err(Refusal::new(Tag::DataMissing, message).at(place));
    };
    let fd = file.open(OFlags::RDONLY).map_err(|error| {
        Refusal::new(Tag::DataMissing, format!("{} cannot be read: {error}", file.path().display())).at(place)
    })?;
    let is_pcapng = file.path().extension().is_some_and(|extension| extension == Format::Pcapng.extension());
    let media = match form {
        Form::Compressed => ZSTD,
        Form::Plain => (if is_pcapng { Format::Pcapng } else { Format::Pcap }).media(),
    };
    Ok(Opened { fd: fd.into(), media: media.to_owned(), file_name: Some(name.to_owned()), id: None })
}

/// The next packet of the queue. Only network mode removes it.
fn packet(context: &CubeContext, settings: Option<&Settings>) -> io::Result<Opened> {
    let queue = &context.queue;
    let taken = if settings.is_some_and(|settings| settings.network) { queue.pop() } else { queue.peek() };
    let mut file = File::from(memfd_create("packet", MemfdFlags::CLOEXEC)?);
    file.write_all(&serde_json::to_vec(&Packet::new(taken.as_ref()))?)?;
    Ok(Opened { fd: file.into(), media: JSON.to_owned(), file_name: None, id: None })
}
