//! Does the kit itself tell the truth? Needs root, and nothing of this project but the kit.

use anyhow::Result;
use polycube_tests::lab::{Lab, Offload};
use polycube_tests::traffic::{reachable, tcp_transfer};

#[test]
fn two_peers_reach_each_other_through_a_kernel_bridge() -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    let (west, east) = (lab.veth("veth1", &left, "eth0")?, lab.veth("veth2", &right, "eth0")?);
    lab.kernel_bridge("br0", &[&west.host, &east.host])?;
    west.peer.add_address("10.0.0.1/24")?;
    west.peer.add_address("fd00::1/64")?;
    let v4 = east.peer.add_address("10.0.0.2/24")?;
    let v6 = east.peer.add_address("fd00::2/64")?;

    assert!(reachable(&left, &right, v4)?.is_some(), "IPv4");
    assert!(reachable(&left, &right, v6)?.is_some(), "IPv6");
    let transfer = tcp_transfer(&left, &right, v4, 64 << 20)?;
    assert_eq!(transfer.bytes, 64 << 20);
    assert!(east.peer.counters()?.rx_bytes > 64 << 20);
    println!("{:.1} Gbit/s", transfer.bits_per_second() / 1e9);
    Ok(())
}

#[test]
fn a_broken_path_is_not_reachable() -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    let wire = lab.join((&left, "eth0"), (&right, "eth0"))?;
    wire.host.add_address("10.0.0.1/24")?;
    let address = wire.peer.add_address("10.0.0.2/24")?;
    assert!(reachable(&left, &right, address)?.is_some());
    wire.peer.down()?;
    assert_eq!(reachable(&left, &right, address)?, None);
    Ok(())
}

#[test]
fn offloads_can_be_turned_off_and_on() -> Result<()> {
    let lab = Lab::new()?;
    let wire = lab.veth("veth1", &lab.peer("left")?, "eth0")?;
    for offload in [Offload::Tso, Offload::Gso, Offload::Gro, Offload::TxChecksum] {
        let before = wire.peer.offload(offload)?;
        wire.peer.set_offload(offload, !before)?;
        assert_eq!(wire.peer.offload(offload)?, !before, "{offload:?}");
    }
    Ok(())
}
