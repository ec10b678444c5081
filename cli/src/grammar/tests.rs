use serde_json::json;

use super::*;

fn parse_text(line: &[&str]) -> Result<Line, Mistake> {
    parse(line.iter().map(OsString::from))
}

#[track_caller]
fn call_of(line: &[&str]) -> Call {
    match parse_text(line).map(|line| line.order) {
        Ok(Order::Call(call)) => call,
        other => panic!("{line:?}: {other:?}"),
    }
}

/// Splits at blanks; `null` as the body means none.
#[track_caller]
fn check(line: &str, method: &Method, path: &str, body: Value) {
    check_words(&line.split(' ').collect::<Vec<_>>(), method, path, body);
}

#[track_caller]
fn check_words(line: &[&str], method: &Method, path: &str, body: Value) {
    let body = Some(body).filter(|body| !body.is_null());
    assert_eq!(call_of(line).request, Request { method: method.clone(), path: path.to_owned(), body }, "{line:?}");
}

#[track_caller]
fn check_output(line: &str, expected: &Output) {
    assert_eq!(&call_of(&line.split(' ').collect::<Vec<_>>()).output, expected, "{line}");
}

#[track_caller]
fn check_refused(line: &[&str], expected: &str) {
    match parse_text(line) {
        Err(error) => assert_eq!(error.to_string(), expected, "{line:?}"),
        Ok(line) => panic!("understood as {line:?}"),
    }
}

#[track_caller]
fn check_help(line: &str, expected: Topic) {
    let order = parse_text(&line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>()).unwrap().order;
    match order {
        Order::Help(question) => assert_eq!(question.topic, expected, "{line}"),
        other => panic!("{line}: {other:?}"),
    }
}

