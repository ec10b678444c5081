use super::super::{Mistake, Order, parse as parse_line};
use super::*;

#[track_caller]
fn order(words: &[&str]) -> Result<Order, Mistake> {
    Ok(parse_line(words.iter().map(Into::into))?.order)
}

#[track_caller]
fn capture(line: &str) -> Capture {
    match order(&line.split(' ').collect::<Vec<_>>()).unwrap() {
        Order::Capture(capture) => *capture,
        order => panic!("{line}: {order:?}"),
    }
}

#[track_caller]
fn check_split(line: &str, places: &[&str], expression: &str) {
    let found = capture(line);
    assert_eq!(
        (found.places.iter().map(String::as_str).collect::<Vec<_>>(), found.expression.as_str()),
        (places.to_vec(), expression),
        "{line}"
    );
}

#[test]
fn places_come_before_the_expression() {
    check_split("capture eth0", &["eth0"], "");
    check_split("capture eth0 tcp port 80", &["eth0"], "tcp port 80");
    check_split(
        "capture eth0 br1:toveth2 host 10.0.0.1 and not port 22",
        &["eth0", "br1:toveth2"],
        "host 10.0.0.1 and not port 22",
    );
    check_split("capture veth1 tcp[13]=2 or (udp)", &["veth1"], "tcp[13]=2 or (udp)");
    check_split("capture -i ip -i eth0 not show and set", &["ip", "eth0"], "not show and set");
    check_split("capture eth0 -c 3 udp -w -", &["eth0"], "udp");
    check_split("--url http://h:1 capture eth0 all", &["eth0"], "all");
    check_split("capture eth0 -- len = 60", &["eth0"], "len = 60");
    let Order::Capture(none) = order(&["capture", "eth0", ""]).unwrap() else { panic!() };
    assert_eq!((none.places.len(), none.expression.as_str()), (1, ""));
    let Order::Capture(quoted) = order(&["capture", "eth0", "eth1", "tcp or udp"]).unwrap() else { panic!() };
    assert_eq!((quoted.places.len(), quoted.expression.as_str()), (2, "tcp or udp"));
}

#[test]
fn a_cube_can_still_be_called_capture() {
    for line in ["capture show", "capture set snaplen=96", "del capture", "packetcapture add capture"] {
        let found = order(&line.split(' ').collect::<Vec<_>>()).unwrap();
        assert!(matches!(found, Order::Call(_)), "{line}: {found:?}");
    }
}

#[test]
fn a_port_of_a_cube_is_known_by_its_colon() {
    assert_eq!(capture("capture eth0 br1:p udp").port(), Some("br1:p"));
    assert_eq!(capture("capture eth0 any netns:blue container:web pod:default/web udp").port(), None);
}

#[test]
fn the_file_says_what_it_is() {
    for (line, format) in [
        ("capture eth0 -w a.pcapng", RecordFormat::Pcapng),
        ("capture eth0 -w a", RecordFormat::Pcapng),
        ("capture eth0 -w -", RecordFormat::Pcapng),
        ("capture eth0 -w a.pcap", RecordFormat::Pcap),
        ("capture eth0 -w a.CAP", RecordFormat::Pcap),
        ("capture eth0 -w a.pcap --format=pcap-nanos", RecordFormat::PcapNanos),
    ] {
        assert_eq!(capture(line).format, format, "{line}");
    }
}

#[test]
fn limits_and_rotation_have_units() {
    let found = capture("capture eth0 -c 5 --for 1min30s --bytes 10M -s 96 -w a.pcapng --rotate 100MB --keep 3");
    let time = Some(Duration::from_secs(90));
    assert_eq!(found.limits, Limits { packets: Some(5), bytes: Some(10 << 20), time });
    assert_eq!(found.rotation, Some(Rotation { every: Extent::Bytes(100_000_000), keep: Some(3) }));
    assert_eq!(found.snaplen, Some(SnapLen::Bytes(96)));
    assert_eq!(capture("capture eth0 -s 1KiB").snaplen, Some(SnapLen::Bytes(1024)));
    let found = capture("capture eth0 --for 1500ms -w a --rotate 1.5s");
    let (time, every) = (found.limits.time, found.rotation.map(|rotation| rotation.every));
    assert_eq!((time, every), (Some(Duration::from_millis(1_500)), Some(Extent::Time(Duration::from_millis(1_500)))));
    let found = capture("capture container:web --container-socket /a --container-socket=/b");
    assert_eq!(found.container_sockets, [Path::new("/a"), Path::new("/b")]);
    let found = capture("capture eth0 --for 30 --bytes 4096 -w a --rotate=1h");
    assert_eq!(found.limits, Limits { packets: None, bytes: Some(4096), time: Some(Duration::from_secs(30)) });
    assert_eq!(found.rotation, Some(Rotation { every: Extent::Time(Duration::from_secs(3600)), keep: None }));
}

