//! Does bad input get one clear line, exit code 2, and nothing half-applied?

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use polycube_tests::daemon::{NOBODY, Output, attempt, attempt_as};
use polycube_tests::hook::programs_attached;
use polycube_tests::lab::Lab;
use polycube_tests::scene::{Scene, eventually};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

/// A daemon with a little of everything, for requests to leave alone.
struct Site {
    scene: Scene,
}

impl Site {
    /// `br1` with ports `p1` (peer `veth1`) and `p2`, `br2` with port `q1` (peer `veth2`), `sniffer` capturing at
    /// `br1:p1`, `spare` attached to nothing, and the unused `veth3`.
    fn build() -> Result<Self> {
        let commands = [
            "simplebridge add br1",
            "br1 ports add p1 peer=veth1",
            "br1 ports add p2",
            "simplebridge add br2",
            "br2 ports add q1 peer=veth2",
            "packetcapture add sniffer capture=bidirectional",
            "attach sniffer br1:p1",
            "packetcapture add spare",
        ];
        Ok(Self { scene: Scene::set_up().peers(3).commands(commands).start()? })
    }

    /// Asserts that each line is refused in one line that contains all of its words.
    #[track_caller]
    fn refuses(&self, cases: &[(&str, &[&str])]) {
        let before = self.scene.daemon.snapshot().expect("the daemon answers");
        assert!(!before.pins.is_empty() && !before.attached["veth1"].is_empty(), "{before:?}");
        for (line, about) in cases {
            refused(self.scene.daemon.ctl(line), about);
            let after = self.scene.daemon.snapshot().expect("the daemon answers");
            assert_eq!(after, before, "`{line}` was refused and left something behind");
        }
    }
}

#[track_caller]
fn refused(output: Output, about: &[&str]) {
    let words = output.words.join(" ");
    let line = output.one_line(2);
    for word in about {
        assert!(line.contains(word), "`{words}`: {word:?} is not in {line:?}");
    }
}

#[test]
fn what_does_not_exist() -> Result<()> {
    Site::build()?.refuses(&[
        ("simplebridg add br3", &["no cube and no service `simplebridg`", "did you mean `simplebridge`?"]),
        (
            "services show router",
            &["service `router` does not exist", "known: helloworld, packetcapture, simplebridge"],
        ),
        ("br3 show", &["no cube and no service `br3`", "did you mean `br"]),
        ("del br3", &["no cube and no service `br3`"]),
        ("packetcapture del sniffr", &["cube `sniffr` does not exist", "did you mean `sniffer`?"]),
        ("packetcapture br1 show", &["cube `br1` is of service simplebridge, not of packetcapture"]),
        ("cubes show br9", &["cube `br9` does not exist"]),
        ("br1 ports p9 show", &["port `p9` of cube `br1` does not exist", "did you mean `p1`?"]),
        ("br1 ports del p9", &["port `p9` of cube `br1` does not exist"]),
        ("br1 ports p9 set peer=veth3", &["port `p9` of cube `br1` does not exist"]),
        ("netdevs show veth9", &["netdev `veth9` does not exist", "did you mean `veth"]),
        ("br1 ports add p3 peer=veth9", &["br1/ports/p3/peer", "netdev `veth9` does not exist", "did you mean `veth"]),
        ("br1 ports p2 set peer=veth9", &["br1/ports/p2/peer", "netdev `veth9` does not exist"]),
        ("connect br1:p2 veth9", &["netdev `veth9` does not exist"]),
        ("connect br1:p9 veth3", &["port `p9` of cube `br1` does not exist"]),
        ("connect br9:p1 veth3", &["cube `br9` does not exist"]),
        ("attach spare veth9", &["netdev `veth9` does not exist", "did you mean `veth"]),
        ("attach spare br1", &["attach/port", "`br1` is a cube: name one of its ports, br1:PORT"]),
        ("connect br1:p2 br2", &["br1/ports/p2/peer", "`br2` is a cube: name one of its ports, br2:PORT"]),
        ("br1 fdb entry del 02:00:00:00:00:01", &["br1/fdb/entry/02:00:00:00:00:01", "there is no entry"]),
        ("attach spare br1:p9", &["port `p9` of cube `br1` does not exist"]),
        ("attach spare br9:p1", &["cube `br9` does not exist"]),
        ("attach sparre br1:p2", &["cube `sparre` does not exist", "did you mean `spare`?"]),
        ("attach spare br1:p1 before=nothing", &["cube `nothing` is not attached to br1:p1", "known: sniffer"]),
        ("attach spare br1:p2 after=sniffer", &["cube `sniffer` is not attached to br1:p2"]),
        ("detach sparre br1:p1", &["cube `sparre` does not exist"]),
    ]);
    Ok(())
}

