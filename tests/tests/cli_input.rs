//! Does `polycubectl` take its input from every source: standard input, a file, the environment?

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polycube_tests::daemon::{Daemon, binary_dir};
use polycube_tests::scene::Scene;
use serde_json::{Value, json};

/// A daemon with nothing in it; `veth1` and `veth2` are free.
fn site() -> Result<Scene> {
    Scene::set_up().peers(2).start()
}

#[track_caller]
fn get(daemon: &Daemon, path: &str) -> Value {
    let response = daemon.http("GET", &format!("/polycube/v1/{path}"), None).expect("an answer");
    assert_eq!(response.status, 200, "{}", response.text());
    response.json().expect("JSON")
}

/// `polycubectl` with a standard input other than the kit's.
fn ctl(daemon: &Daemon, words: &[&str], stdin: impl Into<Stdio>) -> Result<Output> {
    let mut command = daemon.host().command(binary_dir()?.join("polycubectl"));
    command.args(words).env("HOME", "/nonexistent").env_remove("XDG_CONFIG_HOME").stdin(stdin);
    command.env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()));
    command.output().context("cannot run polycubectl")
}

#[track_caller]
fn succeeded(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.is_empty() && said.is_empty(), "{output:?}: {said}");
}

const SITE: &str = "\
- name: sniffer
  service-name: packetcapture
  capture: ingress
  filters:
    dport: 80
  parent: br1:p1
- name: br1
  service-name: simplebridge
  fdb:
    aging-time: 60
  ports:
  - name: p1
    peer: veth1
  - name: p2
";

#[test]
fn several_cubes_are_one_change() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("cubes.yaml");
    fs::write(&file, SITE)?;
    succeeded(&ctl(daemon, &["cubes", "add"], File::open(&file)?)?);
    assert_eq!(get(daemon, "sniffer/parent"), "br1:p1", "a cube may name one that comes later");
    assert_eq!(get(daemon, "sniffer/filters/dport"), 80);
    assert_eq!(get(daemon, "br1/ports/p1/peer"), "veth1");
    assert_eq!(get(daemon, "br1/fdb/aging-time"), 60);

    let said = daemon.ctl_reading(&["cubes", "add"], Some(SITE)).fails(2);
    assert!(said.contains("cube `sniffer` already exists") && said.contains("cube `br1` already exists"), "{said}");
    let json = r#"[{"name": "b2", "service-name": "simplebridge", "ports": [{"name": "a", "peer": "veth2"}]}]"#;
    assert_eq!(daemon.ctl_reading(&["add", "cubes"], Some(json)).ok(), "");
    assert_eq!(get(daemon, "b2/ports/a/peer"), "veth2");
    let json = r#"[{"name": "s2", "service-name": "packetcapture", "parents": ["br1:p1", "b2:a"]}]"#;
    daemon.ctl_reading(&["add", "cubes"], Some(json)).ok();
    assert_eq!(get(daemon, "s2/parents"), json!(["br1:p1", "b2:a"]));
    Ok(())
}

/// Asserts that no cube of a list is created, and what each line of the refusal says.
#[track_caller]
fn check_refused(daemon: &Daemon, cubes: &Value, reasons: &[&str]) {
    let output = daemon.ctl_reading(&["cubes", "add"], Some(&cubes.to_string()));
    let lines: Vec<&str> = output.stderr.lines().collect();
    assert!(output.code == Some(2) && lines.len() == reasons.len(), "{output}");
    for (line, reason) in lines.iter().zip(reasons) {
        assert!(line.contains(reason), "{reason:?} is not in {line:?}");
    }
    assert_eq!(get(daemon, "cubes/"), json!({}), "{cubes} left something behind");
}

