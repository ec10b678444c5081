//! What does the bridge's program do with each address, in the real kernel and one frame at a time
//! (`BPF_PROG_TEST_RUN`)?

use std::error::Error;

use aya::maps::{Array, HashMap, MapData, MapError};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use polycube_layout::bridge::{FDB, FdbKey};
use polycube_layout::chain::{CB_PORT, PORTS};

static OBJECT: &[u8] = include_bytes!("../../../ebpf/objects/simplebridge.o");

/// Words of `struct __sk_buff` up to the end of `cb`, and where `cb` begins (include/uapi/linux/bpf.h).
const CONTEXT_WORDS: usize = 17;
const CB: usize = 12;

/// `TC_ACT_SHOT` and `TC_ACT_REDIRECT` (include/uapi/linux/pkt_cls.h).
const DROPPED: u32 = 2;
const FORWARDED: u32 = 7;

/// The port through which frames come in, the other port, and its ifindex. A test run sends nothing.
const IN: u32 = 1;
const OUT: u32 = 2;
const IFINDEX: u32 = 1;

const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
const ZERO: [u8; 6] = [0; 6];

#[repr(transparent)]
#[derive(Clone, Copy)]
struct Key(FdbKey);

// SAFETY: integers without padding; every bit pattern is valid.
unsafe impl aya::Pod for Key {}

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Loads the program, with one port besides that of the frames.
fn load() -> Result<Ebpf> {
    let mut object = EbpfLoader::new().load(OBJECT)?;
    let mut ports = Array::<&mut MapData, u32>::try_from(object.map_mut(PORTS).ok_or("no map of ports")?)?;
    ports.set(OUT, IFINDEX, 0)?;
    program(&mut object)?.load()?;
    Ok(object)
}

fn program(object: &mut Ebpf) -> Result<&mut SchedClassifier> {
    Ok(object.program_mut("bridge").ok_or("no program")?.try_into()?)
}

/// What becomes of a frame, and whether its source is known afterwards. Nothing is known before.
fn run(object: &mut Ebpf, source: [u8; 6], destination: [u8; 6]) -> Result<(u32, bool)> {
    let frame = [&destination[..], &source, &[0x88, 0xb5], &[0; 50]].concat();
    let mut context = [0_u32; CONTEXT_WORDS];
    context[CB + CB_PORT] = IN;
    let context = context.map(u32::to_ne_bytes).concat();
    let options = TestRunOptions { data_in: Some(&frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    let verdict = program(object)?.test_run(options)?.return_value;
    let mut fdb = HashMap::<&mut MapData, Key, [u64; 2]>::try_from(object.map_mut(FDB).ok_or("no database")?)?;
    let key = Key(FdbKey { mac: source, zero: [0; 2] });
    let is_known = match fdb.get(&key, 0) {
        Ok(_) => true,
        Err(MapError::KeyNotFound) => false,
        Err(error) => return Err(error.into()),
    };
    if is_known {
        fdb.remove(&key)?;
    }
    Ok((verdict, is_known))
}

#[track_caller]
fn check(object: &mut Ebpf, source: [u8; 6], destination: [u8; 6], expected: (u32, bool)) -> Result<()> {
    assert_eq!(run(object, source, destination)?, expected, "from {source:02x?} to {destination:02x?}");
    Ok(())
}

#[test]
fn frames_to_the_neighbour_alone_are_neither_forwarded_nor_learned_from() -> Result<()> {
    let mut object = load()?;
    for last in 0x01..=0x0f {
        check(&mut object, STATION, [0x01, 0x80, 0xc2, 0, 0, last], (DROPPED, false))?;
    }
    Ok(())
}

#[test]
fn frames_to_every_other_address_are_forwarded_and_learned_from() -> Result<()> {
    let others = [
        // Spanning trees of others pass a bridge that has none.
        [0x01, 0x80, 0xc2, 0, 0, 0x00],
        // The first after the reserved ones, and GVRP (IEEE 802.1D-2004 table 12-1).
        [0x01, 0x80, 0xc2, 0, 0, 0x10],
        [0x01, 0x80, 0xc2, 0, 0, 0x21],
        // Each differs from LLDP's in one octet, the last in a single bit.
        [0x03, 0x80, 0xc2, 0, 0, 0x0e],
        [0x01, 0x81, 0xc2, 0, 0, 0x0e],
        [0x01, 0x80, 0xc3, 0, 0, 0x0e],
        [0x01, 0x80, 0xc2, 1, 0, 0x0e],
        [0x01, 0x80, 0xc2, 0, 1, 0x0e],
        [0x01, 0x80, 0xc2, 0, 0, 0x8e],
        [0xff; 6],
        [0x01, 0x00, 0x5e, 0, 0, 0x05],
        STRANGER,
        ZERO,
    ];
    let mut object = load()?;
    for destination in others {
        check(&mut object, STATION, destination, (FORWARDED, true))?;
    }
    Ok(())
}

#[test]
fn frames_from_no_station_are_neither_forwarded_nor_learned_from() -> Result<()> {
    let mut object = load()?;
    for source in [ZERO, [0xff; 6], [0x01, 0x00, 0x5e, 0, 0, 0x05], [0x03, 0, 0, 0, 0, 1]] {
        for destination in [STRANGER, [0xff; 6]] {
            check(&mut object, source, destination, (DROPPED, false))?;
        }
    }
    Ok(())
}