#[test]
fn the_value_of_a_short_flag_may_be_attached_to_it() {
    let found = capture("capture -ieth0 -c1 -s96 -wa=b.pcapng udp");
    assert_eq!((found.places, found.expression.as_str()), (vec!["eth0".to_owned()], "udp"));
    assert_eq!((found.limits.packets, found.snaplen), (Some(1), Some(SnapLen::Bytes(96))));
    assert_eq!(found.destination, Destination::File { path: "a=b.pcapng".into(), force: false });
    let headers = Some(SnapLen::Headers { whole_dns: false });
    assert_eq!(
        (capture("capture eth0 -sheaders").snaplen, capture("capture eth0 -s=headers").snaplen),
        (headers, headers)
    );
    assert_eq!(capture("capture eth0 -w-").destination, Destination::Records);
}

#[test]
fn a_file_that_is_rotated_has_a_number() {
    assert_eq!(Rotation::name(Path::new("/tmp/a.b.pcapng"), 12), Path::new("/tmp/a.b-000012.pcapng"));
    assert_eq!(Rotation::name(Path::new("trace"), 1), Path::new("trace-000001"));
}

#[test]
fn the_request_is_for_a_cube_that_goes_with_its_stream() {
    let Request { method, path, body } = capture("capture eth0 br1:p udp --in -s 64 -c 2").request(false);
    assert_eq!((method, path.as_str()), (Method::POST, "packetcapture/?ephemeral=stream&format=pcapng&packets=2"));
    let expected = json!({
        "parents": ["eth0", "br1:p"], "capture": "ingress", "format": "pcapng", "store": "none", "filter": "udp",
        "snaplen": 64,
    });
    assert_eq!(body, Some(expected));
    let body = |line| capture(line).request(false).body.unwrap_or_default();
    assert_eq!(body("capture eth0 -w x.pcap")["format"], "pcap", "the daemon leaves out what has no room in it");
    let found = body("capture eth0 -s headers");
    assert_eq!((&found["snaplen"], &found["whole-dns"]), (&json!("headers"), &Value::Null));
    assert_eq!(body("capture eth0 -s headers --whole-dns")["whole-dns"], true);
    assert_eq!(Capture::end("a b").path, "a%20b/");
}

#[test]
fn help_can_be_asked_for_anywhere() {
    for line in ["capture -h", "capture eth0 --help", "capture eth0 tcp ?"] {
        let Order::Help(question) = order(&line.split(' ').collect::<Vec<_>>()).unwrap() else { panic!("{line}") };
        assert_eq!(question.topic, Topic::Capture);
    }
}

const NO_PLACE: &str = "capture needs a place, before the expression or with -i: a netdev, CUBE:PORT, any, container:NAME or another \
                        (polycubectl help places)";

