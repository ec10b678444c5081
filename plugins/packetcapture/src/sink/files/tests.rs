#![forbid(unsafe_code)]

mod interference;
mod names;

use std::fs::{self, File};
use std::os::unix::fs::{chown, symlink};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde_json::{Value, json};

use super::*;
use crate::fixture::{Fixture, record, stored, times};
use crate::format::pcap::HEADER;
use crate::format::transcode;
use crate::sink::opener::ATTEMPTS;

const SECOND: u64 = 1_000_000;

/// Records of 100 bytes, one for each time in microseconds.
fn records(micros: impl IntoIterator<Item = u64>) -> Vec<u8> {
    micros.into_iter().flat_map(|micros| record(micros, &[7; 84])).collect()
}

fn names(fixture: &Fixture) -> Vec<String> {
    let name = |file: crate::outcome::FileState| file.stored.path().file_name().unwrap().to_str().unwrap().to_owned();
    fixture.outcome.files().into_iter().map(name).collect()
}

fn statuses(fixture: &Fixture) -> Vec<FileStatus> {
    fixture.outcome.files().into_iter().map(|file| file.status).collect()
}

/// The contents of the directory, without our notes.
fn on_disk(fixture: &Fixture) -> Vec<String> {
    let entries = fs::read_dir(fixture.captures()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names = entries.map(|name| name.into_string().unwrap()).collect::<Vec<_>>();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[track_caller]
fn check(config: Value, batches: &[Vec<u8>], expected: &[&[u64]]) -> Fixture {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(config));
    batches.iter().for_each(|batch| files.write(Format::Pcap, &[batch]));
    files.finish();
    assert_eq!(fixture.times(), expected);
    fixture
}

#[test]
fn a_file_has_no_more_bytes_than_it_may() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"rotate": {"size": 1}})));
    files.write(Format::Pcap, &[&records(0..30_000)]);
    files.finish();
    let sizes = fixture.outcome.files().into_iter().map(|file| file.size).collect::<Vec<_>>();
    assert_eq!(sizes, [1_048_524, 1_048_524, 30_000 * 100 - 2 * 1_048_500 + 24]);
    assert_eq!(fixture.times().concat(), (0..30_000).collect::<Vec<_>>());
}

#[test]
fn a_file_has_no_packets_further_apart_than_they_may_be() {
    let config = json!({"rotate": {"seconds": 2}});
    let batch = records([0, SECOND, 2 * SECOND, 3 * SECOND, 9 * SECOND]);
    check(config, &[batch], &[&[0, SECOND], &[2 * SECOND, 3 * SECOND], &[9 * SECOND]]);
}

#[test]
fn of_a_ring_of_files_the_newest_are_kept() {
    let config = json!({"rotate": {"seconds": 1, "files": 2}, "dump": "ring"});
    let fixture = check(config, &[records((0..5).map(|at| at * SECOND))], &[&[3 * SECOND], &[4 * SECOND]]);
    assert_eq!(on_disk(&fixture), names(&fixture));
    assert_eq!(names(&fixture).len(), 2);
}

#[test]
fn a_path_of_the_users_is_taken_as_it_is_and_never_over_another_file() {
    let fixture = Fixture::new();
    fs::write(fixture.captures().join("trace.pcap"), "dear").unwrap();
    symlink("/nowhere/at/all", fixture.captures().join("trace-000001.pcap")).unwrap();
    let mut files = fixture.files(fixture.settings(json!({"dump": "trace.pcap"})));
    files.write(Format::Pcap, &[&records(0..1)]);
    files.finish();
    assert_eq!(names(&fixture), ["trace-000002.pcap"]);
    assert_eq!(fs::read(fixture.captures().join("trace.pcap")).unwrap(), b"dear");
}

const OVERWRITE: fn() -> Value = || json!({"dump": "trace", "storage": {"overwrite": true}, "rotate": {"seconds": 1}});

/// Captures into two files in the directory of `fixture`.
fn capture_two(fixture: &Fixture) {
    let mut files = fixture.files(fixture.settings(OVERWRITE()));
    files.write(Format::Pcap, &[&records([0, SECOND])]);
    files.finish();
}

#[test]
fn asked_to_a_capture_replaces_what_captures_wrote_and_not_its_own_files() {
    let fixture = Fixture::new();
    stored(&fixture.captures(), "trace-000001.pcap", b"of an earlier daemon");
    stored(&fixture.captures(), "trace-000002.pcap.zst", b"of an earlier daemon");
    for _ in 0..2 {
        capture_two(&fixture);
        assert_eq!(names(&fixture), ["trace-000001.pcap", "trace-000002.pcap"]);
        assert_eq!(on_disk(&fixture), ["trace-000001.pcap", "trace-000002.pcap"]);
        assert_eq!(fixture.times(), [vec![0], vec![SECOND]]);
    }
    fixture.check_lines(&[]);
}