#[test]
fn several_cubes_are_all_created_or_none() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let bridge = |name: &str, peer: &str| json!({"name": name, "service-name": "simplebridge", "ports": [{"name": "p", "peer": peer}]});
    let sniffer = |parent: &str| json!({"name": "s", "service-name": "packetcapture", "parent": parent});
    check_refused(daemon, &json!({"name": "b"}), &["the body is a list of cubes"]);
    check_refused(
        daemon,
        &json!([7, {"name": [1]}, bridge("ok", "veth1"), {"name": "b", "service-name": "bridge"}]),
        &[
            "cubes/0: a cube is an object",
            "cubes/1/name: `name` is a string",
            "`service-name` is missing",
            "service `bridge` does not exist",
        ],
    );
    check_refused(daemon, &json!([bridge("b", "veth1"), bridge("b", "veth2")]), &["cube `b` already exists"]);
    check_refused(
        daemon,
        &json!([bridge("b", "veth1"), bridge("c", "veth1")]),
        &["`veth1` is already the peer of b:p"],
    );
    check_refused(daemon, &json!([bridge("b", "veth1"), bridge("c", "veth9")]), &["netdev `veth9` does not exist"]);
    check_refused(daemon, &json!([bridge("b", "veth1"), sniffer("b:q")]), &["port `q` of cube `b` does not exist"]);
    check_refused(daemon, &json!([bridge("b", "veth1"), sniffer("veth9")]), &["netdev `veth9` does not exist"]);
    check_refused(
        daemon,
        &json!([sniffer("veth1"), {"name": "c", "service-name": "packetcapture", "snaplen": 0, "x": 1}]),
        &["unknown key `x`", "snaplen: 0 is less than"],
    );
    let port = json!({"name": "p", "peer": 5, "x": 1});
    check_refused(
        daemon,
        &json!([{"name": "b", "service-name": "simplebridge", "ports": [port]}, sniffer("b:p:q")]),
        &["b/ports/p/x: unknown key `x`", "b/ports/p/peer: netdev `5` does not exist"],
    );
    check_refused(daemon, &json!([sniffer("a:b:c")]), &["s/parent: port name \"b:c\" contains ':'"]);
    let both = json!({"name": "s", "service-name": "packetcapture", "parent": "veth1", "parents": ["veth2"]});
    check_refused(daemon, &json!([both]), &["s/parents: `parent` and `parents` say different things"]);
    let parents = |parents: Value| json!({"name": "s", "service-name": "packetcapture", "parents": parents});
    check_refused(daemon, &json!([parents(json!([1]))]), &["s/parents: `parents` is a list of strings"]);
    check_refused(daemon, &json!([parents(json!(["veth1", "veth9"]))]), &["s/parents: netdev `veth9` does not exist"]);
    assert!(daemon.pins()?.is_empty(), "{:?}", daemon.pins()?);
    Ok(())
}

#[test]
fn a_list_that_is_too_large_is_refused_with_the_daemons_message() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let cubes = json!([{"name": "x".repeat(3 << 20), "service-name": "simplebridge"}]).to_string();
    for _ in 0..10 {
        let line = daemon.ctl_reading(&["cubes", "add"], Some(&cubes)).one_line(2);
        assert!(line.contains("the body is larger than 1048576 bytes"), "{line}");
    }
    Ok(())
}

#[test]
fn a_body_may_come_from_a_file_or_a_pipe() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("body");
    let from_file = |words: &[&str], text: &str| -> Result<()> {
        fs::write(&file, text)?;
        succeeded(&ctl(daemon, words, File::open(&file)?)?);
        Ok(())
    };
    from_file(&["simplebridge", "add", "br1"], "{\n\t\"ports\": [{\"name\": \"p1\"}]\n}")?;
    assert_eq!(get(daemon, "br1/ports/p1/peer"), "");
    from_file(&["br1", "set"], "{\"fdb\": {\"aging-time\": 7}}")?;
    assert_eq!(get(daemon, "br1/fdb/aging-time"), 7);
    from_file(&["br1", "ports", "p1", "set"], "peer: veth1\n")?;
    assert_eq!(get(daemon, "br1/ports/p1/peer"), "veth1");

    assert_eq!(daemon.ctl_reading(&["packetcapture", "add", "sniffer"], Some("capture: off\nsnaplen: 80\n")).ok(), "");
    assert_eq!(get(daemon, "sniffer/snaplen"), 80);
    assert_eq!(daemon.ctl_reading(&["sniffer", "filters", "set"], Some("src: 10.0.0.0/8\ndport: 53")).ok(), "");
    assert_eq!(get(daemon, "sniffer/filters/dport"), 53);
    assert_eq!(daemon.ctl_reading(&["sniffer", "set", "snaplen=96"], Some("snaplen: 1")).ok(), "");
    assert_eq!(get(daemon, "sniffer/snaplen"), 96, "key=value on the line is the whole body");
    Ok(())
}

