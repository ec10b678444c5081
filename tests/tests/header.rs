//! Does polycube.h do what docs/kernel-side.md says? Its functions, compiled with clang and run in the kernel.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use polycube_tests::bpf;
use polycube_tests::object::{Loaded, load};

/// Verdicts of `include/uapi/linux/pkt_cls.h`, and `TCX_NEXT`.
const PASS: u32 = 0;
const DROP: u32 = 2;
const REDIRECT: u32 = 7;
const END: u32 = u32::MAX;

/// The first words of `struct __sk_buff` up to `cb[0]`, whose index it is.
const CB: usize = 12;

static OBJECT: LazyLock<Vec<u8>> = LazyLock::new(|| compile().expect("clang compiles the fixture"));

fn compile() -> Result<Vec<u8>> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir()?;
    let object = directory.path().join("header.o");
    for name in ["clang", "clang-19", "clang-16", "clang-14"] {
        let mut clang = Command::new(name);
        clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-c"]);
        clang.arg("-I").arg(tests.join("../sdk/include")).arg(tests.join("fixtures/header/header.bpf.c"));
        let Ok(output) = clang.arg("-o").arg(&object).output() else { continue };
        ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        return Ok(std::fs::read(&object)?);
    }
    bail!("clang is not installed: apt install clang")
}

/// Runs a program on a packet from a port: the verdict, and the packet afterwards.
fn pass(loaded: &Loaded, packet: &[u8], port: u32) -> Result<(u32, Vec<u8>)> {
    let mut context = [0; CB + 1];
    context[CB] = port;
    let mut out = vec![0; packet.len()];
    let outcome = bpf::test_run(loaded.program.as_fd(), packet, &context, &mut out, 1)?;
    out.truncate(outcome.size);
    Ok((outcome.value, out))
}

fn program(entry: &str) -> Result<Loaded> {
    load(&OBJECT, entry, &[], |_, _| {})
}

fn udp(ttl: u8, port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = builder.ipv4([10, 0, 0, 1], [10, 0, 0, 2], ttl).udp(1024, port);
    let mut packet = Vec::new();
    builder.write(&mut packet, &[7; 21]).expect("a vector takes everything");
    packet
}

/// Whether the checksums of a packet are right.
fn check_sums(packet: &[u8]) -> Result<()> {
    let sliced = SlicedPacket::from_ethernet(packet)?;
    let ip = sliced.net.as_ref().and_then(|net| net.ipv4_ref()).context("IPv4")?;
    let header = ip.header().to_header();
    ensure!(header.calc_header_checksum() == header.header_checksum, "the header's checksum");
    if let Some(TransportSlice::Udp(udp)) = &sliced.transport {
        let expected = udp.to_header().calc_checksum_ipv4(&header, udp.payload())?;
        ensure!(udp.checksum() == expected, "the checksum of UDP");
    }
    Ok(())
}

#[test]
fn the_ttl_goes_down_with_the_checksum() -> Result<()> {
    let age = load(&OBJECT, "age", &[("MIN_TTL", &[3])], |_, _| {})?;
    for ttl in [255, 128, 64, 4] {
        let (verdict, after) = pass(&age, &udp(ttl, 9), 0)?;
        ensure!(verdict == PASS && after[22] == ttl - 1, "{ttl}: {verdict}");
        check_sums(&after).with_context(|| format!("a TTL of {ttl}"))?;
    }
    for ttl in [0, 1, 3] {
        ensure!(pass(&age, &udp(ttl, 9), 0)?.0 == DROP, "{ttl}");
    }
    // What is not IPv4 goes on: the slot `next` is empty.
    let mut other = udp(64, 9);
    other[12] = 0x88;
    ensure!(pass(&age, &other, 0)?.0 == END);

    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let cpus = cpus.trim().rsplit('-').next().context("CPUs")?.parse::<usize>()? + 1;
    let mut counted = [[0_u64; 2]; 2];
    for (index, sum) in counted.iter_mut().enumerate() {
        let mut values = vec![0; 16 * cpus];
        bpf::lookup(age.maps["counters"].as_fd(), &(index as u32).to_ne_bytes(), &mut values)?;
        for value in values.chunks(8).enumerate() {
            sum[value.0 % 2] += u64::from_ne_bytes(value.1.try_into()?);
        }
    }
    let size = udp(1, 9).len() as u64;
    assert_eq!(counted, [[4, 4 * size], [3, 3 * size]]);
    Ok(())
}

