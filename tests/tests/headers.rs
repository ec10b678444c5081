//! Does `snaplen=headers` record each packet up to the end of its transport header, and no byte of payload?

use anyhow::{Result, ensure};
use polycube_tests::pcap;
use polycube_tests::scene::{PATIENCE, Scene};
use polycube_tests::traffic::Sender;
use serde_json::json;

const PAYLOAD: [u8; 100] = [0xaa; 100];

/// A frame, and how many of its bytes are headers.
struct Case {
    name: &'static str,
    frame: Vec<u8>,
    headers: usize,
}

/// A frame with these headers and a payload.
fn case(name: &'static str, headers: &[&[u8]]) -> Case {
    let headers = headers.concat();
    Case { name, frame: [&headers[..], &PAYLOAD].concat(), headers: headers.len() }
}

/// Addresses and an EtherType.
fn ethernet(kind: u16) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes()].concat()
}

/// A tag's control information, and the EtherType after it.
fn tag(kind: u16) -> Vec<u8> {
    [&[0, 7][..], &kind.to_be_bytes()].concat()
}

fn ipv4(protocol: u8) -> Vec<u8> {
    vec![0x45, 0, 0, 120, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
}

fn ipv6(next: u8) -> Vec<u8> {
    [&[0x60, 0, 0, 0, 0, 100, next, 64][..], &[0x20; 32]].concat()
}

fn tcp(words: u8) -> Vec<u8> {
    let mut header = vec![0; usize::from(words) * 4];
    header[..4].copy_from_slice(&[0x12, 0x34, 0, 80]);
    header[12] = words << 4;
    header
}

fn udp(port: u16) -> Vec<u8> {
    [&[0x12, 0x34][..], &port.to_be_bytes(), &[0, 108, 0, 0]].concat()
}

fn plain() -> Vec<Case> {
    vec![
        case("UDP", &[&ethernet(0x0800), &ipv4(17), &udp(9)]),
        case("TCP with options", &[&ethernet(0x0800), &ipv4(6), &tcp(8)]),
        case("ICMP", &[&ethernet(0x0800), &ipv4(1), &[8, 0, 0, 0, 0, 1, 0, 1]]),
        case("SCTP", &[&ethernet(0x0800), &ipv4(132), &[0; 12]]),
        case("ESP", &[&ethernet(0x0800), &ipv4(50), &[1; 8]]),
        case("AH", &[&ethernet(0x0800), &ipv4(51), &[6, 4], &[0; 22], &tcp(5)]),
        case("IP options", &[&ethernet(0x0800), &[0x46], &ipv4(6)[1..], &[1; 4], &tcp(5)]),
        case("IPv6", &[&ethernet(0x86dd), &ipv6(17), &udp(9)]),
        case("one tag", &[&ethernet(0x8100), &tag(0x0800), &ipv4(6), &tcp(5)]),
        case("one tag, IPv6", &[&ethernet(0x8100), &tag(0x86dd), &ipv6(58), &[128, 0, 0, 0, 0, 1, 0, 1]]),
        case("two tags", &[&ethernet(0x88a8), &tag(0x8100), &tag(0x86dd), &ipv6(6), &tcp(7)]),
        case("MPLS", &[&ethernet(0x8847), &[0, 1, 0, 64], &[0, 2, 1, 64], &ipv4(17), &udp(9)]),
        case("PPPoE", &[&ethernet(0x8864), &[0x11, 0, 0, 1, 0, 122, 0, 0x21], &ipv4(17), &udp(9)]),
        case("IP in IP", &[&ethernet(0x0800), &ipv4(4), &ipv4(17), &udp(9)]),
        case("IPv6 in IP", &[&ethernet(0x0800), &ipv4(41), &ipv6(6), &tcp(5)]),
        case("ARP", &[&ethernet(0x0806), &[0, 1, 8, 0, 6, 4, 0, 1], &[1; 20]]),
    ]
}

/// What follows these headers is not known, or is not the header of what they announce.
fn cut_early() -> Vec<Case> {
    let fragment = |offset: u16| {
        let mut header = ipv4(17);
        header[6..8].copy_from_slice(&offset.to_be_bytes());
        header
    };
    let mut cases = vec![
        case("a first fragment", &[&ethernet(0x0800), &fragment(0x2000), &udp(9)]),
        case("a later fragment", &[&ethernet(0x0800), &fragment(0x2001)]),
        case("an unknown EtherType", &[&ethernet(0x1234)]),
        case("a length in place of the type", &[&ethernet(100)]),
        case("an unknown protocol", &[&ethernet(0x0800), &ipv4(200)]),
        case("an extension header of IPv6 in IPv4", &[&ethernet(0x0800), &ipv4(60)]),
        case("a header of 12 bytes", &[&ethernet(0x0800)]),
        case("IPv6 with the type of IPv4", &[&ethernet(0x0800)]),
        case(
            "extension headers",
            &[
                &ethernet(0x86dd),
                &ipv6(0),
                &[60, 0, 0, 0, 0, 0, 0, 0],
                &[43, 1],
                &[0; 14],
                &[44, 0, 0, 0, 0, 0, 0, 0],
                &[6, 0, 0, 1, 0, 0, 0, 9],
                &tcp(6),
            ],
        ),
        case("a later fragment of IPv6", &[&ethernet(0x86dd), &ipv6(44), &[6, 0, 0, 0x10, 0, 0, 0, 9]]),
        case("no next header", &[&ethernet(0x86dd), &ipv6(59)]),
        case("another IPv6 header than announced", &[&ethernet(0x86dd)]),
    ];
    for case in &mut cases {
        let broken: &[u8] = match case.name {
            "a header of 12 bytes" => &[0x43],
            "IPv6 with the type of IPv4" => &[0x60],
            "another IPv6 header than announced" => &[0x45],
            _ => continue,
        };
        case.frame[case.headers] = broken[0];
    }
    let whole = [ethernet(0x0800), ipv4(6), tcp(5)].concat();
    cases.push(Case { name: "cut within TCP's header", frame: whole[..44].to_vec(), headers: 34 });
    cases
}

#[track_caller]
fn check(scene: &Scene, cases: &[Case]) -> Result<()> {
    let frames: Vec<Vec<u8>> = cases.iter().map(|case| case.frame.clone()).collect();
    Sender::open(scene.peer(1))?.send(&frames)?;
    let found = pcap::wait_for(&scene.wait_for_dump()?, cases.len(), PATIENCE)?;
    for (case, record) in cases.iter().zip(&found.records) {
        let Case { name, frame, headers } = case;
        ensure!(record.bytes == frame[..*headers], "{name}: {} bytes, not {headers}", record.bytes.len());
        ensure!(record.orig_len as usize == frame.len(), "{name}: {} on the wire", record.orig_len);
    }
    Ok(())
}

fn sniffed(settings: &str) -> Result<Scene> {
    let scene = Scene::set_up().peers(1).start()?;
    scene.daemon.ctl(&format!("packetcapture add sniffer capture=ingress format=pcapng {settings}")).ok();
    scene.daemon.ctl("attach sniffer veth1").ok();
    Ok(scene)
}

#[test]
fn packets_end_where_their_headers_do() -> Result<()> {
    check(&sniffed("snaplen=headers")?, &plain())
}

#[test]
fn what_is_not_understood_is_cut_before() -> Result<()> {
    check(&sniffed("snaplen=headers")?, &cut_early())
}

#[test]
fn dns_is_whole_on_request() -> Result<()> {
    let cases = || {
        let v4 = case("DNS", &[&ethernet(0x0800), &ipv4(17), &udp(53)]);
        let v6 = case("a tagged answer", &[&ethernet(0x8100), &tag(0x86dd), &ipv6(17), &[0, 53, 0x12, 0x34], &[0; 4]]);
        let tcp = case("DNS over TCP", &[&ethernet(0x0800), &ipv4(6), &[0x12, 0x34, 0, 53], &tcp(5)[4..]]);
        [v4, v6, tcp]
    };
    let whole = cases().map(|case| Case { headers: case.frame.len(), ..case });
    let other = case("another port", &[&ethernet(0x0800), &ipv4(17), &udp(54)]);
    check(&sniffed("snaplen=headers")?, &cases())?;
    let scene = sniffed("snaplen=headers whole-dns=true")?;
    check(&scene, &whole.into_iter().chain([other]).collect::<Vec<_>>())
}

#[test]
fn the_setting_is_a_number_or_the_word() -> Result<()> {
    let scene = sniffed("snaplen=headers")?;
    assert_eq!(scene.get("sniffer/snaplen")?, json!("headers"));
    scene.daemon.ctl("sniffer set snaplen=96").ok();
    assert_eq!(scene.get("sniffer/snaplen")?, json!(96));
    let answer = scene.daemon.http("PATCH", "/polycube/v1/sniffer/snaplen", Some(&json!("64")))?;
    ensure!(answer.status < 300, "{answer:?}");
    assert_eq!(scene.get("sniffer/snaplen")?, json!(64), "digits in a text are a number");
    for (wrong, message) in [("header", "write it like 96, headers"), ("0", "minimum"), ("262145", "maximum")] {
        let refusal = scene.daemon.ctl(&format!("sniffer set snaplen={wrong}")).one_line(2);
        ensure!(refusal.contains(message), "{wrong}: {refusal}");
    }
    Ok(())
}
