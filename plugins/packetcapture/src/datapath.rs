//! What a capture asks the host to load.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use polycube_filter::Compiled;
use polycube_layout::ring::{
    ARRAY, ARRAY_OF_MAPS, BELL, FLAGS, FORMAT, INBOUND, INTERFACE, LANES, LARGE, LARGE_FLAGS, MASK, OUTBOUND, RINGS,
    SEGMENT_BITS, SMALL_MASK, SNAPLEN, segment_size, small_size,
};
use polycube_plugin_api::{
    Code, Count, Datapath, Direction, InnerMap, MapKind, MapSpec, Point, Program, Refusal, constant,
};

use crate::config::{Capture, Config};
use crate::ring::{LAYOUT, MapSize};

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/packetcapture.o");

/// The filter's stage, and its index among the objects.
const FILTER: u32 = 0;
/// The capture's stage, with or without a filter before it: so it stays when the filter changes.
const CAPTURE: u32 = 1;

/// The programs for `config` at `points`, on a machine with `cpus` CPUs. A point without a netdev has no packets.
pub(crate) fn datapath(
    config: &Config,
    filter: Option<&Compiled>,
    points: &[Point],
    cpus: usize,
) -> Result<Datapath, Refusal> {
    let ring = config.ring_size.granted(cpus);
    let points = points.iter().filter(|point| point.netdev.is_some());
    let places = points.flat_map(|point| directions(config.capture, point).map(move |direction| (point, direction)));
    let program = |(point, direction): (&Point, Direction), stage, code| Program {
        point: point.id,
        direction,
        stage,
        object: stage as usize,
        code,
    };
    let programs = places
        .flat_map(|place| {
            let filter = filter.map(|filter| program(place, FILTER, instructions(filter)));
            filter.into_iter().chain([program(place, CAPTURE, capture(config, ring, place))])
        })
        .collect::<Vec<_>>();
    if programs.is_empty() {
        return Ok(Datapath::default());
    }
    let generated =
        filter.map(|filter| filter.instructions.iter().flat_map(|insn| insn.to_bytes()).collect::<Vec<_>>());
    Ok(Datapath {
        programs,
        maps: maps(config, cpus).into(),
        objects: vec![Cow::Owned(generated.unwrap_or_default()), Cow::Borrowed(OBJECT)],
        ..Datapath::default()
    })
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
        MapSpec::declared(BELL),
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
        generation: u64::from(LAYOUT) << 32 | u64::from(ring.ilog2()) << 8 | u64::from(config.format.constant()),
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
    let flags = match hook(point, direction) {
        Direction::Ingress => INBOUND,
        Direction::Egress => OUTBOUND,
    };
    Code::Elf {
        entry: String::from("capture"),
        constants: vec![
            constant(MASK, (ring as u64 - 1).to_ne_bytes()),
            constant(SMALL_MASK, (small_size(ring) as u64 - 1).to_ne_bytes()),
            constant(SEGMENT_BITS, segment_size(ring).ilog2().to_ne_bytes()),
            constant(SNAPLEN, config.snaplen.bytes().to_ne_bytes()),
            constant(FORMAT, config.format.constant().to_ne_bytes()),
            constant(INTERFACE, point.id.to_ne_bytes()),
            constant(FLAGS, flags.to_ne_bytes()),
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
            is_reversed: false,
        };
        [point(3, Some("veth3")), point(4, None)]
    }

    #[track_caller]
    fn check(capture: Capture, points: &[Point], expected: &[(u32, Direction)]) {
        let config = Config { capture, ..Config::default() };
        let found = datapath(&config, None, points, 2).unwrap();
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
            is_reversed: false,
        };
        let points = [port, loopback];
        check(Capture::Bidirectional, &points, &[(3, Ingress), (3, Egress), (5, Ingress)]);
        check(Capture::Ingress, &points, &[(3, Ingress), (5, Ingress)]);
        check(Capture::Egress, &points, &[(3, Egress), (5, Egress)]);
    }

    #[test]
    fn what_enters_a_namespace_leaves_the_netdev_here() {
        let [port, _] = points();
        let inside = Point { id: 5, name: "netns:web/eth0".to_owned(), is_reversed: true, ..port };
        check(Capture::Bidirectional, std::slice::from_ref(&inside), &[(5, Egress), (5, Ingress)]);
        check(Capture::Ingress, std::slice::from_ref(&inside), &[(5, Egress)]);
        check(Capture::Egress, std::slice::from_ref(&inside), &[(5, Ingress)]);
        let config = Config { capture: Capture::Ingress, ..Config::default() };
        let found = datapath(&config, None, &[inside], 2).unwrap();
        let Code::Elf { constants, .. } = &found.programs[0].code else { panic!("no ELF object") };
        assert_eq!(constants.last(), Some(&constant(FLAGS, INBOUND.to_ne_bytes())));
    }

    #[test]
    fn the_maps_have_room_for_the_ring_that_the_mask_is_of() {
        let config = Config { capture: Capture::Ingress, ..Config::default() };
        for (cpus, ring, segments) in [(2, 16 << 20, 8), (64, 4 << 20, 2), (1024, 256 << 10, 1)] {
            let found = datapath(&config, None, &points(), cpus).unwrap();
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
