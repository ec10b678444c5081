//! Does a filter accept exactly what it says, and leave every frame unchanged?

mod trial;

use std::time::Duration;

use anyhow::Result;
use polycube_tests::capture::{Direction, Recorder};
use polycube_tests::comparison::evidence;
use polycube_tests::hook::{Bystander, Hook, Verdict};
use polycube_tests::pcap::Record;
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::{Flow, Protocol, Sender, Steady, send_from_pages, sequence_of};

use trial::{FAR6, NEAR, NEAR6, Trial, captured, counters};

/// What the field for UDP accepts: also fragments, IPv6 after a fragment header, and frames with tags.
const UDP: &str = "udp* options fragment* *-udp short-28 short-3*";

#[test]
fn each_field_accepts_what_it_names() -> Result<()> {
    let near4 = "udp tcp icmp sctp gre dccp options fragment-* *-udp short-3*";
    let with_ports = "udp udp6 sctp sctp6 dccp* options fragment-first *-udp";
    let trial = Trial::new("")?;
    for (fields, expected) in [
        ("src=10.10.10.10/24", near4),
        ("src=10.10.10.77", near4),
        ("src=10.10.10.78", ""),
        ("src=10.10.10.10/15", &format!("{near4} udp-other")),
        ("src=2001:db8:1::ffff/48", "udp6 tcp6 icmp6 sctp6 gre6 dccp6 fragment6 vlan5-tcp6"),
        ("src=0.0.0.0/0", &format!("{near4} udp-other tcp-back short-*")),
        ("dst=10.10.10.10/24", "tcp-back"),
        ("dst=10.20.0.255/24", near4),
        ("dst=2001:db8:4::/48", "udp6-other"),
        ("sport=4000", &format!("{with_ports} tcp tcp6 vlan5-tcp6 short-36 short-37 short-38")),
        ("sport=4001", "udp-other udp6-other"),
        ("sport=80", "tcp-back"),
        ("dport=80", "tcp tcp6"),
        ("dport=5000", &format!("{with_ports} vlan5-tcp6 udp-other udp6-other short-38")),
        ("l4proto=tcp", "tcp tcp-back tcp6 vlan5-tcp6"),
        ("l4proto=udp", UDP),
        ("l4proto=icmp", "icmp"),
        ("l4proto=icmpv6", "icmp6"),
        ("l4proto=sctp", "sctp sctp6"),
        ("l4proto=47", "gre gre6"),
        ("l4proto=17", UDP),
        ("sport=4000 dport=80", "tcp tcp6"),
        (
            "src=10.10.10.10/24 dst=10.20.0.0/16 sport=4000 dport=5000 l4proto=udp",
            "udp options fragment-first *-udp short-38",
        ),
        ("src=2001:db8:1::/48 dst=2001:db8:2::/48 l4proto=sctp dport=5000", "sctp6"),
        ("dst=10.20.0.5 l4proto=tcp", "tcp"),
        ("dport=5000 l4proto=33", "dccp*"),
    ] {
        trial.scene.daemon.ctl("sniffer filters del").ok();
        trial.scene.daemon.ctl(&format!("sniffer filters set {fields}")).ok();
        trial.takes(fields, expected)?;
    }
    Ok(())
}

#[test]
fn expressions_accept_what_tcpdump_would() -> Result<()> {
    let trial = Trial::new("")?;
    for (expression, expected) in [
        ("vlan", "vlan*"),
        ("vlan 5", "vlan5*"),
        ("vlan 5 and udp dst port 5000", "vlan5-udp"),
        ("vlan 6 and src net 10.10.10.0/24", "vlan6-udp"),
        ("vlan 5 and ip6 and tcp port 4000", "vlan5-tcp6"),
        ("vlan 5 and vlan 6 and udp src port 4000", "vlan5-vlan6-udp"),
        ("ether[12:2] = 0x8100 and ether[16:2] = 0x0800", "vlan5-udp vlan6-udp"),
        ("arp", "arp"),
        ("tcp[13] & 8 != 0", "tcp tcp-back"),
        ("udp[2:2] == 5000", "udp udp-other options fragment-first short-38"),
        ("ip[6:2] & 0x1fff != 0", "fragment-later fragment-last"),
        ("less 36", "short-15 short-23 short-28 short-34 short-36"),
        ("ether[37] >= 0", "* -short-15 -short-23 -short-28 -short-34 -short-36 -short-37"),
        (
            "ip and ether[99] >= 0",
            "udp tcp tcp-back icmp udp-other sctp gre dccp options \
          fragment-first fragment-later fragment-last",
        ),
        ("all", "*"),
        ("1 = 1", "*"),
        ("len >= 0", "*"),
        ("ip or not ip", "*"),
        ("tcp-syn = 2 or arp", "*"),
        ("host 10.20.0.5 and (icmp or tcp port 80)", "tcp tcp-back icmp"),
        ("", "*"),
    ] {
        trial.set(expression);
        trial.takes(expression, expected)?;
    }
    Ok(())
}

