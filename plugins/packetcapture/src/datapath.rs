//! What a capture asks the host to load.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use polycube_filter::{Compiled, LinkType};
use polycube_layout::ring::{
    ARRAY, ARRAY_OF_MAPS, BELL, EXTENT, FLAGS, FORMAT, HEADERS, HEADERS_AND_DNS, INBOUND, INTERFACE, IP_SUMMED, LANES,
    LARGE, LARGE_FLAGS, MASK, OUTBOUND, PIECE, RAW_IP, RINGS, SEGMENT_BITS, SMALL_MASK, SNAPLEN, WEAK_ORDER, WHOLE,
    segment_size, small_size,
};
use polycube_plugin_api::{
    Code, Count, Datapath, Direction, InnerMap, MapKind, MapSpec, Point, Program, Refusal, Tag, constant,
};

use crate::config::{Capture, Config, SnapLen};
use crate::copying;
use crate::filter::Programs;
use crate::format::Format;
use crate::machine::checksum_state;
use crate::places::link_type;
use crate::ring::{Bell, LAYOUT, MapSize};

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");

/// Whether other CPUs may see a CPU's stores in another order than it makes them.
const HAS_WEAK_ORDER: bool = !cfg!(target_arch = "x86_64");

/// The filter's stage, and the index of Ethernet's filter among the objects.
const FILTER: u32 = 0;
/// The capture's stage, with or without a filter before it: so it stays when the filter changes. Its object has this index.
const CAPTURE: u32 = 1;
/// Index of the filter for packets that begin with the IP header.
const RAW_FILTER: usize = 2;

/// The programs for `config` at `points`, on a machine with `cpus` CPUs. A point without a netdev has no packets.
pub(crate) fn datapath(
    config: &Config,
    filters: &Programs,
    points: &[Point],
    cpus: usize,
) -> Result<Datapath, Refusal> {
    check_formats(config, points)?;
    let ring = config.ring_size.granted(cpus);
    let points = points.iter().filter(|point| point.netdev.is_some());
    let places = points.flat_map(|point| directions(config.capture, point).map(move |direction| (point, direction)));
    let program = |(point, direction): (&Point, Direction), stage, object, code| Program {
        point: point.id,
        direction,
        stage,
        object,
        code,
    };
    let programs = places
        .flat_map(|place| {
            let link_type = link_type(place.0);
            let object = if link_type == LinkType::RawIp { RAW_FILTER } else { FILTER as usize };
            let filter = filters.of(link_type).map(|filter| program(place, FILTER, object, instructions(filter)));
            filter.into_iter().chain([program(place, CAPTURE, CAPTURE as usize, capture(config, ring, place))])
        })
        .collect::<Vec<_>>();
    if programs.is_empty() {
        return Ok(Datapath::default());
    }
    let generated = |link_type| {
        let filter = filters.of(link_type);
        Cow::Owned(
            filter.into_iter().flat_map(|filter| &filter.instructions).flat_map(|insn| insn.to_bytes()).collect(),
        )
    };
    let mut objects = vec![generated(LinkType::Ethernet), Cow::Borrowed(OBJECT)];
    if filters.of(LinkType::RawIp).is_some() {
        objects.push(generated(LinkType::RawIp));
    }
    Ok(Datapath { programs, maps: maps(config, cpus).into(), objects, ..Datapath::default() })
}

/// Only pcapng has a link type for each interface.
fn check_formats(config: &Config, points: &[Point]) -> Result<(), Refusal> {
    let Some(point) = points.iter().find(|point| point.is_raw_ip && point.netdev.is_some()) else { return Ok(()) };
    let name = &point.name;
    if config.recorded() != Format::Pcapng {
        let message =
            format!("`{name}` has packets without Ethernet headers, which pcapng alone records: set format=pcapng");
        return Err(Refusal::new(Tag::InvalidValue, message).at("format"));
    }
    if config.networkmode {
        let message = format!(
            "`{name}` has packets without Ethernet headers, which clients of network mode take for frames: \
             set networkmode=false and read the stream"
        );
        return Err(Refusal::new(Tag::InvalidValue, message).at("networkmode"));
    }
    Ok(())
}

/// The maps for `config`, whose contents mean something else for another format or size.
fn maps(config: &Config, cpus: usize) -> [MapSpec; 4] {
    let ring = config.ring_size.granted(cpus);
    let large = large_lanes(config, cpus);
    let (generation, value_size) = (large.generation, MapSize::of_rings(ring, cpus).value_size);
    let inner = large.kind.zip(large.value_size).map(|(kind, value_size)| InnerMap { kind, value_size });
    let slot = MapKind { map_type: ARRAY_OF_MAPS, key_size: 4, flags: 0 };
    [
        MapSpec { count: Count::PerCpu, value_size: Some(value_size), generation, ..MapSpec::declared(RINGS) },
        MapSpec {
            count: Count::Entries(1),
            value_size: Some(4),
            kind: Some(slot),
            generation,
            inner,
            ..MapSpec::declared(LANES)
        },
        large,
        MapSpec { count: Count::Entries(Bell::size()), ..MapSpec::declared(BELL) },
    ]
}

