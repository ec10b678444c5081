//! Do an object's types reach the kernel, and the kernel's types the object? What does a refusal of the verifier's say?

use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context, Result, ensure};
use polycube_tests::bpf;
use polycube_tests::daemon::Daemon;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};

fn start(log: &str) -> Result<Scene> {
    Scene::set_up().peers(2).fixtures(["typed"]).arguments(["--log", log]).commands(["typed add t1"]).start()
}

/// Everything that is pinned for a cube, with the last word of its path.
fn pinned(daemon: &Daemon, cube: &str, word: &str) -> Result<OwnedFd> {
    let pins = daemon.pins()?;
    let pin = pins.iter().find(|pin| pin.starts_with(format!("cubes/{cube}")) && pin.to_string_lossy().contains(word));
    let pin = pin.with_context(|| format!("no {word} of {cube} among {pins:?}"))?;
    Ok(bpf::open(&daemon.bpffs_dir().join(pin))?)
}

fn times_read(daemon: &Daemon) -> usize {
    daemon.log().matches("reading the kernel's types").count()
}

#[test]
fn a_program_has_its_types_and_the_kernels() -> Result<()> {
    let scene = start("debug")?;
    let daemon = &scene.daemon;
    for line in ["simplebridge add br1", "br1 ports add p1 peer=veth1", "br1 ports add p2 peer=veth2"] {
        daemon.ctl(line).ok();
    }
    assert_eq!(times_read(daemon), 0, "nobody refers to the kernel's types");
    for line in [
        "attach t1 br1:p1",
        "typed add t2",
        "attach t2 br1:p2",
        "packetcapture add c1 capture=ingress",
        "attach c1 br1:p2",
    ] {
        daemon.ctl(line).ok();
    }
    assert!(!daemon.log().contains("types cannot be used") && !daemon.log().contains("does not take the types"));
    assert_eq!(times_read(daemon), 1, "they are read once");

    let records = pinned(daemon, "t1", "records")?;
    let info = bpf::map_info(records.as_fd())?;
    assert!(info.btf_id != 0 && info.btf_key_type_id != 0 && info.btf_value_type_id != 0, "{info:?}");
    for map in ["fdb", "counters"] {
        let info = bpf::map_info(pinned(daemon, "br1", map)?.as_fd())?;
        assert!(info.btf_key_type_id != 0 && info.btf_value_type_id != 0, "{map}: {info:?}");
    }
    for cube in ["t1", "br1", "c1"] {
        let program = bpf::program_info(pinned(daemon, cube, "program")?.as_fd())?;
        assert!(program.btf_id != 0 && program.nr_func_info > 0 && program.nr_line_info > 0, "{cube}: {program:?}");
    }

    Sender::open(scene.peer(1))?.send(&scene.flow(1, 2).frames(Protocol::Udp, 200, 3))?;
    // A lock, the offset, the number of packets.
    let mut record = [0; 16];
    eventually("three packets", || {
        bpf::lookup(records.as_fd(), &[0; 4], &mut record)?;
        Ok(u64::from_ne_bytes(record[8..].try_into()?) >= 3)
    })?;
    let offset = u32::from_ne_bytes(record[4..8].try_into()?);
    // The program was compiled with the field at offset 0; in every kernel there is much before it.
    assert!((32..1024).contains(&offset) && offset % 4 == 0, "{offset}");
    Ok(())
}

#[test]
fn a_refusal_of_the_verifiers_names_program_place_and_line_and_has_the_whole_log() -> Result<()> {
    let scene = start("info")?;
    let daemon = &scene.daemon;
    daemon.ctl("attach t1 veth1").ok();
    let before = daemon.snapshot()?;
    let line = daemon.ctl("t1 set program=refused").one_line(2);
    let words = [
        "the kernel refuses program `refused` of cube `t1` at point ",
        " ingress: R6 invalid mem access 'scalar', at `return *nowhere; @ typed.bpf.c:",
        "; -v shows the whole log",
    ];
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert_eq!(daemon.snapshot()?, before);

    let whole = daemon.ctl("-v t1 set program=refused");
    ensure!(whole.code == Some(2), "{whole}");
    let load = |line: &str| line.contains("(61) r6 = *(u32 *)(r1 +0)");
    assert!(whole.stderr.lines().next().is_some_and(|first| first.contains("R6 invalid mem access")), "{whole}");
    assert!(whole.stderr.lines().any(|line| load(line) && line.starts_with("0: ")), "{whole}");
    assert!(daemon.log().lines().any(|line| load(line) && line.starts_with("0: ")), "{}", daemon.log());
    Ok(())
}

/// A program for XDP ran as one for TC: its "drop" is the other's "pass".
#[test]
fn a_program_of_another_kind_is_refused_by_its_section() -> Result<()> {
    let scene = start("info")?;
    let daemon = &scene.daemon;
    daemon.ctl("attach t1 veth1").ok();
    for (program, words) in [
        ("dropper", "is in section `xdp`, which is for another kind of program: put it into `tc`, `tc/ingress`"),
        ("cuont", "has no program of this name; known: count, dropper, refused"),
    ] {
        let line = daemon.ctl(&format!("t1 set program={program}")).one_line(2);
        let start = format!("the datapath of service `typed` cannot be used: {program} at point ");
        assert!(line.contains(&start) && line.contains(words), "{line}");
    }
    Ok(())
}