#[test]
fn fields_and_expression_must_both_match_and_are_cleared_one_by_one() -> Result<()> {
    let trial = Trial::new("")?;
    assert_eq!((trial.show("show program"), trial.show("show filter")), ("unset".to_owned(), "unset".to_owned()));
    let run = |line: &str| trial.scene.daemon.ctl(line).ok();
    run("sniffer filters set src=10.10.10.10/24 sport=4000 snaplen=1000");
    trial.set("udp or sctp");
    trial.takes("both", "udp sctp options fragment-first short-36 short-37 short-38")?;
    run("sniffer filters del src");
    let shown = "src: unset\ndst: unset\nsport: 4000\ndport: unset\nl4proto: unset\nsnaplen: 1000";
    assert_eq!(trial.show("filters show"), shown);
    trial.takes("no src", "udp udp6 sctp sctp6 options fragment-first short-36 short-37 short-38")?;
    trial.set("");
    assert_eq!(trial.show("filter show"), "unset");
    trial.takes(
        "sport alone",
        "udp udp6 tcp tcp6 sctp sctp6 dccp* options fragment-first vlan* short-36 short-37 short-38",
    )?;
    run("sniffer filters del");
    assert!(trial.show("filters show").starts_with("src: unset\ndst: unset\nsport: unset"));
    assert_eq!(trial.show("show program"), "unset");
    trial.takes("nothing", "*")?;
    run("sniffer filters set l4proto=icmpv6");
    trial.set("all");
    assert_eq!(trial.show("show filter"), "all");
    trial.takes("fields and all", "icmp6")?;
    assert_eq!(trial.scene.get("sniffer/program")?["expression"], "icmp6");
    run("sniffer filters del");
    trial.takes("all alone", "*")
}

#[test]
fn fields_and_an_expression_about_tags_must_both_match() -> Result<()> {
    let trial = Trial::new("")?;
    trial.scene.daemon.ctl("sniffer filters set src=10.10.10.0/24 dport=5000").ok();
    for (expression, expected) in [
        ("", "udp sctp dccp options fragment-first *-udp short-38"),
        ("vlan", "*-udp"),
        ("vlan 5", "vlan5-udp vlan5-vlan6-udp"),
        ("vlan 6", "vlan6-udp"),
        ("vlan 5 and vlan 6", "vlan5-vlan6-udp"),
        ("vlan 5 and ip", "vlan5-udp"),
        ("sctp or vlan 6", "sctp vlan6-udp"),
        ("not vlan", "udp sctp dccp options fragment-first short-38"),
        ("udp", "udp options fragment-first short-38"),
    ] {
        trial.set(expression);
        trial.takes(expression, expected)?;
    }
    Ok(())
}