#[test]
fn what_makes_no_sense_is_refused() {
    for (line, message) in [
        ("capture eth0 -C10", "capture does not take tcpdump's -C: give --rotate 10MB"),
        ("capture eth0 -G 60", "capture does not take tcpdump's -G: give --rotate 60s"),
        ("capture eth0 -C 1m", "capture does not take tcpdump's -C: give --rotate 100MB"),
        ("capture eth0 -W5", "capture does not take tcpdump's -W: give --keep 5"),
        ("capture eth0 -s=", "-s needs a value: -s SIZE"),
        ("capture eth0 -c1 -c 2", "-c is given twice"),
        ("capture eth0 -cx", "-c takes a whole number from 1 up, not 'x'"),
        ("capture", NO_PLACE),
        ("capture tcp port 80", NO_PLACE),
        ("capture eth0 -s 96 --whole-dns", "--whole-dns goes with -s headers only"),
        ("capture eth0,eth1", "'eth0,eth1' is not a place: separate places by blanks, as eth0 eth1"),
        ("capture eth0 eth1 eth0", "the place eth0 is given twice"),
        (
            "capture eth0 -i eth1",
            "'eth0' cannot begin an expression, and with -i all other words are one: if it is a place, give -i eth0",
        ),
        ("capture eth0 --rotate 1h", "--rotate needs a file: give -w FILE"),
        ("capture eth0 -w - --rotate 1h", "--rotate needs a file: give -w FILE"),
        ("capture eth0 -w a --keep 2", "--keep goes with --rotate only"),
        (
            "capture eth0 -w a --rotate 100",
            "'100' is neither a size nor a time: --rotate takes one such as 100MB or 1h",
        ),
        ("capture eth0 -s 1h", "'1h' is not a size: -s takes one such as 10M or 100kB"),
        ("capture eth0 -c 0", "-c takes a whole number from 1 up, not '0'"),
        ("capture eth0 --for soon", "'soon' is not a time: --for takes one such as 30s or 5min"),
        ("capture eth0 --bytes 1s", "'1s' is not a size: --bytes takes one such as 10M or 100kB"),
        ("capture eth0 --format erf", "'erf' is not a format: --format takes pcapng, pcap or pcap-nanos"),
        ("capture eth0 --in --out", "--in and --out exclude each other"),
        ("capture eth0 --follow", "capture does not know --follow: polycubectl capture --help lists its flags"),
        ("capture eth0 --force", "--force needs a file: give -w FILE"),
        ("capture eth0 --format pcap", "--format needs a file: give -w FILE"),
        ("capture eth0 --comment x", "--comment is a part of pcapng: write such a file, with -w FILE.pcapng"),
        ("capture eth0 --comment x -w a.pcap", "--comment is a part of pcapng: write such a file, with -w FILE.pcapng"),
        ("capture eth0 --bundle -w a.pcap", "--bundle is a part of pcapng: write such a file, with -w FILE.pcapng"),
        (
            "capture eth0 -w a.pcapng.gz",
            "capture does not compress: give -w a name without .gz, and compress the file later",
        ),
        (
            "capture eth0 -w %Y.pcapng --rotate 1h",
            "'%' in the name of a file stands for itself: --rotate numbers files, as trace-000001.pcapng",
        ),
        ("capture eth0 -c 1 -c 2", "-c is given twice"),
    ] {
        assert_eq!(order(&line.split(' ').collect::<Vec<_>>()).unwrap_err().to_string(), message, "{line}");
    }
}

#[test]
fn what_tcpdump_and_dumpcap_take_is_replaced_by_what_we_take() {
    for (flags, message) in [
        ("-XX", "capture does not take tcpdump's -XX: give -w - | tcpdump -nr - -XX"),
        ("-nnvv", "capture does not take tcpdump's -vv: give -w - | tcpdump -nr - -vv"),
        (
            "-r f.pcap",
            "capture does not take tcpdump's -r: read a file with tcpdump -nr FILE, and files of the daemon with \
                       polycubectl captures query",
        ),
        ("-Q in", "capture does not take tcpdump's -Q: give --in"),
        ("--direction=out", "capture does not take tcpdump's --direction: give --out"),
        ("-Q inout", "capture does not take tcpdump's -Q: give --in or --out"),
        ("-D", "capture does not take tcpdump's -D: polycubectl netdevs lists the netdevs"),
        ("--snaplen=96", "capture does not take tcpdump's --snaplen: give -s SIZE"),
        ("-b filesize:1", "capture does not take dumpcap's -b: give --rotate 10MB or --rotate 60s, and --keep 5"),
    ] {
        let line = format!("capture eth0 {flags}");
        let mistake = order(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
        assert_eq!((mistake.to_string().as_str(), mistake.hint()), (message, None), "{line}");
    }
    let found = capture("capture -lnni eth0 -U -p --immediate-mode -s 0 udp");
    assert_eq!((found.places, found.snaplen), (vec!["eth0".to_owned()], None));
}

#[test]
fn packets_of_a_file_wait_longer_for_keys() {
    let body = |line: &str| capture(line).request(false).body.unwrap();
    assert_eq!(body("capture eth0 --keys k -w x.pcapng")["keys-wait"], 1_000);
    assert_eq!(body("capture eth0 --keys k -w -")["keys-wait"], Value::Null);
    assert_eq!(body("capture eth0 -w x.pcapng")["keys-wait"], Value::Null);
}
