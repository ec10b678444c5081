//! Do services come and go while the daemon runs, and their files change?

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::{Daemon, plugin_dir};
use polycube_tests::scene::Scene;

fn start(plugins: &Path) -> Result<Scene> {
    Scene::set_up().arguments([Path::new("--plugin-dir"), plugins].map(Path::to_string_lossy)).start()
}

fn services(daemon: &Daemon) -> Result<Vec<String>> {
    let services = daemon.http("GET", "/polycube/v1/services/", None)?.ok().json()?;
    let names = services.as_array().into_iter().flatten().filter_map(|service| service["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

#[test]
fn services_come_and_go_while_the_daemon_runs() -> Result<()> {
    let directory = plugin_dir(&["panicky"])?;
    let (late, aside) = (directory.path().join("libpcn_panicky.so"), directory.path().join("later.so"));
    fs::rename(&late, &aside)?;
    let scene = start(directory.path())?;
    let daemon = &scene.daemon;
    assert_eq!(services(daemon)?, ["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]);
    fs::rename(&aside, &late)?;

    let load = "services add type=lib name=panicky uri=";
    for (line, words) in [
        (
            format!("{load}nowhere.so"),
            &["services/uri", "there is no file `nowhere.so` in", "put the plugin there"][..],
        ),
        (format!("{load}/etc/passwd"), &["services/uri", "there is no file `/etc/passwd` in"]),
        (format!("{load}../{}", "libpcn_panicky.so"), &["services/uri", "there is no file"]),
        (format!("{load}libpcn_simplebridge.so"), &["services/name", "is service `simplebridge`, not `panicky`"]),
        (
            String::from("services add type=grpc name=panicky uri=x"),
            &["services/type", "`type` is one of lib, object, not `grpc`"],
        ),
        (String::from("services add type=lib name=panicky"), &["services/uri", "`uri` is missing"]),
        (String::from("services del panicky"), &["service `panicky` does not exist"]),
    ] {
        let output = daemon.ctl(&line);
        assert_eq!(output.code, Some(2), "{output}");
        assert!(words.iter().all(|word| output.stderr.contains(word)), "{output}");
    }
    assert_eq!(services(daemon)?, ["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]);

    daemon.ctl(&format!("{load}libpcn_panicky.so")).ok();
    assert_eq!(
        services(daemon)?,
        ["helloworld", "packetcapture", "panicky", "simplebridge", "span", "transparenthelloworld"]
    );
    let again = daemon.ctl(&format!("{load}libpcn_panicky.so"));
    assert!(again.stderr.contains("service `panicky` is already loaded"), "{again}");
    daemon.ctl("panicky add p1").ok();
    let busy = daemon.ctl("services del panicky");
    assert!(busy.code == Some(2) && busy.stderr.contains("service `panicky` has cubes: delete p1 first"), "{busy}");
    daemon.ctl("p1 set size=3").ok();
    daemon.ctl("del p1").ok();
    daemon.ctl("services del panicky").ok();
    assert_eq!(services(daemon)?, ["helloworld", "packetcapture", "simplebridge", "span", "transparenthelloworld"]);
    let gone = daemon.ctl("panicky add p1");
    assert!(gone.code == Some(2) && gone.stderr.contains("no service `panicky`"), "{gone}");
    daemon.ctl(&format!("{load}libpcn_panicky.so")).ok();
    daemon.ctl("panicky add p1").ok();
    daemon.ctl("del p1").ok();
    daemon.ctl("services del panicky").ok();
    Ok(())
}

/// The description of a service, as the daemon shows it.
fn description(daemon: &Daemon) -> Result<String> {
    let service = daemon.http("GET", "/polycube/v1/services/panicky", None)?.ok().json()?;
    Ok(service["description"].as_str().context("no description")?.to_owned())
}

/// Writing over a mapped file changes the code that runs: the daemon died of it. It loads from a copy of its own.
#[test]
fn a_file_can_be_written_over_while_its_code_runs_and_is_new_code_when_it_is_loaded_again() -> Result<()> {
    const WAS: &[u8] = b"Fails where it is told to";
    let directory = plugin_dir(&["panicky"])?;
    let file = directory.path().join("libpcn_panicky.so");
    let mut code = fs::read(&file)?;
    fs::remove_file(&file)?;
    fs::write(&file, &code)?;
    let scene = start(directory.path())?;
    let daemon = &scene.daemon;
    daemon.ctl("panicky add p1").ok();
    fs::write(&file, vec![0xff; code.len()])?;
    daemon.ctl("p1 set size=3").ok();
    daemon.ctl("p1 provoke").ok();
    assert_eq!(description(daemon)?.as_bytes(), WAS);
    let places: Vec<usize> = (0..code.len() - WAS.len()).filter(|at| code[*at..].starts_with(WAS)).collect();
    ensure!(!places.is_empty(), "the description is not in the file");
    for at in places {
        code[at..at + 5].copy_from_slice(b"Falls");
    }
    fs::write(&file, &code)?;
    daemon.ctl("p1 set size=4").ok();
    assert_eq!(description(daemon)?.as_bytes(), WAS, "the loaded code is as it was");
    let maps = format!("/proc/{}/maps", daemon.pid().context("the daemon has ended")?);
    let mapped = fs::read_to_string(&maps)?;
    assert!(mapped.contains("/memfd:libpcn_panicky.so"), "a map of the process's memory names the plugin");
    daemon.ctl("del p1").ok();
    for _ in 0..2 {
        daemon.ctl("services del panicky").ok();
        daemon.ctl("services add type=lib name=panicky uri=libpcn_panicky.so").ok();
        assert_eq!(description(daemon)?, "Falls where it is told to");
    }
    daemon.ctl("panicky add p1").ok();
    daemon.ctl("p1 provoke").ok();
    let again = fs::read_to_string(&maps)?;
    let copies = |maps: &str| {
        let inodes = maps.lines().filter(|line| line.contains("/memfd:libpcn_panicky.so"));
        inodes.filter_map(|line| line.split_whitespace().nth(4)).collect::<BTreeSet<_>>().len()
    };
    assert_eq!((copies(&mapped), copies(&again)), (1, 2), "the same bytes are in memory once");
    Ok(())
}

#[test]
fn a_service_is_shown_with_its_versions_and_since_when_it_is_loaded() -> Result<()> {
    let scene = Scene::set_up().fixtures(["panicky"]).start()?;
    let shown = scene.daemon.ctl("services panicky show -json").ok();
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&shown["version"], &shown["sdk-version"]), (&version.into(), &version.into()), "{shown}");
    assert!(shown["abi"].as_str().is_some_and(|abi| abi.starts_with("1.")), "{shown}");
    assert!(shown["servicecontroller"].as_str().is_some_and(|file| file.ends_with("libpcn_panicky.so")), "{shown}");
    assert!(shown["since"].as_str().is_some_and(|since| since.starts_with("20") && since.ends_with('Z')), "{shown}");
    Ok(())
}
