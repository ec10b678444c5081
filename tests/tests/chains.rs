//! Does every packet pass the cubes at a port or a netdev in the requested order, whatever is attached and detached
//! meanwhile?
//!
//! The frames show it: each cube of the service `marker` writes its mark into what passes it.

use std::time::Duration;

use anyhow::{Result, bail};
use polycube_tests::capture::Recorder;
use polycube_tests::hook::{Attached, Bystander, Hook, Verdict, programs_attached};
use polycube_tests::marks::{FRAME, marked, marks, passed};
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::{Protocol, Sender, Steady, sequence_of};

/// Two peers, joined by cube `br1` or by a kernel bridge, and cubes of the service `marker` named by letters.
struct Site {
    scene: Scene,
}

/// What joins the peers.
#[derive(Clone, Copy, PartialEq)]
enum Middle {
    Cube,
    Kernel,
}

impl Middle {
    /// The point of the chain under test.
    fn point(self) -> &'static str {
        if self == Self::Cube { "br1:toveth1" } else { "veth1" }
    }

    /// The marks on a frame that comes from the wire, for a chain in the order of its indexes.
    fn inward(self, chain: &str) -> String {
        if self == Self::Cube { chain.chars().rev().collect() } else { chain.to_owned() }
    }

    fn outward(self, chain: &str) -> String {
        self.inward(chain).chars().rev().collect()
    }
}

impl Site {
    fn build(middle: Middle, markers: &str) -> Result<Self> {
        let setup = Scene::set_up().peers(2).fixtures(["marker"]);
        let scene = match middle {
            Middle::Cube => setup.bridge().start()?,
            Middle::Kernel => {
                let scene = setup.start()?;
                scene.lab.kernel_bridge("kbr", &[scene.host(1), scene.host(2)])?;
                scene
            }
        };
        for marker in markers.chars() {
            scene.daemon.ctl(&format!("marker add {marker} mark={}", marker as u32)).ok();
        }
        let site = Self { scene };
        // After this the bridge knows both addresses, and floods no frame.
        site.passed(1, 2)?;
        site.passed(2, 1)?;
        Ok(site)
    }

    fn passed(&self, from: usize, to: usize) -> Result<String> {
        passed(&self.scene, from, to)
    }
}

/// Commands, and the chain after each in the order of its indexes.
const STEPS: [(&str, &str); 22] = [
    ("attach a POINT position=first", "a"),
    ("attach b POINT position=last", "ab"),
    ("attach c POINT after=a", "acb"),
    ("attach d POINT before=b", "acdb"),
    ("attach e POINT position=first", "eacdb"),
    ("detach c POINT", "eadb"),
    ("attach c POINT position=last", "eadbc"),
    ("detach e POINT", "adbc"),
    ("attach e POINT before=a", "eadbc"),
    ("detach c POINT", "eadb"),
    ("attach c POINT after=b", "eadbc"),
    ("detach d POINT", "eabc"),
    ("attach d POINT after=e", "edabc"),
    ("detach a POINT", "edbc"),
    ("attach a POINT before=c", "edbac"),
    ("detach e POINT", "dbac"),
    ("detach b POINT", "dac"),
    ("detach c POINT", "da"),
    ("attach c POINT before=a", "dca"),
    ("detach d POINT", "ca"),
    ("detach a POINT", "c"),
    ("detach c POINT", ""),
];

fn every_position(middle: Middle) -> Result<()> {
    let site = Site::build(middle, "abcde")?;
    for (line, chain) in STEPS {
        site.scene.daemon.ctl(&line.replace("POINT", middle.point())).ok();
        assert_eq!(site.passed(1, 2)?, middle.inward(chain), "inwards after {line}");
        assert_eq!(site.passed(2, 1)?, middle.outward(chain), "outwards after {line}");
    }
    Ok(())
}

#[test]
fn every_position_at_a_port() -> Result<()> {
    every_position(Middle::Cube)
}

#[test]
fn every_position_at_a_plain_netdev() -> Result<()> {
    every_position(Middle::Kernel)
}

/// No frame is lost, and each passed a chain that existed then, never an older one than the frame before it.
fn under_traffic(middle: Middle, from: usize, to: usize, order: impl Fn(&str) -> String) -> Result<()> {
    let site = Site::build(middle, "abcde")?;
    let scene = &site.scene;
    let recorder = Recorder::start(scene.peer(to))?;
    let steady = Steady::start(scene.peer(from), scene.flow(from, to), FRAME, 2_000_000)?;
    for (line, _) in STEPS {
        steady.wait_for(64)?;
        scene.daemon.ctl(&line.replace("POINT", middle.point())).ok();
    }
    steady.wait_for(64)?;
    let sent = steady.stop()?;
    // The kernel bridge also sends group membership reports.
    let reports = 4;
    let _ = recorder.wait_for(sent as usize + reports, Duration::from_secs(1));
    let recording = recorder.stop()?;
    assert_eq!(recording.drops, 0, "the recorder lost frames");
    let frames = marked(&recording);
    let numbers: Vec<_> = frames.iter().map(|frame| sequence_of(&frame.bytes)).collect();
    assert!(numbers.iter().copied().eq((0..sent).map(Some)), "{} of {sent} frames arrived in order", numbers.len());
    let mut chains = [""].into_iter().chain(STEPS.map(|(_, chain)| chain)).map(order).peekable();
    for (number, frame) in frames.iter().enumerate() {
        let found = marks(frame);
        while chains.next_if(|chain| *chain != found).is_some() {}
        assert!(chains.peek().is_some(), "frame {number} of {sent} passed {found:?}, which was not a chain then");
    }
    assert_eq!(chains.count(), 1, "the last frames did not pass the last chain");
    Ok(())
}