fn text(detail: Detail, hide: &[&str]) -> View {
    View::Text { detail, all: false, hide: hide.iter().map(|&name| name.to_owned()).collect() }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

#[test]
fn show_reads() {
    for (bare, path) in
        [("services", "services/"), ("cubes", "cubes/"), ("netdevs", "netdevs/"), ("topology", "topology/")]
    {
        check(bare, &GET, path, json!(null));
        check(&format!("{bare} show"), &GET, path, json!(null));
    }
    check("services show packetcapture", &GET, "services/packetcapture/", json!(null));
    check("cubes show br1", &GET, "cubes/br1/", json!(null));
    check("netdevs show eth0", &GET, "netdevs/eth0/", json!(null));
    check("topology show veth1", &GET, "topology/veth1/", json!(null));
    check("version", &GET, "version/", json!(null));
    check("version show", &GET, "version/", json!(null));
    check("sniffer show", &GET, "sniffer/", json!(null));
    check("sniffer show dump", &GET, "sniffer/dump/", json!(null));
    check("sniffer dump show", &GET, "sniffer/dump/", json!(null));
    check("sniffer filters show", &GET, "sniffer/filters/", json!(null));
}

#[test]
fn add_creates_with_an_object() {
    check("packetcapture add sniffer", &POST, "packetcapture/sniffer/", json!({}));
    check(
        "packetcapture add sniffer capture=bidirectional",
        &POST,
        "packetcapture/sniffer/",
        json!({"capture": "bidirectional"}),
    );
    check("add helloworld hw0", &POST, "helloworld/hw0/", json!({}));
    check("br1 ports add toveth1 peer=veth1", &POST, "br1/ports/toveth1/", json!({"peer": "veth1"}));
    check("br1 ports add p1 peer=", &POST, "br1/ports/p1/", json!({"peer": ""}));
    check(
        "packetcapture add s filters.snaplen=80 filters.src=10.0.0.0/8 networkmode=true",
        &POST,
        "packetcapture/s/",
        json!({"filters": {"snaplen": 80, "src": "10.0.0.0/8"}, "networkmode": true}),
    );
    check(
        "services add type=lib uri=/opt/libpcn_x.so name=x",
        &POST,
        "services/",
        json!({"type": "lib", "uri": "/opt/libpcn_x.so", "name": "x"}),
    );
}

#[test]
fn set_of_one_pair_is_a_bare_scalar_below() {
    check("sniffer set networkmode=true", &PATCH, "sniffer/networkmode/", json!(true));
    check("sniffer filters set src=10.10.10.10/24", &PATCH, "sniffer/filters/src/", json!("10.10.10.10/24"));
    check("sniffer filters set sport=80", &PATCH, "sniffer/filters/sport/", json!(80));
    check("sniffer set filters.snaplen=9", &PATCH, "sniffer/filters/snaplen/", json!(9));
    check_words(&["sniffer", "set", "filter=tcp[13] == 2"], &PATCH, "sniffer/filter/", json!("tcp[13] == 2"));
    check("sniffer set dump=", &PATCH, "sniffer/dump/", json!(""));
}

#[test]
fn set_of_more_pairs_is_an_object() {
    check(
        "sniffer filters set src=10.0.0.0/8 dport=80",
        &PATCH,
        "sniffer/filters/",
        json!({"src": "10.0.0.0/8", "dport": 80}),
    );
    check("sniffer set a.b.c=1 a.b.d=x", &PATCH, "sniffer/", json!({"a": {"b": {"c": 1, "d": "x"}}}));
}

#[test]
fn del_deletes() {
    check("del br1", &DELETE, "br1/", json!(null));
    check("br1 del", &DELETE, "br1/", json!(null));
    check("packetcapture del sniffer", &DELETE, "packetcapture/sniffer/", json!(null));
    check("br1 ports del toveth1", &DELETE, "br1/ports/toveth1/", json!(null));
    check("br1 del ports toveth1", &DELETE, "br1/ports/toveth1/", json!(null));
    for line in ["services reload packetcapture uri=x.so", "services packetcapture reload uri=x.so"] {
        check(line, &POST, "services/packetcapture/reload/", json!({ "uri": "x.so" }));
    }
    check("services del packetcapture", &DELETE, "services/packetcapture/", json!(null));
}

#[test]
fn actions_post() {
    check("br1 fdb flush", &POST, "br1/fdb/flush/", json!({}));
    check("br1 fdb age limit=3", &POST, "br1/fdb/age/", json!({"limit": 3}));
}

#[test]
fn framework_verbs_send_names_as_strings() {
    check("connect br1:p1 br2:p1", &POST, "connect/", json!({"peer1": "br1:p1", "peer2": "br2:p1"}));
    check("disconnect 1 2", &POST, "disconnect/", json!({"peer1": "1", "peer2": "2"}));
    check("attach sniffer br1:toveth1", &POST, "attach/", json!({"cube": "sniffer", "port": "br1:toveth1"}));
    check(
        "attach sniffer eth0 position=first",
        &POST,
        "attach/",
        json!({"cube": "sniffer", "port": "eth0", "position": "first"}),
    );
    check("attach s eth0 before=7", &POST, "attach/", json!({"cube": "s", "port": "eth0", "before": "7"}));
    check("attach s eth0 after=f", &POST, "attach/", json!({"cube": "s", "port": "eth0", "after": "f"}));
    check("detach sniffer br1:toveth1", &POST, "detach/", json!({"cube": "sniffer", "port": "br1:toveth1"}));
}

#[test]
fn a_body_is_looked_for_where_none_is_given() {
    let input = |line: &str| call_of(&line.split(' ').collect::<Vec<_>>()).input;
    for line in ["cubes add", "s set", "s filters set", "br1 ports p1 set"] {
        assert_eq!(input(line), Input::Required, "{line}");
    }
    for line in ["packetcapture add s", "br1 ports add p1", "br1 fdb flush"] {
        assert_eq!(input(line), Input::Optional, "{line}");
    }
    for line in ["packetcapture add s capture=off", "s set a=1", "s set a=1 b=2", "s show", "del s", "attach s eth0"] {
        assert_eq!(input(line), Input::No, "{line}");
    }
}

#[test]
fn output_follows_the_command() {
    check_output("packetcapture add s", &Output::Nothing);
    check_output("s set capture=off", &Output::Nothing);
    check_output("del s", &Output::Nothing);
    check_output("attach s eth0", &Output::Nothing);
    check_output("br1 fdb flush", &Output::Result);
    check_output("s show", &Output::View(text(Detail::Normal, &[])));
    check_output("s show -json", &Output::View(View::Json));
    check_output("cubes -json", &Output::View(View::Json));
    check_output("cubes show -yaml", &Output::View(View::Yaml));
    check_output("cubes show -o yaml", &Output::View(View::Yaml));
    check_output("cubes show -o=name", &Output::View(View::Names));
    check_output("s show -brief dump", &Output::View(text(Detail::Brief, &[])));
    check_output("s show -normal -normal", &Output::View(text(Detail::Normal, &[])));
    check_output("s show -verbose -hide=a,b.c", &Output::View(text(Detail::Verbose, &["a", "b.c"])));
    check_output("topology", &Output::View(View::Topology));
    check_output("topology show", &Output::View(View::Topology));
    check_output("topology show veth1", &Output::View(text(Detail::Normal, &[])));
    check_output("topology show -brief", &Output::View(text(Detail::Brief, &[])));
    check_output("version", &Output::Versions(text(Detail::Normal, &[])));
}

#[test]
fn flags_of_the_program_stand_anywhere() {
    for line in [
        ["--url", "http://h:1", "s", "show", "--token-file", "f"],
        ["s", "--token-file", "f", "show", "--url", "http://h:1"],
    ] {
        let line = parse_text(&line).unwrap();
        assert_eq!(
            (line.endpoint.url.as_deref(), line.endpoint.token_file.as_deref()),
            (Some("http://h:1"), Some("f"))
        );
    }
    let line = parse_text(&["del", "s", "--url=unix:///a=b"]).unwrap();
    assert_eq!(line.endpoint.url.as_deref(), Some("unix:///a=b"));
    assert_eq!(parse_text(&["s", "-V"]).unwrap().order, Order::OwnVersion);
    assert_eq!(parse_text(&["--version"]).unwrap().order, Order::OwnVersion);
    for (flag, verbose) in [("-v", true), ("--verbose", true), ("-verbose", false)] {
        assert_eq!(parse_text(&["s", "show", flag]).unwrap().verbose, verbose, "{flag}");
    }
}

#[test]
fn help_is_of_the_form_it_follows() {
    for line in ["", "?", "-h", "--help", "packetcapture ?"] {
        check_help(line, Topic::General);
    }
    check_help("packetcapture add ?", Topic::Add);
    check_help("sniffer set a=b ?", Topic::Set);
    check_help("del ?", Topic::Del);
    check_help("attach ?", Topic::Attach);
    check_help("attach s --help", Topic::Attach);
    check_help("version ?", Topic::Version);
    check_help("completion ?", Topic::Completion);
    let Order::Help(question) = parse_text(&["sniffer", "set", "filters", "?"]).unwrap().order else { panic!() };
    let request = question.request().unwrap();
    assert_eq!((request.path.as_str(), request.method), ("sniffer/filters/?help=SET", Method::OPTIONS));
}

#[test]
fn mixed_up_words_are_refused() {
    check_refused(&["br1", "add", "set"], "'add' and 'set' are both commands: give one");
    check_refused(&["show", "show"], "'show' and 'show' are both commands: give one");
    check_refused(&["s", "a=1", "set"], "'set' cannot follow 'a=1': put path and command before key=value");
    check_refused(&["s", "set", "a=1", "b"], "'b' cannot follow 'a=1': put path and command before key=value");
    check_refused(&["?", "br1"], "'?' must be the last word");
    check_refused(&["add"], "'add' alone names nothing: name a cube or a service");
    check_refused(&["a=1"], "'key=value' alone names nothing: name a cube or a service");
    check_refused(
        &["cubes", "add", "a=1"],
        "cubes add takes no key=value: it reads a list of cubes from standard input",
    );
    check_refused(&["s", "show", "a=1"], "show takes no key=value");
    check_refused(&["del", "s", "a=1"], "del takes no key=value");
    for word in ["", ".", ".."] {
        check_refused(&["s", "show", word], &format!("'{word}' cannot be part of a path"));
    }
}

#[test]
fn bad_pairs_are_refused() {
    check_refused(&["s", "set", "=1"], "'=1' has an empty key");
    check_refused(&["s", "set", ".a=1"], "'.a=1' has an empty key");
    check_refused(&["s", "set", "a..b=1"], "'a..b=1' has an empty key");
    check_refused(&["s", "set", "a=1", "a=2"], "'a' is given twice");
    check_refused(&["s", "set", "a=1", "a.b=2"], "'a.b' would be a value and an object at once");
    check_refused(&["s", "set", "a.b=2", "a=1"], "'a' would be a value and an object at once");
}

#[test]
fn bad_flags_are_refused() {
    check_refused(&["s", "-x"], "'-x' is not a flag");
    check_refused(&["s", "show", "-json=1"], "'-json=1' is not a flag");
    check_refused(&["s", "show", "--url"], "--url needs a value: --url URL");
    check_refused(&["s", "show", "--token-file="], "--token-file needs a value: --token-file FILE");
    check_refused(&["--url=a", "--url", "b"], "--url is given twice");
    check_refused(&["s", "show", "-yaml", "-json"], "-yaml and -json exclude each other");
    check_refused(&["s", "show", "-o", "xml"], "'xml' is not a form of output: -o takes json, yaml, wide or name");
    check_refused(&["s", "show", "-yaml", "-hide=a"], "-hide does not go with -yaml");
    check_refused(&["s", "show", "-json", "-brief"], "-json and -brief exclude each other");
    check_refused(&["s", "show", "-json", "-hide=a"], "-hide does not go with -json");
    check_refused(&["s", "show", "-hide"], "-hide needs names: -hide=uuid,ports.peer");
    check_refused(&["s", "show", "-hide="], "-hide needs names: -hide=uuid,ports.peer");
    check_refused(&["del", "s", "-json"], "-json goes with show only");
    check_refused(&["s", "add", "x", "-hide=a"], "-hide goes with show only");
    check_refused(&["attach", "s", "eth0", "-brief"], "-brief goes with show only");
}

#[test]
fn framework_verbs_take_exactly_their_words() {
    check_refused(&["connect", "a"], "wrong number of words for connect");
    check_refused(&["connect", "a", "b", "c"], "wrong number of words for connect");
    check_refused(&["disconnect", "add", "a", "b"], "wrong number of words for disconnect");
    check_refused(&["connect", "a", "b", "x=1"], "wrong number of words for connect");
    check_refused(&["attach", "s"], "wrong number of words for attach");
    check_refused(&["attach", "s", "eth0", "position=3"], "'3' is not a position: give first, last or auto");
    check_refused(&["attach", "s", "eth0", "color=red"], "attach does not know 'color'");
    check_refused(
        &["attach", "s", "eth0", "position=first", "before=t"],
        "attach takes one of position, before and after",
    );
    check_refused(&["detach", "s"], "wrong number of words for detach");
    check_refused(&["completion", "tcsh"], "there is no completion for 'tcsh': give bash, zsh or fish");
    check_refused(&["completion"], "wrong number of words for completion");
    check_refused(&["services", "reload"], "services reload needs a service: services reload NAME [uri=FILE]");
    check_refused(&["version", "x"], "wrong number of words for version");
    check_refused(&["version", "set", "a=1"], "wrong number of words for version");
}

#[test]
fn a_mistake_shows_the_form_of_the_command_that_was_typed() {
    let check = |line: &str, expected: &str| {
        let hint = parse_text(&line.split(' ').collect::<Vec<_>>()).unwrap_err().hint().unwrap();
        assert!(hint.starts_with(&format!("usage: polycubectl {expected}")), "{line}: {hint}");
    };
    check("detach s", "detach CUBE PLACE");
    for line in
        ["s dump -c x", "dump -c x", "s dump -c", "s dump -w a -w b", "s dump --count 5", "dump a b -w", "s dump a=1"]
    {
        check(line, "NAME dump");
    }
    for line in ["s watch -c x", "s watch --utc --local", "s watch -c", "s watch a=1"] {
        check(line, "NAME watch");
    }
    for line in ["capture eth0 --in --out", "capture eth0 -c", "capture eth0 -c 1 -c 2", "capture eth0 --utc --local"] {
        check(line, "capture PLACE");
    }
    for line in ["s show -json -yaml", "-json -yaml s show", "s show --url", "s watch -json", "s show --bogus 1"] {
        check(line, "NAME show");
    }
    check("s set a..b=1", "NAME [PATH...] set");
    check("add", "SERVICE add");
    for line in ["br1 add set", "s -x", "s --url"] {
        assert_eq!(
            parse_text(&line.split(' ').collect::<Vec<_>>()).unwrap_err().hint().unwrap(),
            "try: polycubectl --help"
        );
    }
}

#[test]
fn words_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let error = parse([OsString::from_vec(vec![b's', 0xff])]).unwrap_err();
    assert_eq!(error.to_string(), "'s\u{fffd}' is not UTF-8");
}

