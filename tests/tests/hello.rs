//! Does the plugin that the documentation shows whole do what it says, and is it as short as it says?

use std::path::Path;

use anyhow::{Context as _, Result};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::json;

/// Lines that are neither empty nor comments.
fn code(file: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/hello").join(file);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    Ok(lines.map(str::to_owned).collect())
}

#[test]
fn the_plugin_is_short_and_safe() -> Result<()> {
    let (plugin, program) = (code("src/lib.rs")?, code("hello.bpf.c")?);
    assert!(plugin.len() <= 45, "{} lines of Rust", plugin.len());
    assert!(program.len() <= 15, "{} lines of C", program.len());
    for word in ["unsafe", "extern", "RawFd", "abi::", "*const", "*mut", "libc"] {
        assert!(!plugin.iter().any(|line| line.contains(word)), "`{word}` in {plugin:#?}");
    }
    Ok(())
}

#[test]
fn the_plugin_counts_and_drops_by_its_setting() -> Result<()> {
    let scene = Scene::set_up().peers(2).fixtures(["hello"]).commands(["hello add h1"]).start()?;
    let daemon = &scene.daemon;
    for line in
        ["simplebridge add br1", "br1 ports add p1 peer=veth1", "br1 ports add p2 peer=veth2", "attach h1 br1:p1"]
    {
        daemon.ctl(line).ok();
    }
    let sender = Sender::open(scene.peer(1))?;
    let send = || sender.send(&scene.flow(1, 2).frames(Protocol::Udp, 100, 10));
    let counted = |name: &str| -> Result<u64> {
        let cube = daemon.http("GET", "/polycube/v1/hello/h1", None)?.ok().json()?;
        cube[name].as_u64().with_context(|| format!("no `{name}` in {cube}"))
    };
    send()?;
    eventually("ten packets passed", || Ok(counted("passed")? >= 10))?;
    assert_eq!(counted("dropped")?, 0);

    // The map is kept, and so are its counts.
    daemon.ctl("h1 set drop=true").ok();
    let passed = counted("passed")?;
    send()?;
    eventually("ten packets dropped", || Ok(counted("dropped")? >= 10))?;
    assert_eq!(counted("passed")?, passed);

    let page = daemon.http("GET", "/metrics", None)?.ok().text();
    for line in [
        "# HELP hello_dropped_packets_total Packets dropped",
        "# TYPE hello_dropped_packets_total counter",
        "hello_dropped_packets_total{cubeName=\"h1\"} 1",
    ] {
        assert!(page.contains(line), "no `{line}` in {page}");
    }

    // A change that is refused leaves everything as it is.
    daemon.ctl("h1 set drop=perhaps").one_line(2);
    assert_eq!(daemon.http("GET", "/polycube/v1/hello/h1", None)?.ok().json()?["drop"], json!(true));
    assert_eq!(counted("passed")?, passed);
    Ok(())
}