#[test]
fn empty_standard_input_means_no_body() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let (silent, _held) = std::io::pipe()?;
    let directory = tempfile::tempdir()?;
    let empty = directory.path().join("empty");
    fs::write(&empty, "")?;
    let started = Instant::now();
    for (name, stdin) in [
        ("null", Stdio::null()),
        ("empty", File::open(&empty)?.into()),
        ("ended", Stdio::piped()),
        ("silent", OwnedFd::from(silent).into()),
    ] {
        succeeded(&ctl(daemon, &["simplebridge", "add", name], stdin)?);
        assert_eq!(get(daemon, &format!("{name}/name")), name);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "a silent pipe is not waited for");

    let ctl = binary_dir()?.join("polycubectl");
    let line = format!("exec {} simplebridge add closed <&-", ctl.display());
    let url = format!("unix://{}", daemon.socket().display());
    succeeded(&daemon.host().command("sh").args(["-c", &line]).env("POLYCUBECTL_URL", url).output()?);
    assert_eq!(get(daemon, "closed/name"), "closed");

    for words in [["null", "set"], ["cubes", "add"]] {
        let output = daemon.ctl_words(&words);
        assert!(output.code == Some(64) && output.stderr.contains("standard input"), "{output}");
    }
    Ok(())
}

#[test]
fn the_input_of_a_shells_loop_is_left_alone() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let directory = tempfile::tempdir()?;
    let names = directory.path().join("names");
    fs::write(&names, "b1\nb2\nb3\n")?;
    let ctl = binary_dir()?.join("polycubectl").display().to_string();
    let url = format!("unix://{}", daemon.socket().display());
    let names = names.display();
    let add = format!("while read -r name; do {ctl} simplebridge add $name || exit 1; done");
    let del = format!("for name in b1 b2 b3; do {ctl} del $name || exit 1; done");
    for (of, line) in [
        ("a file", format!("{add} < {names}; {del}")),
        ("a pipe", format!("cat {names} | {{ {add}; }}; {del}")),
        (
            "a pipe, an action",
            format!(
                "{ctl} simplebridge add b0; cat {names} | while read -r name; do {ctl} b0 fdb flush || exit 1; {ctl} simplebridge add $name || exit 1; done; {del}; {ctl} del b0"
            ),
        ),
        ("a here-document", format!("{add} <<END\nb1\nb2\nb3\nEND\n{del}")),
    ] {
        let output = daemon.host().command("sh").args(["-c", &line]).env("POLYCUBECTL_URL", &url).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{of}: {said}");
        assert_eq!(get(daemon, "cubes/"), json!({}), "{of}: all three were created and deleted");
    }
    Ok(())
}