/// tcpdump has the netmask from the device; a capture may stand where there are no addresses.
#[test]
fn broadcasts_are_those_of_the_network_that_is_set() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    let set = |words: &[&str]| scene.daemon.ctl_words(&[&["sniffer", "set"], words].concat());
    let line = set(&["filter=ip broadcast"]).one_line(2);
    assert!(line.contains("set netmask too, such as netmask=24"), "{line}");
    let line = set(&["netmask=255.0.255.0"]).one_line(2);
    assert!(line.contains("`255.0.255.0` is not the mask of a network: give its length"), "{line}");
    let to = ["10.20.0.255", "10.20.0.5", "10.20.255.255", "255.255.255.255", "10.20.0.0"];
    let frames: Vec<_> = (0..)
        .zip(to)
        .map(|(number, to)| scene.flow(1, 2).with_ips(NEAR, to).frame(Protocol::Udp, 100, number))
        .collect();
    let recorder = Recorder::start(scene.peer(2))?;
    for (round, (netmask, expected)) in
        [("24", &[0, 2, 3, 4][..]), ("255.255.0.0", &[2, 3, 4]), ("0", &[3])].into_iter().enumerate()
    {
        set(&["filter=ip broadcast", &format!("netmask={netmask}")]).ok();
        let before = counters(&scene, "sniffer")?[3] as usize;
        Sender::open(scene.peer(1))?.send(&frames)?;
        recorder.wait_for((round + 1) * frames.len(), PATIENCE)?;
        assert_eq!(numbers(&captured(&scene, "sniffer")?.split_off(before)), expected, "{netmask}");
    }
    // The expression needs it.
    let line = scene.daemon.ctl("sniffer netmask del").one_line(2);
    assert!(line.contains("set netmask too"), "{line}");
    Ok(())
}

#[test]
fn a_refused_filter_leaves_the_running_one_in_place() -> Result<()> {
    let trial = Trial::new("")?;
    trial.scene.daemon.ctl("sniffer filters set src=10.10.10.0/24").ok();
    trial.set("icmp or tcp");
    let program = trial.scene.get("sniffer/program")?;
    for (words, about) in [
        ("filter=host 1.2.3.4 andd port 80", "syntax error at `andd`, character 14 of `host 1.2.3.4 andd port 80`"),
        ("filter=ip6", "`ip6` and the fields, which say `ip src net 10.10.10.0/24`: clear one of them"),
        ("filter=1 = 2", "expression rejects all packets: `1 = 2`"),
        ("filter=len < 0", "expression rejects all packets: `len < 0`"),
        ("filter=tcp) or (udp", "syntax error at `)`, character 4"),
        ("filters.dst=2001:db8::/32", "src=10.10.10.0/24 and dst=2001:db8::/32 are of different families"),
        ("filters.l4proto=icmpv6", "l4proto=icmpv6 is not carried by the family of 10.10.10.0/24"),
        ("filters.snaplen=0", "0 is less than the minimum of 1"),
    ] {
        let line = trial.scene.daemon.ctl_words(&["sniffer", "set", words]).one_line(2);
        assert!(line.contains(about), "{line}");
        assert_eq!(trial.scene.get("sniffer/program")?, program, "{words}");
        trial.takes(words, "tcp icmp")?;
    }
    Ok(())
}

/// The frames' sequence numbers.
fn numbers(records: &[Record]) -> Vec<u32> {
    records.iter().map(|record| sequence_of(&record.bytes).expect("a numbered frame")).collect()
}

/// Sends numbered frames from peer 1 to peer 2 during `work`; all must arrive, whole and in order. Returns how many.
#[track_caller]
fn under_traffic(scene: &Scene, work: impl FnOnce(&Steady) -> Result<()>) -> Result<u32> {
    let recorder = Recorder::start(scene.peer(2))?;
    let flow = scene.flow(1, 2);
    let steady = Steady::start(scene.peer(1), flow, 200, 2_000_000)?;
    steady.wait_for(1)?;
    let done = work(&steady);
    let sent = steady.stop()?;
    done?;
    let _ = recorder.wait_for(sent as usize, Duration::from_secs(5));
    let recording = recorder.stop()?;
    assert_eq!(recording.drops, 0, "the recorder lost frames");
    let (come, frames) = (recording.frames.len(), &recording.frames);
    let wrong = frames.iter().zip(0..).position(|(seen, number)| seen.bytes != flow.frame(Protocol::Udp, 200, number));
    assert!(wrong.is_none() && come == sent as usize, "{come} of {sent}, wrong at {wrong:?}; {}", evidence(frames));
    Ok(sent)
}

#[test]
fn filters_given_at_creation_apply_from_the_first_packet() -> Result<()> {
    let scene = Scene::bridge(2)?;
    let settings = "capture=bidirectional filters.dst=198.18.0.2 filters.dport=5001 filter=udp";
    scene.daemon.ctl(&format!("packetcapture add sniffer {settings}")).ok();
    under_traffic(&scene, |steady| {
        for _ in 0..10 {
            scene.daemon.ctl("attach sniffer br1:toveth1").ok();
            steady.wait_for(64)?;
            scene.daemon.ctl("detach sniffer br1:toveth1").ok();
        }
        Ok(())
    })?;
    let [seen, matched, rejected, ..] = counters(&scene, "sniffer")?;
    assert!(rejected > 0 && seen == rejected && matched == 0, "{matched} of {seen} matched, {rejected} did not");
    assert_eq!(scene.dump()?, None);
    Ok(())
}