/// The map of the large lanes.
pub(crate) fn large_lanes(config: &Config, cpus: usize) -> MapSpec {
    let ring = config.ring_size.granted(cpus);
    let MapSize { value_size, count } = MapSize::of_large_lanes(ring, cpus);
    MapSpec {
        count: Count::Entries(count),
        value_size: Some(value_size),
        kind: Some(MapKind { map_type: ARRAY, key_size: 4, flags: LARGE_FLAGS }),
        generation: u64::from(LAYOUT) << 32 | u64::from(ring.ilog2()) << 8 | u64::from(config.recorded().constant()),
        late: true,
        ..MapSpec::declared(LARGE)
    }
}

/// Bytes of memory that rings for `config` take up when there are large lanes.
pub(crate) fn memory(config: &Config, cpus: usize) -> u64 {
    let ring = config.ring_size.granted(cpus);
    MapSize::of_rings(ring, cpus).bytes() + MapSize::of_large_lanes(ring, cpus).bytes()
}

/// The hooks that need a program at `point`. What leaves through the loopback comes in again: one of the two is left
/// out, and as in libpcap (`linux_check_direction()` in pcap-linux.c) it is the first.
fn directions(capture: Capture, point: &Point) -> impl Iterator<Item = Direction> {
    let capture = match capture {
        Capture::Bidirectional if point.is_loopback => Capture::Ingress,
        capture => capture,
    };
    capture.directions().iter().map(|direction| hook(point, *direction))
}

/// The hook of the netdev that packets pass when they go in this direction, as seen from the point; and the other way round.
fn hook(point: &Point, direction: Direction) -> Direction {
    match (point.is_reversed, direction) {
        (false, direction) => direction,
        (true, Direction::Ingress) => Direction::Egress,
        (true, Direction::Egress) => Direction::Ingress,
    }
}

fn instructions(filter: &Compiled) -> Code {
    let maps = filter.maps.iter().map(|(index, map)| (*index, (*map).to_owned()));
    Code::Instructions { maps: maps.collect() }
}

fn capture(config: &Config, ring: usize, (point, direction): (&Point, Direction)) -> Code {
    let extent = match (config.snaplen, config.whole_dns) {
        (SnapLen::Bytes(_), _) => WHOLE,
        (SnapLen::Headers, false) => HEADERS,
        (SnapLen::Headers, true) => HEADERS_AND_DNS,
    };
    let flags = match hook(point, direction) {
        Direction::Ingress => INBOUND,
        Direction::Egress => OUTBOUND,
    };
    // Other formats have no place for what it says.
    let ip_summed = if config.recorded() == Format::Pcapng { checksum_state() } else { None }.unwrap_or_default();
    Code::Elf {
        entry: String::from("capture"),
        constants: vec![
            constant(MASK, (ring as u64 - 1).to_ne_bytes()),
            constant(SMALL_MASK, (small_size(ring) as u64 - 1).to_ne_bytes()),
            constant(SEGMENT_BITS, segment_size(ring).ilog2().to_ne_bytes()),
            constant(WEAK_ORDER, u32::from(HAS_WEAK_ORDER).to_ne_bytes()),
            constant(SNAPLEN, config.snaplen.bytes().to_ne_bytes()),
            constant(FORMAT, config.recorded().constant().to_ne_bytes()),
            constant(INTERFACE, point.id.to_ne_bytes()),
            constant(FLAGS, flags.to_ne_bytes()),
            constant(EXTENT, extent.to_ne_bytes()),
            constant(RAW_IP, u32::from(point.is_raw_ip).to_ne_bytes()),
            constant(IP_SUMMED, ip_summed.to_ne_bytes()),
            constant(PIECE, copying::piece().to_ne_bytes()),
        ],
    }
}

#[cfg(test)]
mod tests {
    use polycube_layout::ring::element_size;
    use polycube_plugin_api::Direction::{self, Egress, Ingress};

    use super::*;