#[test]
fn asked_to_a_capture_replaces_nothing_else() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.captures().join(name);
    let elsewhere = fixture.directory.path().join("elsewhere");
    fs::write(&elsewhere, "dear").unwrap();
    fs::write(path("trace-000001.pcap"), "dear").unwrap();
    symlink(&elsewhere, path("trace-000002.pcap")).unwrap();
    fs::create_dir(path("trace-000003.pcap")).unwrap();
    fs::write(path("trace-000004.pcap.zst"), "dear").unwrap();
    // Another cube is writing it.
    let open = stored(&fixture.captures(), "trace-000005.pcap", b"records").current().0.open(OFlags::RDONLY).unwrap();
    flock(&open, FlockOperation::NonBlockingLockExclusive).unwrap();
    // It was ours, and was given away.
    stored(&fixture.captures(), "trace-000006.pcap", b"dear");
    chown(path("trace-000006.pcap"), Some(65534), None).unwrap();
    capture_two(&fixture);
    assert_eq!(names(&fixture), ["trace-000007.pcap", "trace-000008.pcap"]);
    for name in ["trace-000001.pcap", "trace-000002.pcap", "trace-000004.pcap.zst", "trace-000006.pcap"] {
        assert_eq!(fs::read(path(name)).unwrap(), b"dear", "{name}");
    }
    assert_eq!(fs::read(path("trace-000005.pcap")).unwrap(), b"records");
    let kept = format!("Warn: {} was not written by a capture", path("trace-000001.pcap").display());
    let lines = fixture.lines.lock().unwrap();
    assert!(lines.len() == 1 && lines[0].starts_with(&kept), "{lines:?}");
}

#[test]
fn a_directory_that_became_a_link_gets_no_file() {
    let fixture = Fixture::new();
    let path = |name: &str| fixture.captures().join(name);
    let elsewhere = fixture.directory.path().join("elsewhere");
    [path("way"), elsewhere.clone()].iter().for_each(|path| fs::create_dir(path).unwrap());
    let mut files = fixture.files(fixture.settings(json!({"dump": "way/trace", "rotate": {"seconds": 1, "files": 2}})));
    files.write(Format::Pcap, &[&records([0])]);
    fs::rename(path("way"), path("gone")).unwrap();
    symlink(&elsewhere, path("way")).unwrap();
    fs::write(elsewhere.join("trace-000001.pcap"), "dear").unwrap();
    // The open file continues, and is closed, where it was created.
    files.write(Format::Pcap, &[&records([1])]);
    files.write(Format::Pcap, &[&records([SECOND])]);
    assert!(fixture.outcome.trouble().unwrap().ends_with("a symbolic link is on the way to it"));
    assert_eq!(fixture.outcome.disk.packets(), 1);
    assert_eq!(times(&fs::read(path("gone/trace-000001.pcap")).unwrap()[HEADER..]), [0, 1]);

    fs::remove_file(path("way")).unwrap();
    fs::create_dir(path("way")).unwrap();
    files.write(Format::Pcap, &[&records([2 * SECOND, 3 * SECOND])]);
    files.finish();
    drop(files);
    assert!(!path("gone/trace-000001.pcap").exists(), "the oldest of the ring");
    assert_eq!(fixture.times(), [[2 * SECOND], [3 * SECOND]]);
    let found = fs::read_dir(&elsewhere).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(
        (found, fs::read(elsewhere.join("trace-000001.pcap")).unwrap().as_slice()),
        (vec!["trace-000001.pcap".into()], &b"dear"[..])
    );
}

#[test]
fn of_a_ring_of_files_what_took_the_place_of_one_is_not_deleted() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"dump": "ring", "rotate": {"seconds": 1, "files": 1}})));
    files.write(Format::Pcap, &[&records([0])]);
    fs::remove_file(fixture.captures().join("ring-000001.pcap")).unwrap();
    fs::write(fixture.captures().join("ring-000001.pcap"), "dear").unwrap();
    files.write(Format::Pcap, &[&records([SECOND])]);
    files.finish();
    drop(files);
    assert_eq!(names(&fixture), ["ring-000001.pcap", "ring-000002.pcap"]);
    assert_eq!(statuses(&fixture), [FileStatus::Removed, FileStatus::Closed]);
    assert_eq!(fs::read(fixture.captures().join("ring-000001.pcap")).unwrap(), b"dear");
}

