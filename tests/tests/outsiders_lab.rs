//! Does the lab that plugin authors get run a daemon with their plugins, and carry packets?

use anyhow::{Result, ensure};
use polycube_lab::{Daemon, Lab};
use polycube_tests::daemon::binary_dir;
use polycube_tests::traffic::ping;

#[test]
fn packets_pass_a_bridge_of_a_daemon_in_the_lab() -> Result<()> {
    let (lab, binaries) = (Lab::new()?, binary_dir()?);
    let (one, two) = (lab.peer("one")?, lab.peer("two")?);
    lab.veth("veth1", &one, "eth0")?.peer.add_address("10.0.0.1/24")?;
    lab.veth("veth2", &two, "eth0")?.peer.add_address("10.0.0.2/24")?;
    let daemon = Daemon::start_from(&lab, &binaries, &binaries)?;
    daemon.ctl("simplebridge add br1")?;
    for number in [1, 2] {
        daemon.ctl(&format!("br1 ports add port{number} peer=veth{number}"))?;
    }
    ping(&one, "10.0.0.2".parse()?)?;
    let entries = daemon.ctl("br1 fdb show")?;
    ensure!(entries.contains("port1") && entries.contains("port2"), "{entries}\n{}", daemon.log());
    let refused = daemon.ctl("br1 ports add port3 peer=veth1").unwrap_err().to_string();
    ensure!(refused.contains("polycubectl br1 ports add port3") && refused.contains("veth1"), "{refused}");
    Ok(())
}