#[test]
fn unknown_keys() -> Result<()> {
    Site::build()?.refuses(&[
        ("simplebridge add br3 color=red", &["br3/color", "unknown key `color`", "known: type, loglevel, ports, fdb"]),
        ("simplebridge add br3 fdb.aging-tim=3", &["br3/fdb/aging-tim", "did you mean `aging-time`?"]),
        ("sniffer set snapln=80", &["sniffer/snapln", "no `snapln`", "did you mean `snaplen`?"]),
        ("sniffer filters set srcc=10.0.0.0/8", &["sniffer/filters/srcc", "no `srcc`", "did you mean `src`?"]),
        ("sniffer set program=tcp", &["sniffer/program", "`program` is read-only"]),
        ("sniffer set snaplen=80 colour=red", &["sniffer/colour", "unknown key `colour`"]),
        ("br1 ports add p3 pear=veth3", &["br1/ports/p3/pear", "unknown key `pear`", "did you mean `peer`?"]),
        ("br1 ports p2 set pear=veth3", &["br1/ports/p2/pear"]),
        ("br1 fdb flsh", &["br1/fdb/flsh", "no `flsh`", "did you mean `flush`?"]),
        ("br1 fdb entries show", &["no `fdb entries`", "known: aging-time, entry"]),
        ("br1 ports p1 mac show", &["no `ports p1 mac`", "name, uuid, status, reason, peer, netdev"]),
        ("sniffer set uuid=1", &["sniffer/uuid", "`uuid` is read-only"]),
        ("sniffer set name=other", &["sniffer/name", "`name` is read-only"]),
        ("sniffer set parent=veth3", &["sniffer/parent", "`parent` is read-only"]),
        ("br1 set parent=veth3 loglevel=info", &["br1/parent", "unknown key `parent`"]),
        ("packetcapture add s2 points=1", &["s2/points", "`points` is read-only"]),
        ("br1 colour a=b", &["br1/colour", "no `colour`", "counters, port-counters"]),
        ("br1 fdb flush set a=b", &["br1/fdb/flush/a", "`fdb flush` is an action: nothing follows it"]),
        ("sniffer set status=here", &["sniffer/status", "`status` is read-only"]),
        ("sniffer set dump=/tmp/", &["sniffer/dump", "`/tmp/` does not name a file"]),
        ("br1 ports p1 set status=DOWN", &["br1/ports/p1/status", "read-only"]),
    ]);
    Ok(())
}

