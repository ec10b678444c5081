//! Do the kit's checks find what is wrong? These tests need no root.

use std::fs;
use std::ops::Range;

use anyhow::Result;
use polycube_tests::capture::{Direction, Seen};
use polycube_tests::comparison::{Field, MOST, TOLERANCE, compare};
use polycube_tests::pcap::{self, Format, Record};

const START: u64 = 1_700_000_000_000_000_000;
const SNAPLEN: u32 = 96;

/// Twelve packets, a microsecond apart and longer and shorter than the snap length; every third one is outgoing.
fn theirs() -> Vec<Seen> {
    let seen = |number: u32| Seen {
        time_ns: START + u64::from(number) * 1000,
        direction: if number % 3 == 2 { Direction::Out } else { Direction::In },
        bytes: vec![number as u8; 60 + number as usize * 10],
        orig_len: 60 + number * 10,
    };
    (0..12).map(seen).collect()
}

fn ours() -> Vec<Record> {
    let mut records: Vec<Record> = theirs().iter().map(Record::from).collect();
    for record in &mut records {
        record.bytes.truncate(SNAPLEN as usize);
        record.direction = None;
    }
    records
}

#[track_caller]
fn check(spoil: impl FnOnce(&mut Vec<Record>), index: usize, field: Field) {
    let mut ours = ours();
    spoil(&mut ours);
    let difference = compare(&ours, &theirs(), SNAPLEN).expect_err("the captures differ");
    assert_eq!((difference.index, difference.field), (index, field), "{difference}");
    let evidence = difference.evidence.as_ref().expect("the captures are not kept");
    let kept = pcap::read(&evidence.join("theirs.pcap")).expect("the evidence is a valid file");
    assert_eq!(kept.records.len(), theirs().len());
    assert!(difference.to_string().contains(&evidence.display().to_string()), "{difference}");
    fs::remove_dir_all(evidence).expect("the evidence exists");
}

#[test]
fn equal_captures_are_equal() -> Result<()> {
    compare(&ours(), &theirs(), SNAPLEN)?;
    let mut late = ours();
    for record in &mut late {
        record.time_ns += TOLERANCE.as_nanos() as u64;
    }
    compare(&late, &theirs(), SNAPLEN)?;
    Ok(())
}

#[test]
fn directions_may_interleave_but_each_stays_in_order() -> Result<()> {
    let mut passed = ours();
    passed.swap(1, 2);
    compare(&passed, &theirs(), SNAPLEN)?;
    check(|ours| ours.swap(0, 1), 0, Field::Missing);
    Ok(())
}

#[test]
fn each_planted_difference_is_named() {
    check(|ours| ours[5].bytes[17] ^= 1, 5, Field::Bytes);
    check(|ours| ours[5].orig_len += 1, 5, Field::OriginalLength);
    check(|ours| ours[5].bytes.truncate(95), 5, Field::CapturedLength);
    check(|ours| ours[11].time_ns += MOST.as_nanos() as u64 + 1, 11, Field::Time);
    check(|ours| ours[6].time_ns = ours[4].time_ns - 1, 6, Field::Order);
    check(|ours| drop(ours.remove(4)), 5, Field::Missing);
    check(|ours| drop(ours.remove(5)), 7, Field::Missing);
    check(|ours| drop(ours.pop()), 11, Field::Missing);
    check(|ours| ours.push(ours[11].clone()), 12, Field::Extra);
    check(|ours| ours[5].direction = Some(Direction::In), 5, Field::OriginalLength);
}

#[test]
fn a_busy_machine_may_be_late_with_few_packets_and_not_with_most() -> Result<()> {
    let late = |packets: Range<usize>| {
        let mut late = ours();
        late[packets].iter_mut().for_each(|record| record.time_ns += 2 * TOLERANCE.as_nanos() as u64);
        late
    };
    let count = ours().len();
    compare(&late(count - 3..count), &theirs(), SNAPLEN)?;
    let difference = compare(&late(0..count), &theirs(), SNAPLEN).expect_err("all are late");
    assert_eq!(difference.field, Field::Time, "{difference}");
    Ok(())
}

#[test]
fn a_written_file_is_read_back_and_tcpdump_agrees() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.pcap");
    pcap::write(&path, ours().iter().map(|record| (record.time_ns, record.orig_len, &record.bytes[..])))?;
    let file = pcap::read(&path)?;
    assert_eq!((file.format, file.snaplen), (Format::PcapNanoseconds, 262_144));
    assert_eq!(file.records, ours());
    if let Some(lines) = pcap::tcpdump(&path)? {
        assert_eq!(lines.len(), ours().len(), "{lines:#?}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_the_offset() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.pcap");
    pcap::write(&path, ours().iter().map(|record| (record.time_ns, record.orig_len, &record.bytes[..])))?;
    let whole = fs::read(&path)?;
    let last = whole.len() - 16 - SNAPLEN as usize;
    for cut in [10, last + 1, last + 16, whole.len() - 1] {
        fs::write(&path, &whole[..cut])?;
        let complaint = format!("{:#}", pcap::read(&path).expect_err("the file is cut off"));
        let place = if cut < 24 { 0 } else { last };
        assert!(complaint.contains(&format!("at offset {place}")), "{complaint}");
    }
    fs::write(&path, [&whole[..], &[0; 7]].concat())?;
    let complaint = format!("{:#}", pcap::read(&path).expect_err("rubbish follows"));
    assert!(complaint.contains(&format!("at offset {}", whole.len())), "{complaint}");
    Ok(())
}
