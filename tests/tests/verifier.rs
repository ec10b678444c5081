//! How much work does the verifier have with each of our programs?
//!
//! The kernel counts the instructions that it looked at, on all ways through a program (`verified_insns`, Linux 5.16 and later). A
//! change of a program, or of what compiles it, can make a hundred times more of them while the program stays small: it still
//! loads, and each attachment takes longer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use polycube_tests::bpf;
use polycube_tests::hook::programs_attached;
use polycube_tests::object::load;
use polycube_tests::scene::Scene;

/// What a program is called in the kernel, and the most instructions that the verifier may look at for it.
type Bound = (&'static str, u32);

/// Cubes that together load each program, with settings that leave much of it: commands, and bounds. They are about 1.5 times of
/// what Linux 6.18 looks at.
const CASES: &[(&str, &[&str], &[Bound])] = &[
    (
        "bridge",
        &["simplebridge add br1", "br1 ports add p1 peer=veth1", "br1 ports add p2 peer=veth2"],
        &[("bridge", 915)],
    ),
    ("capture", &["packetcapture add s1 capture=bidirectional", "attach s1 veth1"], &[("capture", 5_000)]),
    (
        "capture of pcapng, with a filter",
        &["packetcapture add s1 capture=bidirectional format=pcapng filter=tcp[13]&2!=0", "attach s1 veth1"],
        &[("capture", 5_800), ("filter", 550)],
    ),
    (
        "capture of headers",
        &["packetcapture add s1 capture=bidirectional format=pcapng snaplen=headers whole-dns=true", "attach s1 veth1"],
        &[("capture", 34_000)],
    ),
    (
        "span",
        &["span add s1 collector.address=192.0.2.7 collector.encapsulation=erspan filter=icmp", "attach s1 veth1"],
        &[("mirror", 650), ("copy", 32_600), ("filter", 250)],
    ),
    (
        "helloworld",
        &["helloworld add h1 action=SLOWPATH", "h1 ports add p1 peer=veth1", "h1 ports add p2 peer=veth2"],
        &[("helloworld", 670)],
    ),
    (
        "transparenthelloworld",
        &["transparenthelloworld add t1 ingress-action=SLOWPATH egress-action=SLOWPATH", "attach t1 veth1"],
        &[("hello", 1_200), ("inject", 300)],
    ),
];

/// What stands before every cube.
const ROOT: Bound = ("root", 65);

/// The objects that `polycubectl plugin new --rust` builds.
const TEMPLATES: [(&str, u32); 2] = [("standard", 54), ("transparent", 38)];

/// The instructions that were verified for each of the daemon's programs: the most of each name.
fn verified(scene: &Scene) -> Result<BTreeMap<String, u32>> {
    let mut found = BTreeMap::new();
    let mut add = |program: &OwnedFd| -> Result<()> {
        let info = bpf::program_info(program.as_fd())?;
        let name = info.name.iter().take_while(|letter| **letter != 0).map(|letter| *letter as u8 as char).collect();
        let most = found.entry(name).or_insert(0);
        *most = info.verified_insns.max(*most);
        Ok(())
    };
    for pin in scene.daemon.pins()?.iter().filter(|pin| pin.ends_with("program")) {
        add(&bpf::open(&scene.daemon.bpffs_dir().join(pin))?)?;
    }
    // What is on the tap device for packets from user space is not pinned.
    for attached in programs_attached(scene.daemon.host(), "pcnin0").unwrap_or_default() {
        add(&bpf::program(attached.program)?)?;
    }
    Ok(found)
}

#[test]
fn no_program_costs_the_verifier_more_than_it_did() -> Result<()> {
    let (mut lines, mut is_wrong) = (Vec::new(), false);
    let mut note = |what: &str, name: &str, count: u32, bound: u32| {
        // Where it is far less, the case does not load what it is for, or the bound says nothing any more.
        let is_within = count <= bound && bound <= 10 * count;
        let verdict = if is_within { "" } else { ": not within the bound" };
        lines.push(format!("{what}: `{name}`: {count} instructions, bound {bound}{verdict}"));
        is_wrong |= !is_within;
    };
    for (what, commands, bounds) in CASES {
        let (scene, mut seen) = (Scene::set_up().peers(2).start()?, BTreeSet::new());
        for line in *commands {
            scene.daemon.ctl(line).ok();
        }
        for (name, count) in verified(&scene)? {
            let bound = bounds.iter().chain([&ROOT]).find(|(of, _)| *of == name).map_or(0, |(_, bound)| *bound);
            note(what, &name, count, bound);
            seen.insert(name);
        }
        for (name, _) in *bounds {
            ensure!(seen.contains(*name), "{what}: no program `{name}` is loaded");
        }
    }
    for (kind, bound) in TEMPLATES {
        let path = format!("{}/../ebpf/objects/template-{kind}.o", env!("CARGO_MANIFEST_DIR"));
        let elf = fs::read(&path).with_context(|| format!("cannot read {path}"))?;
        let loaded = load(&elf, "guard", &[], |_, _| {})?;
        note("template", kind, bpf::program_info(loaded.program.as_fd())?.verified_insns, bound);
    }
    ensure!(!is_wrong, "{}", lines.join("\n"));
    Ok(())
}