#[test]
fn bad_values_and_types() -> Result<()> {
    Site::build()?.refuses(&[
        ("sniffer set capture=both", &["sniffer/capture", "\"both\"", "off, ingress, egress, bidirectional"]),
        ("sniffer set capture=1", &["sniffer/capture", "off, ingress, egress, bidirectional"]),
        ("sniffer set snaplen=0", &["sniffer/snaplen", "0 is less than the minimum of 1"]),
        ("sniffer set snaplen=262145", &["sniffer/snaplen", "262145 is greater than the maximum of 262144"]),
        ("sniffer set snaplen=-1", &["sniffer/snaplen", "-1 is less than the minimum of 1"]),
        ("sniffer set snaplen=1.5", &["sniffer/snaplen", "1.5 is not of types \"integer\", \"string\""]),
        (
            "sniffer set snaplen=many",
            &["sniffer/snaplen", "\"many\" does not have the right form: write it like 96, headers"],
        ),
        ("sniffer set snaplen=99999999999999999999", &["sniffer/snaplen"]),
        ("sniffer filters set snaplen=0", &["snaplen", "0 is less than the minimum of 1"]),
        (
            "sniffer filters set src=10.0.0.0/33",
            &["sniffer/filters/src", "`10.0.0.0/33` is not a prefix", "10.10.10.0/24"],
        ),
        ("sniffer filters set dst=everybody", &["sniffer/filters/dst", "`everybody` is not a prefix"]),
        ("sniffer filters set sport=65536", &["sniffer/filters/sport", "65536 is greater than the maximum of 65535"]),
        ("sniffer filters set dport=-1", &["sniffer/filters/dport", "-1 is less than the minimum of 0"]),
        ("sniffer filters set dport=http", &["sniffer/filters/dport", "\"http\" is not of type"]),
        (
            "sniffer filters set l4proto=tpc",
            &["sniffer/filters/l4proto", "\"tpc\" does not have the right form", "icmpv6, sctp"],
        ),
        ("sniffer filters set l4proto=256", &["sniffer/filters/l4proto", "from 0 to 255"]),
        ("sniffer set ring-size=3", &["sniffer/ring-size", "3 is not one of 1, 2, 4, 8, 16, 32, 64"]),
        ("sniffer set loglevel=loud", &["sniffer/loglevel", "TRACE, DEBUG, INFO, WARN, ERR, CRITICAL, OFF"]),
        ("sniffer set type=XDP_SKB", &["sniffer/type", "\"XDP_SKB\" is not TC, which is the only value"]),
        ("packetcapture add s2 type=XDP_DRV", &["s2/type", "\"XDP_DRV\" is not TC, which is the only value"]),
        ("packetcapture add s2 capture=yes", &["s2/capture", "off, ingress, egress, bidirectional"]),
        ("br1 set fdb.aging-time=soon loglevel=info", &["br1/fdb/aging-time", "`soon` is not a time: give seconds"]),
        ("br1 fdb set aging-time=4294967296", &["br1/fdb/aging-time", "greater than the maximum of 4294967295"]),
        ("br1 fdb entry add zz port=p1", &["br1/fdb/entry/zz/address", "\"zz\"", "like 02:00:5e:10:00:01"]),
        ("br1 fdb entry add 02:00:00:00:00:01", &["br1/fdb/entry", "`port` is missing"]),
        ("br1 fdb entry add 02:00:00:00:00:01 port=p9", &["names port `p9`, which is not among p1, p2"]),
        ("br1 fdb entry add ff:ff:ff:ff:ff:ff port=p1", &["is not the address of a station"]),
    ]);
    Ok(())
}

#[test]
fn filters_that_contradict_themselves() -> Result<()> {
    Site::build()?.refuses(&[
        (
            "sniffer filters set src=10.0.0.1/8 dst=2001:db8::1/32",
            &[
                "sniffer/filters",
                "src=10.0.0.1/8 and dst=2001:db8::1/32 are of different families",
                "clear one of them",
            ],
        ),
        ("packetcapture add s2 filters.src=::1 filters.dst=10.0.0.1", &["s2/filters", "different families"]),
        ("sniffer filters set src=10.0.0.1 l4proto=icmpv6", &["sniffer/filters", "not carried by the family"]),
        ("sniffer filters set sport=80 l4proto=icmp", &["sniffer/filters", "l4proto=icmp has no ports"]),
    ]);
    Ok(())
}

#[test]
fn expressions_that_libpcap_rejects() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    for (expression, about) in [
        ("host 1.2.3.4 andd port 80", "syntax error at `andd`, character 14 of `host 1.2.3.4 andd port 80`"),
        ("tcp and", "syntax error at the end of `tcp and`"),
        ("port 65536", "at `65536`, character 6"),
        ("wlan type data", "`wlan type data`"),
    ] {
        let filter = format!("filter={expression}");
        refused(site.scene.daemon.ctl_words(&["sniffer", "set", &filter]), &["sniffer/filter: ", about]);
        refused(site.scene.daemon.ctl_words(&["packetcapture", "add", "s2", &filter]), &["s2/filter: ", about]);
        assert_eq!(site.scene.daemon.snapshot()?, before, "{expression}");
    }
    Ok(())
}