#[test]
fn a_hundred_filters_lose_no_frame() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional");
    let sent = under_traffic(&scene, |_| {
        for round in 0..20 {
            let port = format!("filters.sport={}", 3990 + round);
            for setting in ["filter=udp", "filter=tcp", &port, "filter=", "filter=vlan or len > 90"] {
                scene.daemon.ctl_words(&["sniffer", "set", setting]).ok();
            }
        }
        Ok(())
    })?;
    let [seen, matched, rejected, captured, drops] = counters(&scene, "sniffer")?;
    assert_eq!((seen, matched), (u64::from(sent), captured + drops));
    assert_eq!(seen, matched + rejected);
    Ok(())
}

/// Each of these filters accepts the whole stream, so whichever is in force, every frame is captured once.
#[test]
fn changing_between_filters_that_accept_all_loses_and_doubles_nothing() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=bidirectional ring-size=64");
    let sent = under_traffic(&scene, |_| {
        for round in 0..25 {
            for setting in ["filter=udp dst port 5000", "filter=src host 198.18.0.1", "filter=all", "filter=ip"] {
                let snaplen = format!("snaplen={}", 1000 + round);
                scene.daemon.ctl_words(&["sniffer", "set", setting, &snaplen]).ok();
            }
        }
        Ok(())
    })?;
    let [seen, matched, rejected, _, drops] = counters(&scene, "sniffer")?;
    assert_eq!((seen, matched, rejected), (u64::from(sent), seen, 0));
    let numbers = numbers(&captured(&scene, "sniffer")?);
    assert!(numbers.is_sorted_by(|one, next| one < next), "out of order or twice");
    assert_eq!(numbers.len() as u64 + drops, u64::from(sent));
    Ok(())
}

#[test]
fn a_change_of_filter_and_snap_length_takes_effect_at_once() -> Result<()> {
    let trial = Trial::new("filter=tcp")?;
    trial.takes("tcp", "tcp tcp-back tcp6")?;
    trial.scene.daemon.ctl("sniffer set snaplen=60 filter=icmp").ok();
    let frames = trial.scene.flow(1, 2).frames(Protocol::Icmp, 100, 3);
    let recorder = Recorder::start(trial.scene.peer(2))?;
    Sender::open(trial.scene.peer(1))?.send(&frames)?;
    recorder.wait_for(3, PATIENCE)?;
    let records = captured(&trial.scene, "sniffer")?.split_off(3);
    assert!(records.iter().map(|record| &record.bytes[..]).eq(frames.iter().map(|frame| &frame[..60])));
    assert!(records.iter().all(|record| record.orig_len == 100));
    trial.scene.daemon.ctl("sniffer set snaplen=262144 filter=icmp6").ok();
    let before = counters(&trial.scene, "sniffer")?[3];
    Sender::open(trial.scene.peer(1))?.send(&[trial.zoo[7].1.clone()])?;
    recorder.wait_for(4, PATIENCE)?;
    assert_eq!(captured(&trial.scene, "sniffer")?.split_off(before as usize)[0].bytes, trial.zoo[7].1);
    Ok(())
}

