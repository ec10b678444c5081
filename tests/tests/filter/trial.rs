//! The frames that filters tell apart, and what a capture makes of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result};
use polycube_tests::capture::Recorder;
use polycube_tests::comparison::evidence;
use polycube_tests::pcap::{self, Record};
use polycube_tests::scene::{PATIENCE, Scene, eventually};
use polycube_tests::traffic::{Flow, Protocol, Sender};

pub(crate) const NEAR: &str = "10.10.10.77";
pub(crate) const FAR: &str = "10.20.0.5";
pub(crate) const NEAR6: &str = "2001:db8:1::77";
pub(crate) const FAR6: &str = "2001:db8:2::5";

/// Offsets in a frame without a tag: the protocol that IP carries, and IPv4's fragment field.
const PROTOCOL: usize = 23;
const PROTOCOL6: usize = 20;
const FRAGMENT: usize = 20;

/// Frames of every sort that filters distinguish, by name.
fn zoo(scene: &Scene) -> Vec<(&'static str, Vec<u8>)> {
    let flow = |from: &str, from_port, to: &str, to_port| {
        let mut flow = scene.flow(1, 2).with_ips(from, to);
        (flow.from.port, flow.to.port) = (from_port, to_port);
        flow
    };
    let (v4, v6) = (flow(NEAR, 4000, FAR, 5000), flow(NEAR6, 4000, FAR6, 5000));
    let number = std::cell::Cell::new(0);
    let frame = |flow: Flow, kind| {
        number.set(number.get() + 1);
        flow.frame(kind, 100, number.get())
    };
    let udp = || frame(v4, Protocol::Udp);
    let udp6 = || frame(v6, Protocol::Udp);
    let with = |mut frame: Vec<u8>, at: usize, bytes: &[u8]| {
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    // The fragment header (RFC 8200, section 4.5) comes before the ports.
    let mut fragment6 = with(udp6(), PROTOCOL6, &[44]);
    fragment6.splice(54..54, [17, 0, 0, 1, 0, 0, 0, 7]);
    // One option word (RFC 791, section 3.1) moves them by four bytes.
    let mut options = with(udp(), 14, &[0x46]);
    options.splice(34..34, [1, 1, 1, 0]);
    let mut twice = frame(v4.with_vlan(6), Protocol::Udp);
    twice.splice(12..12, [0x88, 0xa8, 0, 5]);
    let mut zoo = vec![
        ("udp", udp()),
        ("tcp", frame(flow(NEAR, 4000, FAR, 80), Protocol::Tcp)),
        ("tcp-back", frame(flow(FAR, 80, NEAR, 4000), Protocol::Tcp)),
        ("icmp", frame(v4, Protocol::Icmp)),
        ("udp-other", frame(flow("10.10.11.77", 4001, "10.20.1.5", 5000), Protocol::Udp)),
        ("udp6", udp6()),
        ("tcp6", frame(flow(NEAR6, 4000, FAR6, 80), Protocol::Tcp)),
        ("icmp6", frame(v6, Protocol::Icmp)),
        ("udp6-other", frame(flow("2001:db8:3::77", 4001, "2001:db8:4::5", 5000), Protocol::Udp)),
        ("sctp", with(udp(), PROTOCOL, &[132])),
        ("sctp6", with(udp6(), PROTOCOL6, &[132])),
        ("gre", with(udp(), PROTOCOL, &[47])),
        ("gre6", with(udp6(), PROTOCOL6, &[47])),
        ("dccp", with(udp(), PROTOCOL, &[33])),
        ("dccp6", with(udp6(), PROTOCOL6, &[33])),
        ("arp", frame(v4, Protocol::Arp)),
        ("options", options),
        ("fragment-first", with(udp(), FRAGMENT, &[0x20, 0])),
        ("fragment-later", with(udp(), FRAGMENT, &[0x20, 8])),
        ("fragment-last", with(udp(), FRAGMENT, &[0, 16])),
        ("fragment6", fragment6),
        ("vlan5-udp", frame(v4.with_vlan(5), Protocol::Udp)),
        ("vlan5-tcp6", frame(v6.with_vlan(5), Protocol::Tcp)),
        ("vlan6-udp", frame(v4.with_vlan(6), Protocol::Udp)),
        ("vlan5-vlan6-udp", twice),
    ];
    // Ends after the EtherType, before the protocol, within and after the addresses, and around the ports.
    let shorts = ["short-15", "short-23", "short-28", "short-34", "short-36", "short-37", "short-38"];
    zoo.extend(shorts.map(|name| (name, udp()[..name[6..].parse().expect("a length")].to_vec())));
    zoo
}

/// A cube's `seen`, `matched`, `rejected`, `captured`, and the sum of what was dropped.
pub(crate) fn counters(scene: &Scene, cube: &str) -> Result<[u64; 5]> {
    let all = scene.get(&format!("{cube}/counters"))?;
    let one = |name: &str| all[name].as_u64().with_context(|| format!("no {name} in {all}"));
    let drops = all.as_object().context("no counters")?.iter().filter(|(name, _)| name.starts_with("dropped-"));
    let drops = drops.filter_map(|(_, count)| count.as_u64()).sum();
    Ok([one("seen")?, one("matched")?, one("rejected")?, one("captured")?, drops])
}

/// What a cube has captured so far, in one session.
pub(crate) fn captured(scene: &Scene, cube: &str) -> Result<Vec<Record>> {
    let [.., count, _] = counters(scene, cube)?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut path = PathBuf::new();
    eventually("a capture file", || {
        let dump = scene.get(cube)?["dump"].clone();
        let found = dump.as_str().and_then(|sentence| sentence.strip_prefix("capture dump in "));
        path = found.map(PathBuf::from).unwrap_or_default();
        Ok(found.is_some())
    })?;
    Ok(pcap::wait_for(&path, count as usize, PATIENCE)?.records)
}

/// A bridge, or a netdev, that a sniffer watches, and the frames that cross it.
pub(crate) struct Trial {
    pub(crate) scene: Scene,
    pub(crate) zoo: Vec<(&'static str, Vec<u8>)>,
}

impl Trial {
    pub(crate) fn new(settings: &str) -> Result<Self> {
        let scene = Scene::bridge(2)?;
        scene.sniff(&format!("capture=ingress {settings}"));
        Ok(Self { zoo: zoo(&scene), scene })
    }

    /// Sends all frames, and checks that all arrive untouched and that those named, and no others, are captured and
    /// counted.
    #[track_caller]
    pub(crate) fn takes(&self, what: &str, expected: &str) -> Result<()> {
        let before = counters(&self.scene, "sniffer")?;
        let frames: Vec<_> = self.zoo.iter().map(|(_, frame)| frame.clone()).collect();
        let recorder = Recorder::start(self.scene.peer(2))?;
        Sender::open(self.scene.peer(1))?.send(&frames)?;
        recorder.wait_for(frames.len(), PATIENCE)?;
        let arrived = recorder.stop()?.frames;
        assert!(arrived.iter().map(|seen| &seen.bytes).eq(&frames), "{what}: changed; {}", evidence(&arrived));

        let records = captured(&self.scene, "sniffer")?.split_off(before[3] as usize);
        let name = |record: &Record| {
            let found = self.zoo.iter().find(|(_, frame)| *frame == record.bytes);
            found.map_or_else(|| format!("{record:?}"), |(name, _)| (*name).to_owned())
        };
        let found: Vec<_> = records.iter().map(name).collect();
        assert_eq!(found.join(" "), self.names(expected), "{what}");
        let after = counters(&self.scene, "sniffer")?;
        let (all, matched) = (frames.len() as u64, found.len() as u64);
        let more: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(more, [all, matched, all - matched, matched, 0], "{what}: seen, matched, rejected, captured, drops");
        Ok(())
    }

    /// Names in the order of the frames; `*` means all, and `-` before a pattern removes. A `*` at a pattern's end
    /// or start matches any rest.
    #[track_caller]
    fn names(&self, patterns: &str) -> String {
        let mut chosen = BTreeSet::new();
        for pattern in patterns.split_whitespace() {
            let (is_less, pattern) = pattern.strip_prefix('-').map_or((false, pattern), |rest| (true, rest));
            let fits = |name: &str| match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
                (Some(end), _) => name.ends_with(end),
                (_, Some(start)) => name.starts_with(start),
                _ => name == pattern,
            };
            let places: Vec<_> = (0..self.zoo.len()).filter(|place| fits(self.zoo[*place].0)).collect();
            assert!(!places.is_empty(), "there is no {pattern}");
            for place in places {
                if is_less {
                    chosen.remove(&place)
                } else {
                    chosen.insert(place)
                };
            }
        }
        chosen.iter().map(|place| self.zoo[*place].0).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn set(&self, expression: &str) {
        self.scene.daemon.ctl_words(&["sniffer", "set", &format!("filter={expression}")]).ok();
    }

    pub(crate) fn show(&self, line: &str) -> String {
        self.scene.daemon.ctl(&format!("sniffer {line}")).ok().trim_end().to_owned()
    }
}
