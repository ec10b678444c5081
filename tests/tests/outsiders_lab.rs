//! Does the lab that plugin authors get run a daemon with their plugins, and carry packets?

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use polycube_lab::traffic::ping;
use polycube_lab::{Daemon, Lab};
use polycube_tests::daemon::binary_dir;

#[test]
fn packets_pass_a_bridge_of_a_daemon_in_the_lab() -> Result<()> {
    let (programs, plugins) = (binary_dir()?, binary_dir()?);

    let lab = Lab::new()?;
    let (one, two) = (lab.peer("one")?, lab.peer("two")?);
    lab.veth("veth1", &one, "eth0")?.peer.add_address("10.0.0.1/24")?;
    lab.veth("veth2", &two, "eth0")?.peer.add_address("10.0.0.2/24")?;
    let daemon = Daemon::start_from(&lab, &programs, &plugins)?;
    daemon.ctl("simplebridge add br1")?;
    daemon.ctl("br1 ports add port1 peer=veth1")?;
    daemon.ctl("br1 ports add port2 peer=veth2")?;
    ping(&one, "10.0.0.2".parse()?)?;

    let entries = daemon.ctl("br1 fdb show")?;
    ensure!(entries.contains("port1") && entries.contains("port2"), "{entries}\n{}", daemon.log());
    let refused = daemon.ctl("br1 ports add port3 peer=veth1").unwrap_err().to_string();
    ensure!(refused.contains("polycubectl br1 ports add port3") && refused.contains("veth1"), "{refused}");
    Ok(())
}

/// The page shows what runs above.
#[test]
fn the_page_shows_the_lab_as_it_is() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("../docs/testing-plugins.md"))?;
    let (_, code) = page.rsplit_once("```rust\n").context("code")?;
    let (code, _) = code.split_once("```").context("its end")?;
    let own = fs::read_to_string(root.join("tests/outsiders_lab.rs"))?;
    let lines: String = own.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    ensure!(lines.contains(&format!("\n{code}\n")), "docs/testing-plugins.md has other code:\n{code}");
    Ok(())
}
