//! Do people see what they ask for: in units, in short, with a line where there is nothing, and with a hint where the
//! shell changed their question?

use std::fs;

use anyhow::{Context, Result, ensure};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::{Value, json};

#[test]
fn numbers_are_taken_and_shown_in_units() -> Result<()> {
    let scene = Scene::set_up().commands(["packetcapture add s", "simplebridge add br1"]).start()?;
    for (set, path, number, show, shown) in [
        ("s rotate set size=1MB", "s/rotate/size", json!(0.953_674_316_406_25), "s rotate show", "size: 1 MB"),
        ("s rotate set size=5MiB", "s/rotate/size", json!(5), "s rotate show", "size: 5 MiB"),
        ("s rotate set size=5", "s/rotate/size", json!(5), "s rotate show", "size: 5 MiB"),
        ("s rotate set seconds=1h", "s/rotate/seconds", json!(3600), "s rotate show", "seconds: 1 h"),
        ("s stop-after set bytes=10M", "s/stop-after/bytes", json!(10_485_760), "s stop-after show", "bytes: 10 MiB"),
        ("s stop-after set bytes=10MB", "s/stop-after/bytes", json!(10_000_000), "s stop-after show", "bytes: 10 MB"),
        ("s set ring-size=4MiB", "s/ring-size", json!(4), "s show", "ring-size: 4 MiB"),
        ("s storage set ceiling=2GiB", "s/storage/ceiling", json!(2048), "s storage show", "ceiling: 2 GiB"),
        ("br1 fdb set aging-time=10min", "br1/fdb/aging-time", json!(600), "br1 show", "aging-time: 10 min"),
    ] {
        scene.daemon.ctl(set).ok();
        assert_eq!(scene.get(path)?, number, "{set}");
        let text = scene.daemon.ctl(show).ok();
        assert!(text.lines().any(|line| line.trim() == shown), "{set}: no {shown:?} in {text}");
    }
    let spaced = scene.daemon.ctl_words(&["s", "stop-after", "set", "bytes=10 MiB"]);
    spaced.ok();
    assert_eq!(scene.get("s/stop-after/bytes")?, 10_485_760);
    let json: Value = serde_json::from_str(&scene.daemon.ctl("s stop-after show -json").ok())?;
    assert_eq!(json["bytes"], 10_485_760);
    Ok(())
}

#[test]
fn what_would_have_to_be_rounded_is_refused_in_words() -> Result<()> {
    let scene = Scene::set_up().commands(["packetcapture add s"]).start()?;
    for (set, expected) in [
        ("s rotate set seconds=500ms", "`500ms` is not a whole number of seconds"),
        ("s stop-after set bytes=0.3KiB", "`0.3KiB` is not a whole number of bytes"),
        ("s stop-after set bytes=10parsecs", "`10parsecs` is not a size: give bytes, or a unit, such as 64KiB"),
        ("s rotate set seconds=1MB", "`1MB` is not a time: give seconds, or a unit, such as 90s"),
        ("s rotate set size=1h", "`1h` is not a size: give MiB, or a unit"),
        ("s rotate set size=10kB", "size: 10 kB is less than the minimum of 64 KiB"),
        ("s set ring-size=1MB", "is not one of 1, 2, 4, 8, 16, 32, 64"),
    ] {
        let line = scene.daemon.ctl(set).one_line(2);
        assert!(line.contains(expected), "{set}: {line}");
    }
    let answer = scene.daemon.http("PATCH", "/polycube/v1/s/rotate/seconds/", Some(&json!("500ms")))?;
    let error = &answer.json()?["ietf-restconf:errors"]["error"][0];
    assert_eq!(error["error-info"]["limits"]["unit"], "seconds", "{error}");
    Ok(())
}

#[test]
fn a_file_rotates_at_the_very_byte_of_a_decimal_size() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress rotate.size=1MB");
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 1000, 1500))?;
    eventually("a second file", || Ok(scene.files()?.len() == 2))?;
    let first = scene.files()?.remove(0).size;
    assert!((998_984..=1_000_000).contains(&first), "{first}");
    Ok(())
}

#[test]
fn a_capture_is_shown_in_short_unless_everything_is_wanted() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional stop-after.seconds=1h");
    let short = scene.daemon.ctl("sniffer show").ok();
    let whole = scene.daemon.ctl("sniffer show --all").ok();
    for name in ["globalheader", "packet", "rotate", "storage", "queue", "disk", "filters"] {
        let heading = format!("{name}:");
        assert!(!short.lines().any(|line| line == heading), "{name} is shown in {short}");
        assert!(whole.lines().any(|line| line == heading), "{name} is not shown in {whole}");
        let named = short.lines().last().context("a last line")?;
        assert!(named.contains(name) && named.ends_with("(--all)"), "{name} is not named in {named}");
    }
    for line in ["stop-after:", " seconds: 1 h", "counters:", "status: capturing"] {
        assert!(short.lines().any(|shown| shown == line), "no {line:?} in {short}");
    }
    assert!(short.lines().count() < 50 && whole.lines().count() > short.lines().count() + 30, "{short}\n{whole}");
    assert_eq!(scene.daemon.ctl("sniffer show -verbose").ok().lines().next(), whole.lines().next());
    // What is asked for by its name is always shown.
    assert!(scene.daemon.ctl("sniffer globalheader show").ok().contains("magic: "));
    assert!(scene.daemon.ctl("sniffer filters show").ok().contains("src: unset"));
    let json: Value = serde_json::from_str(&scene.daemon.ctl("sniffer show -json").ok())?;
    assert!(json["globalheader"].is_object() && json["queue"]["size"] == 64, "{json}");
    Ok(())
}

