//! What the service serves without a cube: all capture files, and what queries find in them.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use polycube_plugin_api::{Cube, Opened, Refusal, Stream, Tag};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::catalogue::{find, list};
use crate::format::Format;
use crate::query::{self, PACKETS, QUERY, Query};
use crate::store::{Form, Roots};
use crate::streams::limit;

const FILES: &str = "files";
/// For documents that may be long.
const JSON: &str = "application/yang.data+json; charset=utf-8";
const ZSTD: &str = "application/zstd";

pub(crate) fn declared() -> Vec<Stream> {
    let file = [&Format::MEDIA[..], &[ZSTD]].concat();
    vec![
        Stream::new(
            FILES,
            "All capture files, of this and earlier runs, and of cubes that are gone",
            &[JSON, "application/json"],
        ),
        Stream::new("files/{name}", "A capture file, whole or in ranges", &file).deletable(),
        Stream::new(QUERY, "Packets of all capture files, in order of time", &[Format::Pcapng.media()]).parameter(
            "expression",
            "Which packets, in tcpdump's language (pcap-filter(7)) and with times: `host 10.0.0.1 and after 3h ago`",
            &[],
        )
        .parameter("packets", "Number of packets after which the result ends", &[]),
    ]
}

pub(crate) fn open(host: &Cube, path: &str, query: &BTreeMap<String, String>) -> Result<Opened, Refusal> {
    let roots = roots(host);
    match path {
        FILES => {
            let fd = document(&list(&roots)?).map_err(|error| Refusal::failed(error.to_string()).at(path))?;
            Ok(Opened { fd, media: JSON.to_owned(), file_name: None, id: None })
        }
        QUERY => {
            let given = query.get("expression").map_or("", String::as_str);
            let limit = limit(query).map_err(|refusal| refusal.at(PACKETS))?;
            let fd = query::run(Query::parse(given)?.up_to(limit), roots, host.clone())?;
            let file_name = Some("query.pcapng".to_owned());
            Ok(Opened { fd, media: Format::Pcapng.media().to_owned(), file_name, id: None })
        }
        _ => {
            let found = find(&roots, name(path)?).map_err(|refusal| refusal.at(path))?;
            let gone = || {
                let message = format!("capture file `{}` was deleted just now", found.name());
                Refusal::new(Tag::DataMissing, message).at(path)
            };
            let is_pcapng = found.name().ends_with(Format::Pcapng.extension());
            let media = match found.form {
                Form::Compressed => ZSTD,
                Form::Plain => (if is_pcapng { Format::Pcapng } else { Format::Pcap }).media(),
            };
            let fd = found.open().ok_or_else(gone)?.into();
            Ok(Opened { fd, media: media.to_owned(), file_name: Some(found.name().to_owned()), id: None })
        }
    }
}

pub(crate) fn delete(host: &Cube, path: &str) -> Result<(), Refusal> {
    let found = find(&roots(host), name(path)?).and_then(|found| found.delete());
    found.map_err(|refusal| refusal.at(path))
}

fn name(path: &str) -> Result<&str, Refusal> {
    let name = path.strip_prefix(FILES).and_then(|rest| rest.strip_prefix('/'));
    name.ok_or_else(|| Refusal::new(Tag::OperationNotSupported, format!("packetcapture has no stream `{path}`")))
}

fn roots(host: &Cube) -> Roots {
    Roots::new(host.capture_dir(), host.capture_roots()).readable_by(host.capture_group())
}

fn document(text: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("captures", MemfdFlags::CLOEXEC)?);
    file.write_all(text)?;
    Ok(file.into())
}