#[test]
fn an_address_changes_with_the_checksums() -> Result<()> {
    let divert = program("divert")?;
    let (verdict, after) = pass(&divert, &udp(64, 53), 0)?;
    assert_eq!((verdict, &after[30..34]), (PASS, &[192, 0, 2, 1][..]));
    check_sums(&after)?;
    let before = udp(64, 54);
    assert_eq!(pass(&divert, &before, 0)?, (END, before));
    Ok(())
}

/// Every length of every kind of packet: no more is read than there is.
#[test]
fn headers_are_found_behind_tags_and_options_and_never_past_the_end() -> Result<()> {
    let kind = program("kind")?;
    let ethernet = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let write = |protocol: u32, least: usize, write: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = Vec::new();
        write(&mut packet);
        (protocol, least, packet)
    };
    let v6 = ([1; 16], [2; 16]);
    let cases = [
        write(6, 14 + 20 + 20, &|out| ethernet().ipv4([1; 4], [2; 4], 9).tcp(1, 2, 3, 4).write(out, &[0; 40]).unwrap()),
        write(1, 14 + 20 + 8, &|out| {
            ethernet().ipv4([1; 4], [2; 4], 9).icmpv4_echo_request(1, 2).write(out, &[0; 40]).unwrap();
        }),
        write(58, 14 + 40 + 8, &|out| {
            ethernet().ipv6(v6.0, v6.1, 9).icmpv6_echo_request(1, 2).write(out, &[0; 40]).unwrap();
        }),
        write(6, 14 + 40 + 20, &|out| ethernet().ipv6(v6.0, v6.1, 9).tcp(1, 2, 3, 4).write(out, &[0; 40]).unwrap()),
    ];
    for (protocol, least, packet) in cases {
        // The kernel runs no program on a packet that has less than the header of IP.
        let start = if packet[12] == 8 { 14 + 20 } else { 14 + 40 };
        for length in start..packet.len() {
            let (found, _) = pass(&kind, &packet[..length], 0)?;
            assert_eq!(found, if length >= least { protocol } else { 0 }, "{protocol}, {length} bytes");
        }
    }
    // The kernel takes the outer tag out of the packet only where a driver receives it.
    let mut tagged = Vec::new();
    let double = etherparse::VlanId::try_new(5)?;
    ethernet().double_vlan(double, double).ipv4([1; 4], [2; 4], 9).tcp(1, 2, 3, 4).write(&mut tagged, &[0; 9])?;
    ensure!(pass(&kind, &tagged, 0)?.0 == 6, "two tags");
    // Options: 8 bytes of them.
    let mut options = udp(64, 9);
    options[14] = 0x47;
    options[23] = 1;
    options.splice(34..34, [1; 8]);
    ensure!(pass(&kind, &options, 0)?.0 == 1, "options");
    options[14] = 0x44;
    ensure!(pass(&kind, &options, 0)?.0 == 0, "a header that is too short");
    Ok(())
}

#[test]
fn a_packet_is_forwarded_to_ports_that_have_a_peer() -> Result<()> {
    let back = program("back")?;
    bpf::update(back.maps["ports"].as_fd(), &5_u32.to_ne_bytes(), &1_u32.to_ne_bytes())?;
    for (port, verdict) in [(5, REDIRECT), (6, DROP), (127, DROP), (128, DROP), (u32::MAX, END)] {
        assert_eq!(pass(&back, &udp(64, 9), port)?.0, verdict, "{port}");
    }
    Ok(())
}