#[track_caller]
fn check_packets(line: &str, target: &str, destination: &Destination) {
    match parse_text(&line.split(' ').collect::<Vec<_>>()).map(|line| line.order) {
        Ok(Order::Packets(stream)) => {
            assert_eq!((stream.request().path.as_str(), &stream.destination), (target, destination), "{line}");
        }
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn dump_and_watch_after_a_name_take_packets() {
    let file = |force| Destination::File { path: "o.pcap".into(), force };
    check_packets("s dump", "s/stream?follow=false", &Destination::Records);
    check_packets("s dump -w -", "s/stream?follow=false", &Destination::Records);
    check_packets("s dump -w o.pcap --follow", "s/stream?follow=true", &file(false));
    check_packets("--force -w=o.pcap s dump", "s/stream?follow=false", &file(true));
    check_packets("s dump --format pcapng", "s/stream?format=pcapng&follow=false", &Destination::Records);
    let pcapng = Destination::File { path: "o.pcapng".into(), force: false };
    check_packets("s dump -w o.pcapng", "s/stream?format=pcapng&follow=false", &pcapng);
    check_packets("s dump -w o.pcapng --format pcap", "s/stream?format=pcap&follow=false", &pcapng);
    check_packets("s dump --format a&b=c", "s/stream?format=a%26b%3Dc&follow=false", &Destination::Records);
    check_packets("a/b dump", "a%2Fb/stream?follow=false", &Destination::Records);
    check_packets("s watch", "s/stream?format=pcapng&follow=true", &Destination::Lines);
    check_help("s dump ?", Topic::Dump);
    check_help("s watch --help", Topic::Watch);
}

#[test]
fn with_a_verb_dump_is_a_leaf() {
    check("s show dump", &GET, "s/dump/", Value::Null);
    check("s dump show", &GET, "s/dump/", Value::Null);
    check("s set dump=/tmp/x", &PATCH, "s/dump/", json!("/tmp/x"));
    check("packetcapture add dump", &POST, "packetcapture/dump/", json!({}));
    check("del dump", &DELETE, "dump/", Value::Null);
    check("s fdb dump", &POST, "s/fdb/dump/", json!({}));
}

#[test]
fn the_flags_of_dump_go_with_dump_only() {
    check_refused(&["s", "show", "dump", "--follow"], "--follow goes with NAME dump only");
    check_refused(&["s", "watch", "-w", "o.pcap"], "-w goes with NAME dump only");
    check_refused(&["s", "show", "--format", "pcap"], "--format goes with NAME dump only");
    check_refused(&["s", "dump", "-w"], "-w needs a value: -w FILE");
    check_refused(&["s", "dump", "-w", "a", "-w", "b"], "-w is given twice");
    check_refused(
        &["s", "dump", "snaplen=5"],
        "'snaplen=' sets nothing here: settings are set with NAME set snaplen=VALUE",
    );
    check_refused(&["s", "watch", "-json"], "-json goes with show only");
    check_refused(&["s", "watch", "-o", "json"], "-o goes with show only");
    for command in ["dump", "watch"] {
        let error = parse_text(&["s", command, "tcp", "-c", "1"]).unwrap_err().error;
        assert_eq!(error, UsageError::ExpressionOfCube { command, cube: "s".to_owned() });
    }
    check_packets("watch s -c 1 -nn", "s/stream?format=pcapng&follow=true&packets=1", &Destination::Lines);
}

#[test]
fn a_number_of_packets_ends_dump_and_watch() {
    let request = |line: &str| match parse(line.split(' ').map(Into::into)).map(|line| line.order) {
        Ok(Order::Packets(stream)) => stream.request().path,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(request("s dump -c 5 --follow"), "s/stream?follow=true&packets=5");
    assert_eq!(request("s dump -c5 --follow -w-"), "s/stream?follow=true&packets=5");
    assert_eq!(request("s watch -c5"), request("s watch -c 5"));
    assert_eq!(request("s watch -c=5"), "s/stream?format=pcapng&follow=true&packets=5");
    for count in ["0", "-1", "x", "1.5"] {
        let error = parse(["s", "dump", "-c", count].map(Into::into)).unwrap_err();
        assert_eq!(error.error, UsageError::Count { value: count.to_owned() });
    }
    let error = parse(["s", "show", "-c", "5"].map(Into::into)).unwrap_err();
    assert_eq!(error.to_string(), "-c goes with NAME dump and NAME watch only");
}

#[test]
fn everything_is_only_for_show() {
    let error = parse(["s", "set", "a=1", "--all"].map(Into::into)).unwrap_err();
    assert_eq!(error.error, UsageError::ViewWithoutShow { flag: "--all" });
}

#[test]
fn several_captures_are_dumped_as_one() {
    let joined = |line: &str| match parse_text(&line.split(' ').collect::<Vec<_>>()).map(|line| line.order) {
        Ok(Order::Joined(joined)) => joined,
        other => panic!("{line}: {other:?}"),
    };
    let expected = Joined {
        cubes: vec!["a".to_owned(), "b".to_owned()],
        destination: Destination::File { path: "o.pcapng".into(), force: false },
        follow: true,
        packets: Some(5),
        bundle: true,
        keys: None,
    };
    assert_eq!(joined("dump a b --follow -w o.pcapng -c 5 --bundle"), expected);
    let paths: Vec<_> = expected.streams().map(|stream| stream.request().path).collect();
    assert_eq!(paths, ["a/stream?format=pcapng&follow=true", "b/stream?format=pcapng&follow=true"]);
    assert_eq!(joined("dump a").cubes, ["a"]);
    check_refused(&["dump", "a", "b", "a"], "the capture a is given twice");
    for line in [&["dump", "a", "b", "-w", "o.pcap"][..], &["dump", "a", "b", "--format", "pcap"]] {
        let expected = "packets of several captures are written as pcapng: pcap does not say where a packet comes from";
        check_refused(line, expected);
    }
    check_refused(&["dump", "a", "--utc"], "--utc goes with show and watch only");
    // A cube may be called so.
    check_help("dump show ?", Topic::Show);
    assert!(matches!(parse_text(&["dump", "watch"]).unwrap().order, Order::Packets(_)));
    check("dump set snaplen=96", &PATCH, "dump/snaplen/", json!(96));
}

#[test]
fn a_key_log_goes_with_packets_that_have_a_place_for_keys() {
    let stream = |line: &str| match parse(line.split(' ').map(Into::into)).map(|line| line.order) {
        Ok(Order::Packets(stream)) => stream,
        other => panic!("{line}: {other:?}"),
    };
    let dumped = stream("s dump --keys k --follow");
    assert_eq!((dumped.keys, dumped.format.as_deref()), (Some("k".into()), Some("pcapng")));
    assert_eq!(stream("s dump --keys k --format pcapng -w x.pcapng").keys, Some("k".into()));
    let pcap = "TLS keys need pcapng: pcap has no place for them; give a file that ends in .pcapng, or --format pcapng";
    check_refused(&["s", "dump", "--keys", "k", "-w", "x.pcap"], pcap);
    check_refused(&["s", "dump", "--keys", "k", "--format", "pcap"], pcap);
    check_refused(&["capture", "eth0", "--keys", "k", "-w", "x.pcap"], pcap);
    check_refused(&["capture", "eth0", "--keys", "k"], "--keys needs a file: give -w FILE");
    check_refused(&["s", "watch", "--keys", "k"], "--keys goes with NAME dump only");
    check_refused(&["s", "show", "--keys", "k"], "--keys goes with NAME dump only");
    let Order::Joined(joined) = parse_text(&["dump", "a", "b", "--keys=k"]).unwrap().order else { panic!("dump") };
    assert_eq!(joined.keys, Some("k".into()));
}

#[test]
fn top_is_a_command_unless_a_cube_is_called_so() {
    let order = |line: &[&str]| parse_text(line).map(|line| line.order);
    assert_eq!(order(&["top"]), Ok(Order::Top { once: false }));
    assert_eq!(order(&["top", "--once"]), Ok(Order::Top { once: true }));
    check_refused(&["top", "br1"], "wrong number of words for top");
    check_refused(&["top", "-w", "x"], "wrong number of words for top");
    check("top show", &GET, "top/", Value::Null);
}

#[test]
fn times_are_local_unless_it_is_said_otherwise() {
    for (line, expected) in [
        (&["s", "files", "show"][..], Clock::Local),
        (&["s", "files", "show", "--utc"], Clock::Utc),
        (&["s", "files", "show", "--local"], Clock::Local),
    ] {
        assert_eq!(parse_text(line).unwrap().clock, expected, "{line:?}");
    }
    let Order::Packets(watched) = parse_text(&["s", "watch", "--utc"]).unwrap().order else { panic!("watch") };
    assert_eq!(watched.clock, Clock::Utc);
    check_refused(&["s", "show", "--utc", "--local"], "--utc and --local exclude each other");
    check_refused(&["s", "set", "a=1", "--utc"], "--utc goes with show and watch only");
}
