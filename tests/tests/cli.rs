//! Does `polycubectl` do what its users type, and report the outcome to them and to their scripts?

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::Result;
use polycube_tests::daemon::{Daemon, NOBODY, binary_dir, copy_program};
use polycube_tests::scene::Scene;
use serde_json::Value;

/// A daemon with `br1` (port `toveth1`, peer `veth1`) and `sniffer` attached to it; `veth2` is free.
fn site() -> Result<Scene> {
    Scene::set_up().peers(2).sniffed_port().start()
}

#[track_caller]
fn json(daemon: &Daemon, line: &str) -> Value {
    let text = daemon.ctl(line).ok();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("`{line}`: {error}: {text}"))
}

#[test]
fn what_changes_something_is_silent() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for line in [
        "sniffer set snaplen=80",
        "sniffer set capture=ingress snaplen=100",
        "br1 ports add p2",
        "connect br1:p2 veth2",
        "disconnect br1:p2 veth2",
        "br1 ports p2 set peer=veth2",
        "br1 fdb flush",
        "detach sniffer br1:toveth1",
        "attach sniffer br1:p2 position=first",
        "br1 ports del p2",
        "del sniffer",
    ] {
        let output = daemon.ctl(line);
        assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(0), "", ""), "{line}");
    }
    Ok(())
}

#[test]
fn exit_codes_and_streams() -> Result<()> {
    let mut scene = site()?;
    let daemon = &mut scene.daemon;
    let done = daemon.ctl("cubes show");
    assert!(done.code == Some(0) && !done.stdout.is_empty() && done.stderr.is_empty(), "{done}");

    let refused = daemon.ctl("simplebridge add br1").one_line(2);
    assert!(refused.starts_with("polycubectl: cube `br1` already exists"), "{refused}");
    let several = daemon.ctl("packetcapture add s2 snaplen=0 capture=both colour=red");
    assert_eq!((several.code, several.stdout.as_str(), several.stderr.lines().count()), (Some(2), "", 3), "{several}");

    for line in [
        "cubes -nonsense",
        "show add br1",
        "set",
        "sniffer set",
        "attach sniffer",
        "attach sniffer br1:toveth1 position=middle",
        "attach sniffer br1:toveth1 before=a after=b",
        "connect br1:toveth1",
        "br1 show key=value",
        "br1 set a=1 a=2",
        "br1 set a=1 path",
        "sniffer set capture=off -json",
        "../br1 .. show",
    ] {
        let output = daemon.ctl(line);
        let lines: Vec<_> = output.stderr.lines().collect();
        assert!(output.code == Some(64) && output.stdout.is_empty(), "{output}");
        assert!(lines.len() == 2 && lines[0].starts_with("polycubectl: "), "{output}");
        assert!(lines[1].starts_with("usage: polycubectl ") || lines[1] == "try: polycubectl --help", "{output}");
    }

    daemon.terminate()?;
    let absent = daemon.ctl("cubes show").one_line(1);
    assert!(absent.starts_with("polycubectl: no daemon answers at unix://"), "{absent}");
    assert!(absent.ends_with("start it with: sudo polycubed"), "{absent}");
    let elsewhere = daemon.ctl("--url http://127.0.0.1:1 cubes show").one_line(1);
    assert!(elsewhere.ends_with("start it with: sudo polycubed --addr A --port P"), "{elsewhere}");
    assert_eq!(daemon.ctl("--url nonsense cubes show").code, Some(64));
    for line in ["--help", "?", "attach ?", "--version"] {
        assert!(!daemon.ctl(line).ok().is_empty(), "{line} needs no daemon");
    }
    Ok(())
}

#[test]
fn refusals_name_commands_and_not_http() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (line, said) in [
        ("sniffer", "cube `sniffer` already exists; use `sniffer set`"),
        ("netdevs del veth1", "del does not work on `netdevs veth1`: it takes show"),
        ("sniffer loglevel", "`sniffer loglevel` takes a command: show, set, del"),
        ("packetcapture ad x", "cube `ad` does not exist; did you mean `add`?"),
        ("br1 shwo", "br1/shwo: there is no `shwo`; did you mean `show`?"),
        ("br1 dump", "cube `br1` has no packets to dump"),
        ("br1 watch", "cube `br1` has no packets to watch"),
    ] {
        let output = daemon.ctl(line).one_line(2);
        assert_eq!(output, format!("polycubectl: {said}"), "{line}");
    }
    Ok(())
}