#[test]
fn invalid_names() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let long = "x".repeat(65);
    let names: [(&str, &str); 16] = [
        ("a\u{200b}b", "contains the invisible character U+200B"),
        ("a\u{202e}b", "contains the invisible character U+202E"),
        ("a\u{2067}b", "contains the invisible character U+2067"),
        ("\u{3164}", "contains the invisible character U+3164"),
        ("\u{301}a", "begins with a combining mark"),
        ("cafe\u{301}", r#"is not in Unicode's normalization form C: send it as "caf\u{e9}""#),
        ("a/b", "contains '/'"),
        ("a\nb", "contains '\\n'"),
        ("a\u{7f}", "contains '\\u{7f}'"),
        ("a b", "contains ' '"),
        ("a:b", "contains ':'"),
        ("a,b", "contains ','"),
        (".hidden", "begins with"),
        (&long, "has 65 bytes: 64 are the most"),
        ("cubes", "is a word of the API"),
        ("packetcapture", "is the name of a service"),
    ];
    for (name, reason) in names {
        refused(site.scene.daemon.ctl_words(&["simplebridge", "add", name]), &["name", reason]);
        refused(site.scene.daemon.ctl_words(&["packetcapture", "add", name]), &["name", reason]);
    }
    for (name, reason) in &names[..14] {
        refused(site.scene.daemon.ctl_words(&["br1", "ports", "add", name]), &["port name", reason]);
    }
    refused(site.scene.daemon.ctl_words(&["attach", "spare", "br1:a/b"]), &["port name", "contains '/'"]);
    // The same over HTTP, where `%2f` is part of a name, not of the path.
    for path in [
        "simplebridge/a%2fb/",
        "simplebridge/a%00b/",
        "simplebridge/%0a/",
        "br1/ports/a%2Fb/",
        "simplebridge/a%e2%80%ae/",
    ] {
        let response = site.scene.daemon.http("POST", &format!("/polycube/v1/{path}"), Some(&json!({})))?;
        assert_eq!(response.status, 400, "{path}: {}", response.text());
    }
    let response = site.scene.daemon.http("POST", "/polycube/v1/simplebridge/", Some(&json!({ "name": "a/b" })))?;
    assert_eq!(response.status, 400, "{}", response.text());
    assert_eq!(site.scene.daemon.snapshot()?, before);
    site.scene.daemon.ctl_words(&["simplebridge", "add", &"x".repeat(64)]).ok();
    Ok(())
}

#[test]
fn what_already_exists_or_is_in_use() -> Result<()> {
    Site::build()?.refuses(&[
        ("simplebridge add br1", &["cube `br1` already exists", "choose another name or delete it first"]),
        ("packetcapture add br1", &["cube `br1` already exists (service simplebridge)"]),
        ("br1 ports add p1", &["br1/ports/p1", "port `p1` of cube `br1` already exists"]),
        ("br1 ports add p3 peer=veth1", &["netdev `veth1` is already the peer of br1:p1", "disconnect it there first"]),
        ("br1 ports p2 set peer=veth2", &["netdev `veth2` is already the peer of br2:q1"]),
        ("br1 ports add p3 peer=veth2", &["netdev `veth2` is already the peer of br2:q1"]),
        ("connect br1:p2 veth1", &["netdev `veth1` is already the peer of br1:p1"]),
        ("connect veth2 br1:p2", &["netdev `veth2` is already the peer of br2:q1"]),
        ("connect br1:p1 veth3", &["br1:p1 already has a peer, veth1", "disconnect it first"]),
        ("connect br1:p1 veth1", &["br1:p1 already has a peer, veth1"]),
    ]);
    Ok(())
}

#[test]
fn attachments_and_links_that_make_no_sense() -> Result<()> {
    Site::build()?.refuses(&[
        ("attach sniffer br1:p1", &["already attached to br1:p1", "detach it first"]),
        ("attach sniffer br1:p1 position=first", &["already attached to br1:p1"]),
        ("attach sniffer br1:p1 after=sniffer", &["already attached to br1:p1"]),
        ("attach spare br1:p1 after=spare", &["cube `spare` is not attached to br1:p1"]),
        ("attach br2 br1:p2", &["cube `br2` (service simplebridge) is not transparent", "connect its ports instead"]),
        ("attach br2 veth3", &["is not transparent"]),
        ("attach spare sniffer:p1", &["cube `sniffer` is transparent and has no ports"]),
        ("detach spare br1:p1", &["cube `spare` is not attached to anything"]),
        ("detach spare veth3", &["cube `spare` is not attached to anything"]),
        ("detach sniffer br1:p2", &["cube `sniffer` is not attached to br1:p2, but to br1:p1"]),
        ("detach sniffer veth1", &["cube `sniffer` is not attached to veth1, but to br1:p1"]),
        ("detach br2 veth2", &["cube `br2` is not attached to anything"]),
        ("sniffer ports add p1", &["cube `sniffer` (service packetcapture) is transparent and has no ports"]),
        ("sniffer ports add p1 peer=veth3", &["is transparent and has no ports"]),
        ("connect sniffer:p1 veth3", &["is transparent and has no ports"]),
        ("connect br1:p2 br2:q1", &["br2:q1 already has a peer, veth2"]),
        ("connect veth3 veth1", &["neither veth3 nor veth1 is a port", "CUBE:PORT"]),
        ("disconnect br1:p1 veth3", &["br1:p1 is not connected to veth3"]),
        ("disconnect br1:p2 veth3", &["br1:p2 is not connected to veth3"]),
        ("disconnect veth1 veth2", &["neither veth1 nor veth2 is a port"]),
    ]);
    Ok(())
}