#[test]
fn the_list_of_cubes_says_what_captures_do() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 5))?;
    scene.captured()?;
    let cube = scene.get("cubes")?["packetcapture"][0].clone();
    let file = scene.dump()?.context("a file")?.display().to_string();
    assert_eq!(
        [&cube["status"], &cube["packets"], &cube["drops"], &cube["file"]],
        [&json!("capturing"), &json!(5), &json!(0), &json!(file)]
    );
    let text = scene.daemon.ctl("cubes show").ok();
    for word in ["status", "packets", "drops", "file", "capturing", &file] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert_eq!(scene.get("cubes")?["simplebridge"][0]["status"], Value::Null, "a bridge says nothing in short");
    Ok(())
}

#[test]
fn an_empty_list_prints_a_line_for_people() -> Result<()> {
    let scene = Scene::set_up().start()?;
    let check = |line: &str, expected: &str| {
        let output = scene.daemon.ctl(line);
        assert_eq!((output.code, output.stderr.trim()), (Some(0), expected), "{output}");
        output.stdout
    };
    assert_eq!(check("cubes show", "polycubectl: `cubes` has no entries"), "");
    assert_eq!(check("topology", "polycubectl: `topology` has no entries"), "");
    assert_eq!(check("packetcapture show", "polycubectl: `packetcapture` has no entries"), "");
    assert_eq!(check("cubes show -json", ""), "{}\n");
    scene.daemon.ctl("simplebridge add br1").ok();
    assert_eq!(check("br1 ports show", "polycubectl: `br1 ports` has no entries"), "");
    assert_eq!(check("br1 fdb entry show", "polycubectl: `br1 fdb entry` has no entries"), "");
    check("cubes show", "");
    Ok(())
}

#[test]
fn a_question_that_the_shell_changed_gets_a_hint() -> Result<()> {
    let scene = Scene::set_up().commands(["packetcapture add sniffer"]).start()?;
    let program = polycube_tests::daemon::binary_dir()?.join("polycubectl");
    let place = tempfile::tempdir()?;
    let shell = |line: &str| -> Result<String> {
        let mut command = scene.lab.host().command("sh");
        command.args(["-c", line]).current_dir(place.path()).env("HOME", "/nowhere").env("ctl", &program);
        command.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
        let output = command.stdin(std::process::Stdio::null()).output()?;
        Ok(String::from_utf8([output.stdout, output.stderr].concat())?)
    };
    assert!(shell("$ctl sniffer set ?")?.contains("snaplen"), "no file: the question is answered");
    fs::write(place.path().join("x"), "")?;
    for line in ["$ctl sniffer set ?", "$ctl sniffer ?", "$ctl sniffer show ?", "$ctl del ?", "$ctl cubes show ?"] {
        let text = shell(line)?;
        let hint = "polycubectl: if `x` was typed as `?`: the shell replaced it with the name of a file; use --help";
        ensure!(text.lines().last() == Some(hint), "{line}: {text}");
    }
    assert!(shell("$ctl sniffer set --help")?.contains("snaplen"));
    for line in ["$ctl sniffer show nothing", "$ctl sniffer show y", "$ctl sniffer show -c x", "$ctl -c x sniffer set"]
    {
        let text = shell(line)?;
        ensure!(!text.contains("typed as"), "{line}: {text}");
    }
    Ok(())
}

#[test]
fn a_capture_is_attached_when_it_is_created() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.daemon.ctl("packetcapture add a parent=veth1 capture=ingress").ok();
    scene.daemon.ctl("packetcapture add b parent=br1:toveth1,veth2").ok();
    assert_eq!(scene.get("a/parent")?, "veth1");
    assert_eq!(scene.get("b/parents")?, json!(["br1:toveth1", "veth2"]));
    for (line, expected) in [
        ("packetcapture add c parent=br1:nowhere", "nowhere"),
        ("packetcapture add c parent=veth9", "veth9"),
        ("simplebridge add c parent=veth1", "parent"),
        ("a set parent=veth2", "`parent` is read-only"),
    ] {
        let line = scene.daemon.ctl(line).one_line(2);
        assert!(line.contains(expected), "{line}");
    }
    assert_eq!(scene.daemon.http("GET", "/polycube/v1/c/", None)?.status, 404, "half a cube was created");
    let help = scene.daemon.ctl("packetcapture add --help").ok();
    assert!(help.contains("parent"), "{help}");
    Ok(())
}