#[test]
fn a_user_without_permission_for_the_socket_learns_who_has_it() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let directory = tempfile::tempdir()?;
    let program = copy_program("polycubectl", directory.path())?;
    let url = format!("unix://{}", daemon.socket().display());
    let output = Command::new(program)
        .args(["cubes", "show"])
        .uid(NOBODY)
        .gid(NOBODY)
        .env("POLYCUBECTL_URL", &url)
        .current_dir("/")
        .output()?;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let line = String::from_utf8(output.stderr)?;
    assert_eq!(line, format!("polycubectl: permission denied on {url}: run as root, or join group polycube\n"));
    Ok(())
}

#[test]
fn a_command_may_be_anywhere_in_its_line() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (one, other) in [
        ("sniffer show snaplen", "show sniffer snaplen"),
        ("br1 ports toveth1 show", "br1 show ports toveth1"),
        ("packetcapture sniffer show type", "sniffer type show"),
        ("sniffer show dump", "sniffer dump show"),
        ("cubes", "cubes show"),
        ("services", "show services"),
        ("topology", "topology show"),
    ] {
        assert_eq!(daemon.ctl(one).ok(), daemon.ctl(other).ok(), "{one}");
    }
    for line in ["add simplebridge b1", "simplebridge b2 add", "del b1", "b2 del", "del br1 ports toveth1"] {
        daemon.ctl(line).ok();
    }
    daemon.ctl("packetcapture del sniffer").ok();
    assert_eq!(json(daemon, "cubes show -json")["simplebridge"].as_array().map(Vec::len), Some(1));
    Ok(())
}

#[test]
fn values_may_contain_equals_signs_and_spaces() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for value in ["a=b", "tcp[13] == 2", "=", "x = y = z"] {
        let line = daemon.ctl_words(&["br1", "ports", "toveth1", "set", &format!("peer={value}")]).one_line(2);
        assert!(line.contains(&format!("netdev `{value}` does not exist")), "{line}");
    }
    for filter in ["tcp[13]==2", "tcp[13] == 2 or udp[0:2] = 53", "tcp[tcpflags] & (tcp-syn | tcp-ack) != 0"] {
        daemon.ctl_words(&["sniffer", "set", &format!("filter={filter}")]).ok();
        assert_eq!(daemon.ctl("sniffer show filter").ok(), format!("{filter}\n"));
        assert_eq!(daemon.ctl("sniffer filter show").ok(), format!("{filter}\n"));
    }
    daemon.ctl("br1 ports toveth1 set peer=").ok();
    assert_eq!(daemon.ctl("br1 ports toveth1 status show").ok(), "DOWN\n");
    Ok(())
}

#[test]
fn everything_can_be_shown() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (line, words) in [
        ("services show", &["packetcapture", "simplebridge", "transparent", "standard"][..]),
        ("services", &["packetcapture"]),
        ("services show packetcapture", &["name: packetcapture", "kind: transparent"]),
        ("cubes show", &["br1", "sniffer", "br1:toveth1"]),
        ("cubes", &["br1", "sniffer"]),
        ("cubes show br1", &["name: br1", "service-name: simplebridge", "toveth1", "veth1", "UP"]),
        ("netdevs show", &["lo", "veth1", "veth2"]),
        ("netdevs show veth1", &["name: veth1"]),
        ("topology", &["br1", "toveth1", "sniffer", "br1:toveth1"]),
        ("topology show", &["br1", "sniffer"]),
        ("sniffer show", &["name: sniffer", "capture: off", "snaplen: 262144", "no packets captured", "counters"]),
        ("sniffer show dump", &["no packets captured"]),
        ("sniffer filters show", &["src: unset", "l4proto: unset", "snaplen: 262144"]),
        ("sniffer show program", &["unset"]),
        ("sniffer program show", &["unset"]),
        ("br1 show fdb", &["aging-time: 5 min"]),
        ("br1 show -brief", &["ports: [1 item]"]),
        ("packetcapture show", &["sniffer"]),
        ("version", &["polycubectl:", "polycubed"]),
    ] {
        let text = daemon.ctl(line).ok();
        for word in words {
            assert!(text.contains(word), "`{line}`: {word:?} is not in\n{text}");
        }
    }
    assert_eq!(daemon.ctl("sniffer show snaplen").ok(), "262144\n");
    assert!(!daemon.ctl("topology").ok().contains("uuid"));
    assert!(!daemon.ctl("cubes show --all -hide=uuid").ok().contains("uuid"));
    let hidden = daemon.ctl("cubes show --all -hide=simplebridge.uuid").ok();
    assert_eq!(hidden.matches("uuid").count(), 1, "a dotted name hides only its own node:\n{hidden}");
    Ok(())
}