#[test]
fn where_a_port_is_named_cubes_without_ports_are_not_offered() -> Result<()> {
    let site = Site::build()?;
    for line in ["attach spare foo:p1", "packetcapture add s2 parent=foo:p1", "br1 ports p2 set peer=foo:p1"] {
        let said = site.scene.daemon.ctl(line).one_line(2);
        assert!(said.ends_with("cube `foo` does not exist; known: br1, br2"), "{line}: {said}");
    }
    Ok(())
}

#[test]
fn attaching_before_there_is_a_peer_works() -> Result<()> {
    let site = Site::build()?;
    site.scene.daemon.ctl("spare set capture=ingress").ok();
    site.scene.daemon.ctl("attach spare br1:p2").ok();
    assert_eq!(programs_attached(site.scene.lab.host(), "veth3")?, []);
    site.scene.daemon.ctl("connect br1:p2 veth3").ok();
    assert_eq!(programs_attached(site.scene.lab.host(), "veth3")?.len(), 1);
    Ok(())
}

/// A directory takes no file in three cases: it is not a directory, it does not exist, or it is read-only.
#[test]
fn a_capture_directory_that_cannot_be_written() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let (file, absent, sealed) =
        (temporary.path().join("file"), temporary.path().join("absent"), temporary.path().join("sealed"));
    std::fs::write(&file, "")?;
    std::fs::create_dir(&sealed)?;
    mount("tmpfs", &sealed, "tmpfs", MountFlags::RDONLY, None)?;
    for directory in [&file, &absent, &sealed] {
        let path = directory.to_str().expect("the path is UTF-8");
        let commands = [
            "simplebridge add br1",
            "br1 ports add p1 peer=veth1",
            "packetcapture add on capture=bidirectional",
            "packetcapture add off",
            "attach off br1:p1",
        ];
        let scene = Scene::set_up().peers(1).arguments(["--capture-dir", path]).commands(commands).start()?;
        let daemon = &scene.daemon;
        let before = daemon.snapshot()?;
        for line in
            ["off set capture=ingress", "attach on br1:p1", "attach on veth1", "attach on br1:p1 position=first"]
        {
            refused(daemon.ctl(line), &["capture directory", path, "cannot be written", "--capture-dir"]);
            assert_eq!(daemon.snapshot()?, before, "`{line}`");
        }
        if directory == &absent {
            std::fs::create_dir(&absent)?;
            daemon.ctl("attach on br1:p1").ok();
            assert_eq!(programs_attached(daemon.host(), "veth1")?.len(), 2);
        }
    }
    unmount(&sealed, UnmountFlags::DETACH)?;
    Ok(())
}

/// Refused changes leave nothing that disturbs a later change.
#[test]
fn everything_still_works_after_many_refusals() -> Result<()> {
    let site = Site::build()?;
    for line in ["attach spare br1:p9", "simplebridge add br3 color=red", "br1 ports add p3 peer=veth9"] {
        site.scene.daemon.ctl(line).fails(2);
    }
    for line in [
        "simplebridge add br3",
        "br1 ports add p3 peer=veth3",
        "attach spare br1:p3",
        "spare set capture=bidirectional",
        "del sniffer",
        "del spare",
        "del br1",
        "del br2",
        "del br3",
    ] {
        site.scene.daemon.ctl(line).ok();
    }
    assert_eq!(site.scene.daemon.pins()?, Vec::<std::path::PathBuf>::new());
    for netdev in ["veth1", "veth2", "veth3"] {
        eventually("free hooks", || Ok(programs_attached(site.scene.lab.host(), netdev)?.is_empty()))?;
    }
    Ok(())
}

