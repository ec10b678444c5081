//! Wireshark's extcap interface: each packetcapture cube is an interface to capture on.
//!
//! Wireshark runs every program in its extcap folder, asks what there is in a format of its own (extcap(4)), and reads
//! packets from a named pipe. It shows whatever such a program prints on stderr as an error, so success is silent.

mod arguments;

use clap::Parser;
use hyper::Method;
use serde_json::{Map, Value, json};

use self::arguments::{Arguments, Task};
use crate::endpoint::Endpoint;
use crate::failure::Failure;
use crate::grammar::{Clock, Destination, PacketSource, PacketStream, Request, segment};
use crate::output::print;
use crate::session::Session;
use crate::stream;
use crate::wireshark;

/// The service whose cubes have packets.
const SERVICE: &str = "packetcapture";
/// Before a cube's name: all of Wireshark's programs share the names of interfaces.
const PREFIX: &str = "polycube-";
/// `LINKTYPE_ETHERNET`.
const ETHERNET: &str = "dlt {number=1}{name=EN10MB}{display=Ethernet}\n";
/// Both are settings of the cube, and stay when the capture has ended.
const OPTIONS: &str = "\
arg {number=0}{call=--filter}{display=Filter}{type=string}\
{tooltip=Which packets the cube captures, in the kernel (pcap-filter); empty leaves the cube's own filter}{required=false}
arg {number=1}{call=--snaplen}{display=Snap length}{type=unsigned}{range=1,262144}\
{tooltip=Bytes of a packet that the cube records; empty leaves the cube's own}{required=false}
";

/// Answers Wireshark, or captures for it.
///
/// # Errors
///
/// The daemon cannot be asked, or refuses; or the pipe has no reader.
pub(crate) fn run() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    match arguments.task() {
        Task::Install(whose) => print(&wireshark::install(whose)?),
        Task::Uninstall(whose) => print(&wireshark::uninstall(whose)?),
        Task::Interfaces => interfaces(),
        Task::LinkTypes => print(ETHERNET),
        Task::Options => print(OPTIONS),
        // Only the daemon can tell, and it does when the capture starts. Silence means that the filter is valid.
        Task::FilterIsValid => Ok(()),
        Task::Capture { interface, fifo } => {
            let cube = interface.strip_prefix(PREFIX).unwrap_or(interface);
            let session = Session::new(Endpoint::default())?;
            let settings = arguments.settings();
            if !settings.is_empty() {
                let path = format!("{SERVICE}/{}/", segment(cube));
                let body = Some(Value::Object(settings));
                session.accepted(&Request { method: Method::PATCH, path, body })?;
            }
            let destination = Destination::Pipe(fifo.to_owned());
            let format = Some("pcapng".to_owned());
            let cube = cube.to_owned();
            stream::take(
                &session,
                &PacketStream {
                    source: PacketSource::Cube(cube),
                    destination,
                    follow: true,
                    format,
                    packets: None,
                    clock: Clock::default(),
                    bundle: false,
                    keys: None,
                },
            )
        }
    }
}

fn interfaces() -> Result<(), Failure> {
    print(&format!("extcap {{version={}}}{{display=Polycube captures}}\n", env!("CARGO_PKG_VERSION")))?;
    let request = Request { method: Method::GET, path: "cubes/".to_owned(), body: None };
    let answer = Session::new(Endpoint::default())?.accepted(&request)?;
    let cubes: Value = serde_json::from_slice(&answer.body).map_err(|_| Failure::NotJson)?;
    print(&sentences(&cubes))
}

/// One sentence for each cube.
fn sentences(cubes: &Value) -> String {
    let cubes = cubes.get(SERVICE).and_then(Value::as_array).into_iter().flatten();
    let sentence = |cube: &Value| {
        let name = cube.get("name")?.as_str()?;
        let place = match cube.get("parent").and_then(Value::as_str) {
            Some(place) if !place.is_empty() => format!("at {place}"),
            _ => "not attached".to_owned(),
        };
        let display = format!("{name} ({place})").replace(['{', '}'], "_");
        Some(format!("interface {{value={PREFIX}{name}}}{{display=Polycube {display}}}\n"))
    };
    cubes.filter_map(sentence).collect()
}

impl Arguments {
    /// Settings for the cube: those that were given.
    fn settings(&self) -> Map<String, Value> {
        let filters: Vec<&str> = [&self.filter, &self.extcap_capture_filter]
            .into_iter()
            .flatten()
            .map(|filter| filter.trim())
            .filter(|filter| !filter.is_empty())
            .collect();
        let filter = match filters.as_slice() {
            [] => None,
            [one] => Some((*one).to_owned()),
            [..] => Some(format!("({})", filters.join(") and ("))),
        };
        let settings =
            [("filter", filter.map(|filter| json!(filter))), ("snaplen", self.snaplen.map(|bytes| json!(bytes)))];
        settings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Arguments {
        Arguments::try_parse_from(["polycube-extcap"].into_iter().chain(line.split(' '))).unwrap()
    }

    #[test]
    fn each_cube_is_an_interface() {
        let cubes = json!({
            "simplebridge": [{ "name": "br1" }],
            "packetcapture": [
                { "name": "a", "parent": "br1:p" },
                { "name": "b", "parent": "" },
                { "name": "c", "parent": "x,y{}" },
            ],
        });
        let expected = "interface {value=polycube-a}{display=Polycube a (at br1:p)}\n\
                        interface {value=polycube-b}{display=Polycube b (not attached)}\n\
                        interface {value=polycube-c}{display=Polycube c (at x,y__)}\n";
        assert_eq!(sentences(&cubes), expected);
        assert_eq!(sentences(&json!({})), "");
    }

    #[test]
    fn only_what_is_given_is_set() {
        let check =
            |line: &str, expected: Value| assert_eq!(Value::Object(arguments(line).settings()), expected, "{line}");
        let capture = "--capture --extcap-interface=polycube-s --fifo=/f";
        check(capture, json!({}));
        check(&format!("{capture} --filter= --extcap-capture-filter="), json!({}));
        check(&format!("{capture} --snaplen=96"), json!({ "snaplen": 96 }));
        check(&format!("{capture} --extcap-capture-filter=arp"), json!({ "filter": "arp" }));
        check(&format!("{capture} --filter=arp --extcap-capture-filter=ip"), json!({ "filter": "(arp) and (ip)" }));
    }

    #[test]
    fn wiresharks_questions_are_understood() {
        let check = |line: &str, expected: &Task<'_>| assert_eq!(&arguments(line).task(), expected, "{line}");
        check("--extcap-interfaces --extcap-version=4.4", &Task::Interfaces);
        check("--extcap-interface polycube-s --extcap-dlts", &Task::LinkTypes);
        check("--extcap-config --extcap-interface polycube-s", &Task::Options);
        check("--extcap-interface polycube-s --extcap-capture-filter arp", &Task::FilterIsValid);
        let fifo = "/tmp/f".as_ref();
        check("--capture --extcap-interface s --fifo /tmp/f", &Task::Capture { interface: "s", fifo });
        for line in [
            "",
            "--system",
            "--install --uninstall",
            "--capture",
            "--capture --fifo /f",
            "--capture --extcap-interface s",
            "--extcap-dlts",
            "--what",
        ] {
            assert!(Arguments::try_parse_from(["x"].into_iter().chain(line.split_whitespace())).is_err(), "{line}");
        }
    }
}