    fn points() -> [Point; 2] {
        let point = |id, netdev: Option<&str>| Point {
            id,
            name: format!("br1:p{id}"),
            netdev: netdev.map(str::to_owned),
            is_loopback: false,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        [point(3, Some("veth3")), point(4, None)]
    }

    #[track_caller]
    fn check(capture: Capture, points: &[Point], expected: &[(u32, Direction)]) {
        let config = Config { capture, ..Config::default() };
        let found = datapath(&config, &Programs::default(), points, 2).unwrap();
        let programs = found.programs.iter().map(|program| (program.point, program.direction)).collect::<Vec<_>>();
        assert_eq!(programs, expected);
        assert_eq!(found.maps.is_empty(), expected.is_empty());
        assert_eq!(found.objects.is_empty(), expected.is_empty());
    }

    #[test]
    fn programs_stand_where_packets_are() {
        check(Capture::Bidirectional, &points(), &[(3, Ingress), (3, Egress)]);
        check(Capture::Ingress, &points(), &[(3, Ingress)]);
        check(Capture::Egress, &points(), &[(3, Egress)]);
        check(Capture::Off, &points(), &[]);
        check(Capture::Bidirectional, &points()[1..], &[]);
        check(Capture::Bidirectional, &[], &[]);
    }

    #[test]
    fn what_passes_the_loopback_both_ways_is_captured_once() {
        let [port, _] = points();
        let loopback = Point {
            id: 5,
            name: "lo".to_owned(),
            netdev: Some("lo".to_owned()),
            is_loopback: true,
            is_raw_ip: false,
            is_reversed: false,
            is_chosen: false,
            peer: None,
        };
        let points = [port, loopback];
        check(Capture::Bidirectional, &points, &[(3, Ingress), (3, Egress), (5, Ingress)]);
        check(Capture::Ingress, &points, &[(3, Ingress), (5, Ingress)]);
        check(Capture::Egress, &points, &[(3, Egress), (5, Egress)]);
    }

    #[test]
    fn packets_without_ethernet_headers_need_pcapng() {
        let [port, _] = points();
        let tun = Point { name: "tun0".to_owned(), is_raw_ip: true, ..port };
        let ask = |config: Config, point: &Point| {
            let config = Config { capture: Capture::Ingress, ..config };
            datapath(&config, &Programs::default(), std::slice::from_ref(point), 2).map_err(|refusal| refusal.path)
        };
        assert_eq!(ask(Config::default(), &tun).unwrap_err(), "format");
        let pcapng = Config { format: Format::Pcapng, ..Config::default() };
        assert_eq!(ask(Config { networkmode: true, ..pcapng.clone() }, &tun).unwrap_err(), "networkmode");
        let raw = |found: Datapath| {
            let Code::Elf { constants, .. } = &found.programs[0].code else { panic!("no ELF object") };
            constants.contains(&constant(RAW_IP, 1_u32.to_ne_bytes()))
        };
        assert!(raw(ask(pcapng.clone(), &tun).unwrap()));
        assert!(!raw(ask(pcapng, &Point { is_raw_ip: false, ..tun.clone() }).unwrap()));
        ask(Config::default(), &Point { netdev: None, ..tun }).unwrap();
    }

    #[test]
    fn what_enters_a_namespace_leaves_the_netdev_here() {
        let [port, _] = points();
        let inside = Point { id: 5, name: "netns:web/eth0".to_owned(), is_reversed: true, ..port };
        check(Capture::Bidirectional, std::slice::from_ref(&inside), &[(5, Egress), (5, Ingress)]);
        check(Capture::Ingress, std::slice::from_ref(&inside), &[(5, Egress)]);
        check(Capture::Egress, std::slice::from_ref(&inside), &[(5, Ingress)]);
        let config = Config { capture: Capture::Ingress, ..Config::default() };
        let found = datapath(&config, &Programs::default(), &[inside], 2).unwrap();
        let Code::Elf { constants, .. } = &found.programs[0].code else { panic!("no ELF object") };
        assert!(constants.contains(&constant(FLAGS, INBOUND.to_ne_bytes())));
    }

    #[test]
    fn the_maps_have_room_for_the_ring_that_the_mask_is_of() {
        let config = Config { capture: Capture::Ingress, ..Config::default() };
        for (cpus, ring, segments) in [(2, 16 << 20, 8), (64, 4 << 20, 2), (1024, 256 << 10, 1)] {
            let found = datapath(&config, &Programs::default(), &points(), cpus).unwrap();
            let Code::Elf { constants, .. } = &found.programs[0].code else { panic!("no ELF object") };
            assert_eq!(constants[0], constant("MASK", (ring as u64 - 1).to_ne_bytes()));
            let [rings, slot, large, _] = &found.maps[..] else { panic!("{:?}", found.maps) };
            assert_eq!(rings.value_size, Some(element_size(ring) as u32));
            assert_eq!(rings.count, Count::PerCpu);
            assert_eq!(large.count, Count::Entries(segments * cpus as u32));
            assert_eq!(slot.inner.map(|inner| inner.value_size), large.value_size);
            assert!(large.late && !rings.late && !slot.late);
        }
    }
}
