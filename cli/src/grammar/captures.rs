//! `captures`: files of all captures, whether or not their cubes exist.

use std::ffi::OsString;
use std::path::Path;

use hyper::Method;
use polycube_api::{Keyword, KeywordKind, Unit, Verb, Word};

use super::error::UsageError;
use super::flags::Flags;
use super::forms::{CAPTURES, Topic};
use super::packets::{Destination, PacketSource, PacketStream};
use super::path;
use super::request::Request;
use super::words::{Words, without_flags};

/// The service whose captures these are, and where their files are.
const SERVICE: [&str; 2] = [Word::Services.as_str(), "packetcapture"];
const FILES: [&str; 3] = [SERVICE[0], SERVICE[1], "files"];

const QUERY: &str = "query";

/// What `captures` does besides the verbs.
#[derive(Debug, PartialEq)]
pub(crate) enum Captures {
    /// Download a file.
    Get {
        request: Request,
        destination: Destination,
    },
    /// Take the packets of all files that match.
    Query(PacketStream),
    Help,
}

/// Whether a command line asks for one of these: their words are not all words of a path.
pub(super) fn is_meant(args: &[OsString]) -> bool {
    let mut words = without_flags(args);
    words.next() == Some(Some(CAPTURES)) && matches!(words.next(), Some(Some("get" | "query")))
}

/// Reads a command line that [`is_meant`]; returns its flags, too.
pub(super) fn parse(args: Vec<OsString>) -> Result<(Captures, Words), UsageError> {
    let mut flags = Words::default();
    let mut words = Vec::new();
    let mut args = args.into_iter().map(super::words::utf8);
    while let Some(word) = args.next().transpose()? {
        if word == "?" {
            flags.help = true;
        } else if word.len() > 1 && word.starts_with('-') {
            flags.flag(&word, || args.next().transpose())?;
        } else {
            words.push(word);
        }
    }
    if flags.help {
        return Ok((Captures::Help, flags));
    }
    let is_query = words.get(1).is_some_and(|word| word == "query");
    words.drain(..2.min(words.len()));
    let clock = flags.clock.take_if(|_| is_query).map(|(_, clock)| clock).unwrap_or_default();
    flags.refuse_view()?;
    let Flags { write, format, follow, force, count, bundle, keys, .. } = std::mem::take(&mut flags.packets);
    let count_alone = if is_query { None } else { count.clone() };
    let unknown = Flags { format, follow, bundle, keys, count: count_alone, ..Flags::default() };
    if let Some(flag) = unknown.any() {
        return Err(UsageError::FlagWithoutDump { flag });
    }
    let captures = if is_query {
        let destination = match write {
            None => Destination::Lines,
            Some(path) if path == "-" => Destination::Records,
            Some(path) if ends_in(Path::new(&path), "pcap") => return Err(UsageError::QueryFormat),
            Some(path) => Destination::File { path: path.into(), force },
        };
        Captures::Query(PacketStream {
            source: PacketSource::Query { path: path::encode(&SERVICE) + QUERY, expression: words.join(" ") },
            destination,
            follow: false,
            format: None,
            packets: super::packets::count(count)?,
            clock,
            bundle: false,
            keys: None,
        })
    } else {
        let [name] = <[String; 1]>::try_from(words).map_err(|_| UsageError::Form { topic: Topic::Captures })?;
        let destination = match write {
            Some(path) if path == "-" => Destination::Records,
            Some(path) => Destination::File { path: path.into(), force },
            None => Destination::File { path: Path::new(&name).file_name().unwrap_or_default().into(), force },
        };
        if let Destination::File { path, .. } = &destination
            && ends_in(path, "pcap")
            && ends_in(Path::new(&name), "pcapng")
        {
            return Err(UsageError::OtherFormat { file: name });
        }
        let path = path::encode(&FILES) + &path::encode(&[name]);
        Captures::Get { request: Request { method: Method::GET, path, body: None }, destination }
    };
    Ok((captures, flags))
}

fn ends_in(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(wanted))
}

/// Turns `captures show` and `captures del NAME` into words of the path where the files are.
pub(super) fn locate(words: &mut Words) -> Result<(), UsageError> {
    if words.help || words.path.first().is_none_or(|word| word != CAPTURES) {
        return Ok(());
    }
    let wanted = match words.command {
        Some(Verb::Show) => 1,
        Some(Verb::Del) => 2,
        _ => 0,
    };
    if words.path.len() != wanted || !words.pairs.is_empty() {
        return Err(UsageError::Form { topic: Topic::Captures });
    }
    words.path.splice(..1, FILES.map(str::to_owned));
    Ok(())
}

/// Asks for the list of files.
pub(super) fn list() -> Request {
    Request { method: Method::GET, path: path::encode(&FILES), body: None }
}