#[test]
fn under_traffic_into_a_port() -> Result<()> {
    under_traffic(Middle::Cube, 1, 2, |chain| Middle::Cube.inward(chain))
}

#[test]
fn under_traffic_out_of_a_port() -> Result<()> {
    under_traffic(Middle::Cube, 2, 1, |chain| Middle::Cube.outward(chain))
}

#[test]
fn under_traffic_into_a_plain_netdev() -> Result<()> {
    under_traffic(Middle::Kernel, 1, 2, |chain| Middle::Kernel.inward(chain))
}

#[test]
fn under_traffic_out_of_a_plain_netdev() -> Result<()> {
    under_traffic(Middle::Kernel, 2, 1, |chain| Middle::Kernel.outward(chain))
}

#[test]
fn a_new_cube_goes_outermost() -> Result<()> {
    let site = Site::build(Middle::Cube, "abcd")?;
    for line in
        ["attach a br1:toveth1", "attach b br1:toveth1 position=auto", "attach c veth1", "attach d veth1 position=auto"]
    {
        site.scene.daemon.ctl(line).ok();
    }
    assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), ("dcba".to_owned(), "abcd".to_owned()));
    Ok(())
}

#[test]
fn one_cube_at_several_points_marks_at_each() -> Result<()> {
    let site = Site::build(Middle::Cube, "ab")?;
    let ctl = |line: &str| site.scene.daemon.ctl(line).ok();
    let parents = || Ok::<_, anyhow::Error>(site.scene.get("a")?["parent"].as_str().unwrap_or_default().to_owned());
    ctl("attach a br1:toveth1");
    ctl("attach b br1:toveth2");
    ctl("attach a br1:toveth2");
    ctl("attach a veth1");
    assert_eq!(parents()?, "br1:toveth1,br1:toveth2,veth1");
    assert_eq!(site.scene.get("a/parents")?, serde_json::json!(["br1:toveth1", "br1:toveth2", "veth1"]));
    assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), ("aaba".to_owned(), "abaa".to_owned()));
    ctl("detach a br1:toveth2");
    assert_eq!((site.passed(1, 2)?, parents()?), ("aab".to_owned(), "br1:toveth1,veth1".to_owned()));
    ctl("attach a br1:toveth2 position=first");
    assert_eq!(site.passed(1, 2)?, "aaab");
    // Deleting a port also detaches what is attached there, and nothing else.
    ctl("br1 ports del toveth1");
    assert_eq!(parents()?, "br1:toveth2,veth1");
    ctl("br1 ports add toveth1 peer=veth1");
    assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), ("aab".to_owned(), "baa".to_owned()));
    ctl("del a");
    assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), ("b".to_owned(), "b".to_owned()));
    Ok(())
}

/// The kernel allows 33 tail calls per packet: 32 cubes and the bridge.
#[test]
fn a_chain_is_limited_by_the_kernels_tail_calls() -> Result<()> {
    let letters: String = ('A'..='Z').chain('a'..='z').take(34).collect();
    let site = Site::build(Middle::Cube, &letters)?;
    let chain: String = letters.chars().take(32).collect();
    for letter in chain.chars() {
        site.scene.daemon.ctl(&format!("attach {letter} br1:toveth1")).ok();
    }
    assert_eq!(site.passed(1, 2)?, Middle::Cube.inward(&chain));
    let before = site.scene.daemon.snapshot()?;
    let last: Vec<char> = letters.chars().skip(32).collect();
    for point in ["br1:toveth1", "veth1"] {
        let line = site.scene.daemon.ctl(&format!("attach {} {point}", last[0])).one_line(2);
        let expected = "the ingress chain on veth1 would have 34 programs, each filter one of them: the kernel allows 33 \
                        tail calls; detach a cube or clear a filter there first";
        assert!(line.contains(expected), "{line}");
        assert_eq!(site.scene.daemon.snapshot()?, before);
    }
    assert_eq!(site.passed(2, 1)?, chain);
    Ok(())
}

const HOOKS: [Hook; 2] = [Hook::Ingress, Hook::Egress];

/// Another party's program on each hook of `veth1`, after those that are there.
fn bystanders(site: &Site) -> Result<Vec<Bystander>> {
    HOOKS.into_iter().map(|hook| Bystander::attach(site.scene.host(1), hook, Verdict::Next)).collect()
}