#[test]
fn below_a_ceiling_a_capture_waits_until_there_is_room() {
    let fixture = Fixture::new();
    let other = fixture.captures().join("other");
    File::create(&other).unwrap().set_len(1 << 20).unwrap();
    let mut files = fixture.files(fixture.settings(json!({"storage": {"ceiling": 1}})));
    files.write(Format::Pcap, &[&records(0..2)]);
    assert_eq!(fixture.outcome.disk.packets(), 2);
    let trouble = "the capture file cannot be written: the directory has reached its ceiling of 1 MiB";
    assert_eq!(fixture.outcome.trouble().as_deref(), Some(trouble));
    fs::remove_file(other).unwrap();
    files.tick();
    files.write(Format::Pcap, &[&records(2..3)]);
    assert_eq!((fixture.times(), fixture.outcome.trouble()), (vec![vec![2]], None));
    fixture.check_lines(&[
        &format!("Error: {trouble}; packets are lost until it can"),
        "Info: the capture file is written again; packets missing in it: 2",
    ]);
}

#[test]
fn a_ring_of_files_makes_room_below_a_ceiling() {
    let config = json!({"storage": {"ceiling": 1}, "rotate": {"seconds": 1, "files": 100}});
    let (first, second) = (records(0..6_000), records(SECOND..SECOND + 6_000));
    let fixture = check(config, &[first, second], &[&(SECOND..SECOND + 6_000).collect::<Vec<_>>()]);
    assert_eq!(fixture.outcome.disk.packets(), 0);
}

#[test]
fn closed_files_are_compressed_if_asked() {
    let fixture = Fixture::new();
    let config = json!({"storage": {"compress": true}, "rotate": {"seconds": 1}, "dump": "trace"});
    let mut files = fixture.files(fixture.settings(config));
    files.write(Format::Pcap, &[&records([0, SECOND])]);
    files.finish();
    drop(files);
    assert_eq!(names(&fixture), ["trace-000001.pcap.zst", "trace-000002.pcap.zst"]);
    assert_eq!(on_disk(&fixture), ["trace-000001.pcap.zst", "trace-000002.pcap.zst"]);
}

/// Compressing or deleting a file frees its name on the disk, and may happen later.
#[test]
fn no_name_is_used_twice() {
    let fixture = Fixture::new();
    fs::write(fixture.captures().join("trace-000001.pcap.zst"), "dear").unwrap();
    let config = json!({"storage": {"compress": true}, "rotate": {"seconds": 1}, "dump": "trace"});
    let mut files = fixture.files(fixture.settings(config));
    for at in 0..3 {
        files.write(Format::Pcap, &[&records([at * SECOND])]);
        // When the next file begins, the one before is compressed, and its name is free.
        let is_left = || on_disk(&fixture).contains(&format!("trace-{:06}.pcap", at + 1));
        while at > 0 && is_left() {
            std::thread::yield_now();
        }
    }
    files.finish();
    drop(files);
    assert_eq!(names(&fixture), ["trace-000002.pcap.zst", "trace-000003.pcap.zst", "trace-000004.pcap.zst"]);
    assert_eq!(fs::read(fixture.captures().join("trace-000001.pcap.zst")).unwrap(), b"dear");
}

/// Interfaces may follow in a new section, but not a larger snap length.
#[test]
fn a_larger_snap_length_begins_a_file_of_pcapng() {
    let fixture = Fixture::new();
    let settings = |snaplen| fixture.settings(json!({"dump": "trace", "format": "pcapng", "snaplen": snaplen}));
    let mut files = fixture.files(settings(96));
    let write = |files: &mut Files, micros| {
        let mut block = Vec::new();
        transcode(Format::Pcap, Format::Pcapng, &records([micros]), &mut block);
        files.write(Format::Pcapng, &[&block]);
    };
    for (micros, snaplen) in [(1, 96), (2, 64), (3, 200), (4, 96), (5, 200)] {
        files.describe(&settings(snaplen).section);
        write(&mut files, micros);
        files.apply(settings(snaplen));
    }
    files.finish();
    let packets = fixture.outcome.files().into_iter().map(|file| file.tally.packets).collect::<Vec<_>>();
    assert_eq!(packets, [2, 3]);
}