/// The data model of what a request shows, if that is the list of files: the service has none of it.
pub(crate) fn model(shown: &Request) -> Option<Keyword> {
    (shown.path == path::encode(&FILES)).then(|| {
        let size = Keyword { unit: Unit::Bytes.as_str().to_owned(), ..Keyword::new("size", KeywordKind::Leaf, "") };
        Keyword { members: vec![size], ..Keyword::new("", KeywordKind::List, "") }
    })
}

/// What a request is about, as it was typed.
pub(crate) fn subject(request: &Request) -> String {
    if request.path == path::encode(&FILES) { CAPTURES.to_owned() } else { request.words() }
}

/// The part of a refusal's path that a command has: what a query was given. Sentences about files name them.
pub(crate) fn typed(place: &str) -> &str {
    let Some(below) = place.strip_prefix(&path::encode(&SERVICE)) else { return place };
    match below.split_once('/') {
        Some((QUERY, rest)) => rest,
        Some((what, _)) if what == FILES[2] => "",
        None if below == QUERY => "",
        _ => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Order, parse};

    #[track_caller]
    fn check(line: &[&str], expected: &str) {
        let parsed = parse(line.iter().map(Into::into)).map(|line| match line.order {
            Order::Call(call) => format!("{} {}", call.request.method, call.request.path),
            Order::Captures(Captures::Get { request, destination }) => {
                format!("{} to {destination:?}", request.path)
            }
            Order::Captures(Captures::Query(stream)) => {
                format!("{} to {:?}", stream.request().path, stream.destination)
            }
            order => format!("{order:?}"),
        });
        assert_eq!(parsed.unwrap_or_else(|error| error.to_string()), expected, "{line:?}");
    }

    #[test]
    fn files_are_found_below_the_service() {
        check(&["captures", "show"], "GET services/packetcapture/files/");
        check(&["captures", "del", "a/b.pcap"], "DELETE services/packetcapture/files/a%2Fb.pcap/");
        check(&["captures", "get", "b.pcap", "-w", "-"], "services/packetcapture/files/b.pcap/ to Records");
        check(
            &["captures", "get", "b.pcapng", "-w", "c.pcap"],
            "'b.pcapng' is pcapng, and is not converted: give -w a name that ends in .pcapng",
        );
        let to_file = "services/packetcapture/files/a%2Fb.pcap/ to File { path: \"b.pcap\", force: true }";
        check(&["captures", "get", "a/b.pcap", "--force"], to_file);
        let wrong = "captures needs show, get NAME, del NAME or query";
        for line in [&["captures", "get"][..], &["captures", "del"], &["captures"], &["captures", "show", "x"]] {
            check(line, wrong);
        }
    }

    #[test]
    fn a_request_is_named_by_the_words_that_ask_for_it() {
        let about = |path: &str| subject(&Request { method: Method::GET, path: path.to_owned(), body: None });
        assert_eq!(about("br1/ports/"), "br1 ports");
        assert_eq!(about("services/packetcapture/files/"), "captures");
    }

    #[test]
    fn a_refusal_names_what_was_typed() {
        for (path, expected) in [
            ("services/packetcapture/query/expression", "expression"),
            ("services/packetcapture/query", ""),
            ("services/packetcapture/files/a/b.pcap", ""),
            ("services/packetcapture/files", "services/packetcapture/files"),
            ("services/packetcapture", "services/packetcapture"),
            ("services/packetcaptures/query", "services/packetcaptures/query"),
            ("sniffer/filter", "sniffer/filter"),
        ] {
            assert_eq!(typed(path), expected, "{path}");
        }
    }

    #[test]
    fn sizes_of_files_have_a_unit() {
        let found = model(&list()).unwrap();
        assert_eq!(
            found.members.iter().map(|leaf| (leaf.name.as_str(), leaf.unit.as_str())).collect::<Vec<_>>(),
            [("size", "bytes")]
        );
        assert!(model(&Request { path: "services/".to_owned(), ..list() }).is_none());
    }

    #[test]
    fn a_query_takes_all_other_words_for_its_expression() {
        let path = "services/packetcapture/query?expression=tcp%5B13%5D%20%3D%202%20and%20after%203h%20ago&packets=5";
        check(
            &["--url", "unix:///s", "captures", "query", "tcp[13] = 2", "and", "after", "3h", "ago", "-c", "5"],
            &format!("{path} to Lines"),
        );
        check(&["captures", "query", "-c5", "-w-"], "services/packetcapture/query?expression=&packets=5 to Records");
        check(&["captures", "query", "-w", "-"], "services/packetcapture/query?expression= to Records");
        check(&["captures", "query", "-w", "x.pcap"], &UsageError::QueryFormat.to_string());
        check(&["captures", "query", "--follow"], "--follow goes with NAME dump only");
    }
}