/// What direct access cannot reach is read with a helper call. The program after the sniffer shows that the frames were
/// such: it drops every frame with more linear bytes.
#[test]
fn frames_in_pages_are_filtered_like_others() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    let _judge = Bystander::attach(scene.host(2), Hook::Egress, Verdict::DropLinear)?;
    let (v4, v6) = (scene.flow(1, 2), scene.flow(1, 2).with_ips(NEAR6, FAR6));
    let mut other = v4;
    other.to.port = 5001;
    let flows = [v4, v6, other, v4.with_vlan(5), v6.with_vlan(5)];
    let frames: Vec<_> =
        (0..).zip(flows.iter().cycle()).take(40).map(|(n, flow)| flow.frame(Protocol::Udp, 300, n)).collect();
    let linear = Sender::open(scene.peer(1))?;
    let sent_by = |places: &[u32]| (0..40).filter(|number| places.contains(&(number % 5))).collect::<Vec<u32>>();
    for (expression, places) in [
        ("udp dst port 5000", &[0, 1][..]),
        ("ip and udp dst port 5001", &[2]),
        ("udp[2:2] = 5000", &[0]),
        ("vlan 5 and udp dst port 5000", &[3, 4]),
        ("vlan 5 and ip and udp[8:4] >= 0", &[3]),
        ("ether[299] >= 0", &[0, 1, 2, 3, 4]),
        ("ether[304] >= 0", &[]),
        ("udp dst port 5002", &[]),
    ] {
        scene.daemon.ctl_words(&["sniffer", "set", &format!("filter={expression}")]).ok();
        let before = counters(&scene, "sniffer")?;
        let recorder = Recorder::start(scene.peer(2))?;
        // The program after the sniffer drops these.
        linear.send(&[v4.frame(Protocol::Tcp, 300, 1000)])?;
        send_from_pages(scene.peer(1), &frames)?;
        recorder.wait_for(frames.len(), PATIENCE)?;
        let arrived = recorder.stop()?.going(Direction::In);
        assert!(arrived.iter().map(|seen| &seen.bytes).eq(&frames), "{expression}: {}", evidence(&arrived));
        let records = captured(&scene, "sniffer")?.split_off(before[3] as usize);
        let found: Vec<_> = numbers(&records).into_iter().filter(|number| *number < 1000).collect();
        assert_eq!(found, sent_by(places), "{expression}");
        assert_eq!(counters(&scene, "sniffer")?[0] - before[0], 41, "{expression}");
    }
    Ok(())
}

#[test]
fn a_plain_netdev_is_filtered_in_both_directions() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl("packetcapture add sniffer capture=bidirectional").ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    scene.daemon.ctl("sniffer filters set src=198.18.0.1 dport=5000").ok();
    let there = Flow::between(scene.peer(1), scene.host(1));
    let frames: Vec<_> = [there, there.reversed()].iter().flat_map(|flow| flow.frames(Protocol::Udp, 100, 5)).collect();
    for end in [scene.peer(1), scene.host(1)] {
        let recorder = Recorder::start(scene.peer(1))?;
        Sender::open(end)?.send(&frames)?;
        recorder.wait_for(frames.len(), PATIENCE)?;
    }
    let records = captured(&scene, "sniffer")?;
    assert!(records.iter().map(|record| &record.bytes).eq(frames[..5].iter().chain(&frames[..5])));
    assert_eq!(counters(&scene, "sniffer")?, [20, 10, 10, 10, 0]);
    Ok(())
}

#[test]
fn eight_sniffers_on_a_port_each_have_a_filter() -> Result<()> {
    const SNIFFERS: u32 = 8;
    const FRAMES: u32 = 800;
    let scene = Scene::bridge(2)?;
    for number in 0..SNIFFERS {
        let settings = format!("capture=ingress ring-size=1 filters.dport={}", 5000 + number);
        scene.daemon.ctl(&format!("packetcapture add s{number} {settings}")).ok();
        let position = ["", " position=first", " position=last"][number as usize % 3];
        scene.daemon.ctl(&format!("attach s{number} br1:toveth1{position}")).ok();
    }
    let frame = |number: u32| {
        let mut flow = scene.flow(1, 2);
        flow.to.port += (number % SNIFFERS) as u16;
        flow.frame(Protocol::Udp, 100, number)
    };
    let recorder = Recorder::start(scene.peer(2))?;
    Sender::open(scene.peer(1))?.send(&(0..FRAMES).map(frame).collect::<Vec<_>>())?;
    recorder.wait_for(FRAMES as usize, PATIENCE)?;
    for number in 0..SNIFFERS {
        let cube = format!("s{number}");
        let expected: Vec<_> = (0..FRAMES).filter(|frame| frame % SNIFFERS == number).collect();
        assert_eq!(numbers(&captured(&scene, &cube)?), expected, "{cube}");
        let (all, some) = (u64::from(FRAMES), u64::from(FRAMES / SNIFFERS));
        assert_eq!(counters(&scene, &cube)?, [all, some, all - some, some, 0], "{cube}");
    }
    Ok(())
}