#[test]
fn a_stream_is_not_shown_but_dumped() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let line = daemon.ctl("sniffer show stream").one_line(2);
    assert!(line.contains("application/vnd.tcpdump.pcap") && line.contains("NAME dump to write it"), "{line}");
    Ok(())
}

#[test]
fn yaml_shows_what_json_shows() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    assert_eq!(daemon.ctl("br1 show fdb aging-time -yaml").ok(), "300\n");
    let yaml = daemon.ctl("br1 show ports -yaml").ok();
    assert!(yaml.starts_with("- name: toveth1\n  uuid: ") && yaml.contains("\n  peer: veth1\n"), "{yaml}");
    let settings = daemon.ctl("sniffer filters show -yaml").ok();
    assert_eq!(daemon.ctl_reading(&["sniffer", "filters", "set"], Some(&settings)).ok(), "", "it can be set again");
    Ok(())
}

/// What `polycubectl` prints on a terminal with that many columns.
fn on_terminal(daemon: &Daemon, columns: u16, line: &str) -> Result<String> {
    let program = binary_dir()?.join("polycubectl");
    let line = format!("stty cols {columns} rows 24; exec {} {line}", program.display());
    let output = daemon
        .host()
        .command("script")
        .args(["-qec", &line, "/dev/null"])
        .env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.replace('\r', ""))
}

#[test]
fn tables_fit_the_terminal() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for line in ["topology show -verbose", "cubes show", "br1 show", "netdevs show", "sniffer --help", "services show"]
    {
        let wide = daemon.ctl(line).ok();
        let narrow = on_terminal(daemon, 80, line)?;
        let longest = narrow.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "`{line}` needs {longest:?} columns:\n{narrow}");
        // Without room for a column of examples, they follow the descriptions.
        // Only the path of a file may be longer than the terminal.
        let fits = |word: &&str| *word != "Example" && (word.len() <= 60 || !word.contains('/'));
        for word in wide.split([' ', '\n', '|']).filter(fits) {
            assert!(narrow.contains(word), "{word} of `{line}` is broken or lost:\n{narrow}");
        }
        assert_eq!(on_terminal(daemon, 500, line)?, wide, "{line}");
    }
    let help = on_terminal(daemon, 70, "--help")?;
    assert!(help.lines().all(|line| line.chars().count() <= 70), "{help}");
    Ok(())
}

#[test]
fn json_is_for_programs() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    assert_eq!(json(daemon, "cubes show -json")["packetcapture"][0]["parent"], "br1:toveth1");
    assert_eq!(json(daemon, "br1 show -json")["ports"][0]["peer"], "veth1");
    assert_eq!(json(daemon, "sniffer show snaplen -json"), 262_144);
    assert_eq!(json(daemon, "topology show -json").as_array().map(Vec::len), Some(2));
    assert!(json(daemon, "netdevs show -json").as_array().is_some_and(|netdevs| netdevs.len() == 3));
    assert!(json(daemon, "services show -json").is_array());
    assert!(json(daemon, "version -json")["polycubed"]["version"].is_string());
    let (line, text) = ("br1 show -json", daemon.ctl("br1 show -json").ok());
    assert!(text.starts_with("{\n  \"name\": \"br1\""), "`{line}` is not indented by two: {text}");
    Ok(())
}

#[test]
fn the_address_comes_from_the_line_or_the_environment() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let url = format!("unix://{}", daemon.socket().display());
    daemon.ctl(&format!("--url {url} cubes show")).ok();
    daemon.ctl(&format!("cubes show --url={url}")).ok();
    let line = daemon.ctl("--url unix:///nowhere/s.sock cubes show").one_line(1);
    assert!(
        line.contains("unix:///nowhere/s.sock"),
        "the line's address has precedence over the environment's: {line}"
    );
    Ok(())
}

#[test]
fn a_token_is_required_and_accepted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let token = directory.path().join("token");
    fs::write(&token, "secret\n")?;
    fs::set_permissions(&token, Permissions::from_mode(0o600))?;
    let token = token.to_str().expect("the path is UTF-8");
    let scene = Scene::set_up().arguments(["--addr", "127.0.0.1", "--token-file", token]).start()?;
    let daemon = &scene.daemon;
    let refused = daemon.ctl("--url http://127.0.0.1:9000 cubes show");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""), "{refused}");
    assert!(refused.stderr.contains("--token-file or POLYCUBECTL_TOKEN"), "{refused}");
    daemon.ctl(&format!("--url http://127.0.0.1:9000 --token-file {token} cubes show")).ok();
    Ok(())
}