/// Asserts that a daemon that cannot start says why in one line, and exits.
#[track_caller]
fn does_not_start(output: Output, code: i32, about: &[&str]) {
    let line = output.one_line(code);
    assert!(line.starts_with("polycubed: "), "{line}");
    for word in about {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

#[test]
fn a_daemon_without_capabilities() -> Result<()> {
    let lab = Lab::new()?;
    does_not_start(attempt_as(&lab, NOBODY, &[])?, 1, &["lacks CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF", "sudo"]);
    Ok(())
}

#[test]
fn a_daemon_with_invalid_options() -> Result<()> {
    let lab = Lab::new()?;
    let temporary = tempfile::tempdir()?;
    let file = temporary.path().join("file");
    std::fs::write(&file, "")?;
    let file = file.to_str().expect("the path is UTF-8");
    let directory = temporary.path().to_str().expect("the path is UTF-8");
    let cases: [(&[&str], i32, &[&str]); 15] = [
        (&["--logg", "info"], 64, &["--logg", "'--log'", "polycubed --help"]),
        (&["start"], 64, &["'start'", "polycubed --help"]),
        (&["--port", "70000"], 64, &["70000", "--port"]),
        (&["--addr", "localhost"], 64, &["localhost", "--addr"]),
        (&["--no-auth", "--token-file", file], 64, &["--no-auth", "--token-file"]),
        (&["--log", "loud"], 1, &["--log", "loud", "debug"]),
        (&["--log", ""], 1, &["--log", "debug"]),
        (&["--log", "polycubed=loud"], 1, &["--log", "polycubed=loud"]),
        (&["--bpffs", directory], 1, &[directory, "not in a bpf filesystem", "mount -t bpf"]),
        (&["--bpffs", &format!("{directory}/bpf/polycube")], 1, &["not in a bpf filesystem", "mount -t bpf"]),
        (&["--state-dir", file], 1, &["--state-dir", file]),
        (&["--plugin-dir", "/nowhere"], 1, &["plugin directory /nowhere"]),
        (&["--addr", "127.0.0.1"], 1, &["--token-file", "--no-auth"]),
        (&["--no-auth"], 1, &["--addr or --port"]),
        (&["--socket", &format!("{file}/s.sock")], 1, &["cannot listen on", file]),
    ];
    for (more, code, about) in cases {
        does_not_start(attempt(&lab, more)?, code, about);
    }
    Ok(())
}

#[test]
fn a_daemon_with_an_unusable_token_file() -> Result<()> {
    let lab = Lab::new()?;
    let temporary = tempfile::tempdir()?;
    let token = temporary.path().join("token");
    let path = token.to_str().expect("the path is UTF-8").to_owned();
    let tcp = ["--addr", "127.0.0.1", "--port", "0", "--token-file", &path];
    does_not_start(attempt(&lab, &tcp)?, 1, &["token file", &path, "No such file"]);
    std::fs::write(&token, "")?;
    std::fs::set_permissions(&token, Permissions::from_mode(0o600))?;
    does_not_start(attempt(&lab, &tcp)?, 1, &[&path, "is empty", "first line"]);
    std::fs::write(&token, "secret\n")?;
    std::fs::set_permissions(&token, Permissions::from_mode(0o644))?;
    does_not_start(attempt(&lab, &tcp)?, 1, &[&path, "everybody", "chmod 640"]);
    std::fs::set_permissions(&token, Permissions::from_mode(0o600))?;
    std::fs::write(&token, b"\xff\xfe\n")?;
    does_not_start(attempt(&lab, &tcp)?, 1, &["token file", &path]);
    Ok(())
}

/// Whatever the second shares with the first, the first continues undisturbed.
#[test]
fn a_second_daemon_in_the_same_place() -> Result<()> {
    let site = Site::build()?;
    let before = site.scene.daemon.snapshot()?;
    let pid = site.scene.daemon.pid().map(|pid| format!("pid {pid}")).unwrap_or_default();
    let (state, socket, bpffs) =
        (site.scene.daemon.state_dir(), site.scene.daemon.socket(), site.scene.daemon.bpffs_dir());
    let cases: [(&str, &Path, &[&str]); 3] = [
        ("--state-dir", &state, &["already uses", &pid, "--state-dir another"]),
        ("--socket", &socket, &["another polycubed answers there", "--socket another"]),
        ("--bpffs", &bpffs, &["another polycubed", "--bpffs another"]),
    ];
    for (option, path, about) in cases {
        let path = path.to_str().expect("the path is UTF-8");
        does_not_start(attempt(&site.scene.lab, &[option, path])?, 1, &[about, &[path][..]].concat());
        assert_eq!(site.scene.daemon.snapshot()?, before, "{option}");
    }
    Ok(())
}
