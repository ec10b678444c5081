//! Do plugins that were built with earlier SDKs work in this daemon? `fixtures/abi` has them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use polycube_tests::scene::Scene;
use polycube_tests::traffic::reachable;
use serde_json::Value;

/// The plugin `wire`, built with the SDK of ABI 1.`minor`.
fn fixture(minor: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/abi/wire-1.{minor}.so.zst"))
}

/// The minor version of the daemon's own ABI.
fn current() -> Result<u32> {
    let scene = Scene::set_up().start()?;
    let shown: Value = serde_json::from_str(&scene.daemon.ctl("services simplebridge show -json").ok())?;
    let version = shown["abi"].as_str().and_then(|abi| abi.strip_prefix("1.")).context("an ABI 1")?;
    Ok(version.parse()?)
}

#[test]
fn a_plugin_of_each_earlier_version_loads_forwards_and_is_configured() -> Result<()> {
    for minor in 0..=current()? {
        let compressed = fixture(minor);
        if minor == current()? && !compressed.exists() {
            // The real plugins are built with it.
            continue;
        }
        let file = fs::File::open(&compressed).with_context(|| {
            format!("{} is missing: fixtures/abi/README.md says how it is made", compressed.display())
        })?;
        let plugins = tempfile::tempdir()?;
        fs::write(plugins.path().join("libpcn_wire.so"), zstd::decode_all(file)?)?;
        let plugin_dir = plugins.path().to_string_lossy();
        let scene = Scene::set_up().peers(2).arguments(["--plugin-dir", &plugin_dir]).start()?;
        check(&scene, minor).with_context(|| format!("the plugin of ABI 1.{minor}"))?;
    }
    Ok(())
}

fn check(scene: &Scene, minor: u32) -> Result<()> {
    let daemon = &scene.daemon;
    let shown: Value = serde_json::from_str(&daemon.ctl("services wire show -json").ok())?;
    ensure!(shown["abi"] == format!("1.{minor}"), "{shown}");
    daemon.ctl("wire add w1").ok();
    daemon.ctl("w1 ports add left peer=veth1").ok();
    daemon.ctl("w1 ports add right peer=veth2").ok();
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.peer(2).add_address("10.0.0.2/24")?;
    let passes = || Ok::<_, anyhow::Error>(reachable(scene.namespace(1), scene.namespace(2), address)?.is_some());
    ensure!(passes()?, "packets pass");
    ensure!(scene.get("w1")?["joined"] == 2, "its state: {}", scene.get("w1")?);
    daemon.ctl("w1 set cut=true").ok();
    ensure!(!passes()?, "it is cut");
    daemon.ctl("w1 set cut=false").ok();
    ensure!(passes()?, "it is mended");
    let refused = daemon.ctl("w1 ports add third").one_line(2);
    ensure!(refused.contains("a wire has two ends"), "{refused}");
    daemon.ctl("del w1").ok();
    daemon.ctl("services del wire").ok();
    Ok(())
}