/// The ids of other parties' programs on `veth1`, and the names of all programs there, ingress before egress.
fn others(site: &Site) -> Result<(Vec<Attached>, String)> {
    let mut attached = programs_attached(site.scene.lab.host(), "veth1")?;
    let names: Vec<_> = attached.iter().map(|one| one.name.clone()).collect();
    attached.retain(|one| one.name == "bystander");
    Ok((attached, names.join(" ")))
}

/// Whether `drop`, a program that drops everything, keeps frames of one peer from another. Without it they arrive.
fn stops(site: &Site, drop: Bystander, from: usize, to: usize) -> Result<bool> {
    let recorder = Recorder::start(site.scene.peer(to))?;
    let sender = Sender::open(site.scene.peer(from))?;
    let frames = site.scene.flow(from, to).frames(Protocol::Udp, FRAME, 16);
    sender.send(&frames[..8])?;
    std::mem::drop(drop);
    sender.send(&frames[8..])?;
    recorder.wait_for(8, PATIENCE)?;
    match marked(&recorder.stop()?).first().and_then(|frame| sequence_of(&frame.bytes)) {
        Some(0) => Ok(false),
        Some(8) => Ok(true),
        other => bail!("the first frame that arrived is {other:?}"),
    }
}

/// Other parties' programs, before and after ours, stay in place while our chain is made, changed and removed.
#[test]
fn other_parties_programs_are_left_alone() -> Result<()> {
    let site = Site::build(Middle::Kernel, "ab")?;
    let _first = bystanders(&site)?;
    site.scene.daemon.ctl("attach a veth1").ok();
    let _last = bystanders(&site)?;
    let (theirs, names) = others(&site)?;
    assert_eq!(names, "bystander root bystander bystander root bystander", "ingress, then egress");
    for (line, inward) in [
        ("attach b veth1 position=last", "ab"),
        ("a set mark=99", "cb"),
        ("detach b veth1", "c"),
        ("attach b veth1 position=first", "bc"),
        ("del b", "c"),
    ] {
        site.scene.daemon.ctl(line).ok();
        assert_eq!(others(&site)?, (theirs.clone(), names.clone()), "{line}");
        assert_eq!(site.passed(1, 2)?, inward, "{line}");
        assert_eq!(site.passed(2, 1)?, Middle::Kernel.outward(inward), "{line}");
    }
    let drop = Bystander::attach(site.scene.host(1), Hook::Ingress, Verdict::Drop)?;
    assert!(stops(&site, drop, 1, 2)?, "the program after our chain decides");
    site.scene.daemon.ctl("detach a veth1").ok();
    assert_eq!(others(&site)?, (theirs, "bystander bystander bystander bystander".to_owned()));
    Ok(())
}

/// The same at a bridge's port. Programs before ours see all packets, and on egress those after ours do too. A bridge
/// takes what comes in, as a kernel bridge does: on ingress, no packet is left for a program after it.
#[test]
fn other_parties_programs_at_a_bridges_port_are_left_alone() -> Result<()> {
    let site = Site::build(Middle::Cube, "ab")?;
    let ctl = |line: &str| site.scene.daemon.ctl(line).ok();
    ctl("disconnect br1:toveth1 veth1");
    let _first = bystanders(&site)?;
    ctl("attach a br1:toveth1");
    ctl("connect br1:toveth1 veth1");
    let _last = bystanders(&site)?;
    let (theirs, names) = others(&site)?;
    assert_eq!(names, "bystander root bystander bystander root bystander", "ingress, then egress");
    for (line, inward) in [
        ("attach b veth1", "ba"),
        ("a set mark=99", "bc"),
        ("detach b veth1", "c"),
        ("attach b br1:toveth1 position=first", "cb"),
        ("del b", "c"),
    ] {
        ctl(line);
        assert_eq!(others(&site)?, (theirs.clone(), names.clone()), "{line}");
        assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), (inward.to_owned(), reversed(inward)), "{line}");
    }
    for (hook, from, to, is_seen, place) in
        [(Hook::Ingress, 1, 2, false, "after a bridge on ingress"), (Hook::Egress, 2, 1, true, "after ours on egress")]
    {
        let drop = Bystander::attach(site.scene.host(1), hook, Verdict::Drop)?;
        assert_eq!(stops(&site, drop, from, to)?, is_seen, "{place}");
    }
    for (hook, from, to, place) in
        [(Hook::Ingress, 1, 2, "before ours on ingress"), (Hook::Egress, 2, 1, "before ours on egress")]
    {
        ctl("disconnect br1:toveth1 veth1");
        assert_eq!(others(&site)?, (theirs.clone(), "bystander bystander bystander bystander".to_owned()), "{place}");
        let drop = Bystander::attach(site.scene.host(1), hook, Verdict::Drop)?;
        ctl("connect br1:toveth1 veth1");
        assert!(stops(&site, drop, from, to)?, "{place}");
        let names = "bystander bystander root bystander bystander root".to_owned();
        assert_eq!(others(&site)?, (theirs.clone(), names), "ours goes after what it finds");
        assert_eq!((site.passed(1, 2)?, site.passed(2, 1)?), ("c".to_owned(), "c".to_owned()), "{place}");
    }
    Ok(())
}

fn reversed(chain: &str) -> String {
    chain.chars().rev().collect()
}