#[test]
fn each_format_has_its_own_file_and_pcapng_ends_with_statistics() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"dump": "trace"})));
    let mut blocks = Vec::new();
    transcode(Format::Pcap, Format::Pcapng, &records(0..2), &mut blocks);
    files.write(Format::Pcap, &[&records(0..2)]);
    files.write(Format::Pcapng, &[&blocks]);
    files.finish();
    assert_eq!(names(&fixture), ["trace.pcap", "trace-000001.pcapng"]);
    let bytes = fs::read(fixture.captures().join("trace-000001.pcapng")).unwrap();
    let length = u32::from_ne_bytes(*bytes.last_chunk().unwrap()) as usize;
    let last = &bytes[bytes.len() - length..];
    assert_eq!(last[..4], 5_u32.to_ne_bytes());
    assert_eq!(fixture.outcome.files()[1].size, bytes.len() as u64);
}

#[test]
fn the_file_in_hand_is_noted_until_it_is_closed() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({})));
    let note = fixture.captures().join(".packetcapture-sniffer.open");
    files.write(Format::Pcap, &[&records(0..1)]);
    let (file, _) = fixture.outcome.files()[0].stored.current();
    let expected = format!("{}\0{}\n", file.path().display(), file.id());
    assert_eq!(fs::read_to_string(&note).unwrap(), expected);
    files.finish();
    assert!(!note.exists());
}

#[test]
fn past_the_page_cache_a_file_is_the_same() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"storage": {"direct": true}})));
    for second in 0..3 {
        files.write(Format::Pcap, &[&records(second * SECOND..second * SECOND + 9_000)]);
    }
    files.current.as_ref().unwrap().file.settle().unwrap();
    let expected = (0..3).flat_map(|second| second * SECOND..second * SECOND + 9_000).collect::<Vec<_>>();
    assert_eq!(fixture.times(), [expected.as_slice()]);
    files.write(Format::Pcap, &[&records(9 * SECOND..9 * SECOND + 1)]);
    files.finish();
    assert_eq!(fixture.times(), [[expected, vec![9 * SECOND]].concat()]);
    assert_eq!(fixture.outcome.disk.packets(), 0);
}

#[test]
fn a_file_changes_its_way_to_the_disk_and_is_the_same() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"storage": {"direct": "auto"}})));
    let mut ways = Vec::new();
    let mut write = |second: u64, count: u64| {
        files.write(Format::Pcap, &[&records(second * SECOND..second * SECOND + count)]);
        // At the rate of this minute, any number of packets is many, and the disk has time left.
        files.written *= 1_000_000;
        files.looked -= Duration::from_secs(60);
        files.choose_way();
        ways.push(files.is_direct());
    };
    (0..3).for_each(|second| write(second, 9_000));
    write(3, 0);
    write(4, 9_000);
    assert_eq!(ways, [true, true, true, false, true]);
    files.finish();
    let seconds = [0, 1, 2, 4].into_iter();
    let expected = seconds.flat_map(|second| second * SECOND..second * SECOND + 9_000).collect::<Vec<_>>();
    assert_eq!(fixture.times(), [expected]);
    assert_eq!(fixture.outcome.disk.packets(), 0);
}

#[test]
fn of_a_ring_of_files_none_that_is_kept_is_overwritten() {
    let config = json!({"storage": {"overwrite": true}, "rotate": {"seconds": 1, "files": 3}, "dump": "ring"});
    let times = (0..9).map(|at| at * SECOND).collect::<Vec<_>>();
    let fixture = check(config, &[records(times.clone())], &[&times[6..7], &times[7..8], &times[8..]]);
    assert_eq!(names(&fixture), ["ring-000007.pcap", "ring-000008.pcap", "ring-000009.pcap"]);
}

#[test]
fn a_file_that_cannot_be_noted_is_written_nevertheless() {
    let fixture = Fixture::new();
    // The name of the next note is taken by something that cannot be deleted.
    fs::create_dir(fixture.captures().join(".packetcapture-sniffer.open")).unwrap();
    let mut files = fixture.files(fixture.settings(json!({"dump": "trace"})));
    files.write(Format::Pcap, &[&records(0..2)]);
    files.finish();
    assert_eq!(fixture.times(), [[0, 1]]);
    assert_eq!(fixture.outcome.disk.packets(), 0);
    assert!(fixture.lines.lock().unwrap()[0].contains("cannot note that"));
}

#[test]
fn a_ring_of_files_has_names_for_ever() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"dump": "ring", "rotate": {"files": 2}})));
    *files.opener.names.chosen(fixture.captures().join("ring")) = ATTEMPTS;
    files.write(Format::Pcap, &[&records([0])]);
    files.finish();
    assert_eq!(names(&fixture), ["ring-100000.pcap"]);
}