#[test]
fn a_dash_takes_whatever_is_there() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    daemon.ctl_reading(&["simplebridge", "add", "b1", "-"], Some("{\"fdb\": {\"aging-time\": 7}}")).ok();
    assert_eq!(get(daemon, "b1/fdb/aging-time"), 7);
    daemon.ctl_reading(&["b1", "set", "-"], Some("fdb: {aging-time: 8}\n")).ok();
    assert_eq!(get(daemon, "b1/fdb/aging-time"), 8);
    let said = daemon.ctl_reading(&["simplebridge", "add", "b2", "-"], Some("")).one_line(64);
    assert_eq!(said, "polycubectl: standard input has no configuration in it");
    let said = daemon.ctl_reading(&["simplebridge", "add", "b2", "-"], Some("b3 b4\n")).one_line(2);
    assert!(said.contains("the body is not a JSON object"), "{said}");
    assert_eq!(daemon.ctl_reading(&["b1", "show", "-"], Some("{}")).code, Some(64));
    Ok(())
}

/// Asserts that a cube, deleted, is made again by what `show -json` printed of it.
#[track_caller]
fn check_read_back(daemon: &Daemon, service: &str, cube: &str) {
    let saved = daemon.ctl("config save").ok();
    let shown = daemon.ctl_words(&[cube, "show", "-json"]).ok();
    daemon.ctl_words(&["del", cube]).ok();
    assert_ne!(daemon.ctl("config save").ok(), saved);
    assert_eq!(daemon.ctl_reading(&[service, "add", cube], Some(&shown)).ok(), "");
    assert_eq!(daemon.ctl("config save").ok(), saved, "{cube}");
    let uuid: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(get(daemon, &format!("{cube}/uuid")), uuid["uuid"]);
}

#[test]
fn what_is_shown_of_a_cube_makes_it_again() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for line in [
        "simplebridge add br1 loglevel=DEBUG fdb.aging-time=60",
        "br1 ports add p1 peer=veth1",
        "br1 ports add p2",
        "br1 fdb entry add 02:00:00:00:00:01 port=p1",
        "packetcapture add sniffer snaplen=96 filters.dport=80 capture=ingress anonimize=true dump=mine",
        "attach sniffer veth2",
    ] {
        daemon.ctl(line).ok();
    }
    check_read_back(daemon, "packetcapture", "sniffer");
    check_read_back(daemon, "simplebridge", "br1");

    let shown = daemon.ctl("br1 show -json").ok();
    let said = daemon.ctl_reading(&["simplebridge", "add", "br2"], Some(&shown)).one_line(2);
    assert!(said.contains("the name is `br2` in the path and \"br1\" in the body"), "{said}");
    daemon.ctl("del br1").ok();
    let said = daemon.ctl_reading(&["packetcapture", "add", "br1"], Some(&shown)).fails(2);
    assert!(said.contains("the service is `packetcapture`, and the body says \"simplebridge\""), "{said}");
    Ok(())
}

#[test]
fn what_is_shown_of_all_cubes_makes_them_again() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    daemon.ctl_reading(&["cubes", "add"], Some(SITE)).ok();
    // Not the order in which a list of their names would attach them.
    daemon.ctl("packetcapture add aaa").ok();
    daemon.ctl("attach aaa br1:p1").ok();
    daemon.ctl("attach aaa veth2").ok();
    daemon.ctl("attach sniffer veth2 position=last").ok();
    let saved = daemon.ctl("config save").ok();
    for style in ["-json", "-yaml"] {
        let shown = daemon.ctl_words(&["cubes", "show", style]).ok();
        for cube in ["aaa", "sniffer", "br1"] {
            daemon.ctl_words(&["del", cube]).ok();
        }
        assert_eq!(daemon.ctl_reading(&["cubes", "add"], Some(&shown)).ok(), "");
        assert_eq!(daemon.ctl("config save").ok(), saved, "{style}");
    }
    Ok(())
}

#[test]
fn invalid_input_is_refused_before_anything_is_sent() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    for (input, reason) in [
        ("{\"capture\": \"off\"", "standard input is not valid JSON: EOF while parsing an object at line 1 column 17"),
        ("a: b: c", "standard input is not valid YAML: "),
        ("a: 1\na: 2\n", "`a` is given twice, first in line 1 at line 2"),
        ("{}\n{}\n", "standard input is not valid JSON: trailing characters at line 2"),
    ] {
        let said = daemon.ctl_reading(&["packetcapture", "add", "s"], Some(input)).one_line(64);
        assert!(said.contains(reason), "{said}");
    }
    assert_eq!(get(daemon, "cubes/"), json!({}));
    Ok(())
}

/// `polycubectl` with only the given environment.
fn with_environment(daemon: &Daemon, words: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = daemon.host().command(binary_dir()?.join("polycubectl"));
    command.args(words).env_clear().envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().context("cannot run polycubectl")
}

/// Everything in a directory and below it.
fn listing(directory: &Path) -> Result<String> {
    let output = Command::new("find").arg(directory).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn settings_come_from_the_file_and_the_environment_overrides_them() -> Result<()> {
    let scene = site()?;
    let daemon = &scene.daemon;
    let home = tempfile::tempdir()?;
    let path = home.path().to_str().context("the path is UTF-8")?;
    let url = format!("unix://{}", daemon.socket().display());
    let run = |words: &[&str], more: &[(&str, &str)]| {
        let environment: Vec<_> = [("HOME", path)].into_iter().chain(more.iter().copied()).collect();
        with_environment(daemon, words, &environment)
    };

    let before = listing(home.path())?;
    assert_eq!(run(&["cubes"], &[("POLYCUBECTL_URL", &url)])?.status.code(), Some(0));
    assert_eq!(run(&["nonsense", "show"], &[("POLYCUBECTL_URL", &url)])?.status.code(), Some(2));
    assert_eq!(listing(home.path())?, before, "nothing is written, not even on the first run");

    let config = home.path().join(".config/polycube/polycubectl_config.yaml");
    fs::create_dir_all(config.parent().context("the path has a parent")?)?;
    let mut file = File::create(&config)?;
    writeln!(file, "# as Polycube wrote it\nurl: {url}\nexpert: true\ndebug: true")?;
    let output = run(&["simplebridge", "add", "br1", "loglevel=DEBUG"], &[])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout.is_empty(), "{said}");
    let line = format!("> POST /polycube/v1/simplebridge/br1/ to {url}\n");
    assert!(
        said.contains(&line) && said.contains("{\"loglevel\":\"DEBUG\"}") && said.contains("< 201 Created"),
        "{said}"
    );
    assert!(run(&["cubes"], &[("POLYCUBECTL_DEBUG", "0")])?.stderr.is_empty());
    assert_eq!(run(&["cubes"], &[("POLYCUBECTL_URL", "unix:///nowhere")])?.status.code(), Some(1));
    let elsewhere = run(&["cubes"], &[("XDG_CONFIG_HOME", "/nowhere"), ("POLYCUBECTL_URL", &url)])?;
    assert!(elsewhere.status.success() && elsewhere.stderr.is_empty());

    writeln!(file, "colour: red")?;
    let output = run(&["cubes"], &[])?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(64) && said.contains("polycubectl_config.yaml: unknown field `colour`"),
        "{said}"
    );
    assert_eq!(run(&["--help"], &[])?.status.code(), Some(0), "help works anyway");
    Ok(())
}

#[test]
fn version_shows_both_ends_or_what_it_can() -> Result<()> {
    let mut scene = site()?;
    let daemon = &mut scene.daemon;
    let both = daemon.ctl("version").ok();
    assert!(both.starts_with("polycubectl:\n version: ") && both.contains("\npolycubed:\n version: "), "{both}");
    let json: Value = serde_json::from_str(&daemon.ctl("version -json").ok())?;
    assert_eq!(json["polycubectl"]["version"], json["polycubed"]["version"]);
    daemon.terminate()?;
    let output = daemon.ctl("version");
    assert!(output.code == Some(1) && output.stderr.starts_with("polycubectl: no daemon answers at"), "{output}");
    assert!(output.stdout.starts_with("polycubectl:\n version: ") && output.stdout.lines().count() == 2, "{output}");
    Ok(())
}
