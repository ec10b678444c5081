//! Cubes whose maps outlive them.

use polycube_layout::ring::{CONSUMER, Consumer};

use super::*;
use crate::fixture::record;
use crate::ring::{Found, MARK_OFFSET, Progress};

/// The times in all files of `directory`, in the order of their names.
fn files(directory: &Path) -> Vec<Vec<u64>> {
    let mut paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    paths.sort();
    paths.iter().map(|path| times(&fs::read(path).unwrap()[HEADER..])).collect()
}

fn numbered() -> Value {
    json!({"capture": "ingress", "dump": "s", "rotate": {"size": 1}, "storage": {"overwrite": true}})
}

#[test]
fn a_later_daemon_takes_what_came_while_there_was_none() {
    let directory = TempDir::new().unwrap();
    let (first, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    first.set(&json!({"capture": "ingress", "stop-after": {"packets": 1}}), Some(&kernel));
    kernel.packet(0, 1, b"abc");
    kernel.packet(0, 2, b"late");
    first.set(&json!({}), None);
    let kernel = Kernel::new(2, 4096);
    first.set(&numbered(), Some(&kernel));
    kernel.packet(0, 3, b"abc");
    drop(first);
    kernel.packet(1, 4, b"abc");
    while kernel.packet(0, 5, &[5; 1000]) {}

    let second = Lab::new(directory.path());
    second.set(&numbered(), Some(&kernel));
    kernel.packet(1, 6, b"abc");
    let counters = second.state()["counters"].clone();
    second.set(&json!({}), None);
    assert_eq!(counters["dropped-limit"], 1, "what the first daemon counted itself");
    assert_eq!(counters["dropped-ring-full"], 1);
    assert_eq!((&counters["seen"], &counters["captured"]), (&json!(12), &json!(10)));
    let found = files(directory.path());
    assert_eq!(found, [vec![3], vec![4, 5, 5, 5, 5, 5, 5, 6], vec![1]], "s-000001, s-000002 and the first capture's");
    let line = "continues the capture of an earlier daemon, with 5120 bytes in the rings";
    assert_eq!(second.lines.lock().unwrap()[0], line);
}

#[test]
fn what_another_version_left_is_not_taken_for_packets() {
    let directory = TempDir::new().unwrap();
    let (lab, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    kernel.packet(0, 1, b"abc");
    kernel.set(0, MARK_OFFSET, 7);
    lab.set(&on(96), Some(&kernel));
    kernel.packet(0, 2, b"abc");
    lab.set(&json!({}), None);
    assert_eq!(files(directory.path()), [[2]]);
    let message = "the rings were written by another version: the packets in them are lost";
    assert!(lab.lines.lock().unwrap().iter().any(|line| line == message));
}

/// The rings released what is in the file, and the daemon was killed before it noted that.
#[test]
fn a_kill_between_two_stores_skips_no_later_packet() {
    let directory = TempDir::new().unwrap();
    let (first, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    first.set(&on(96), Some(&kernel));
    kernel.packet(0, 1, b"abc");
    drop(first);
    kernel.packet(0, 2, b"abc");
    let (rings, mut reader) = kernel.map();
    let Found::Known(note) = rings.found() else { panic!("no note") };
    let (head, size) = (reader.head(0), record(2, b"abc").len());
    rings.set_progress(&Progress { accounted: note.progress.accounted + size as u64, ..note.progress });
    reader.release(0, &head, size);
    kernel.packet(0, 3, b"abc");
    let second = Lab::new(directory.path());
    second.set(&on(96), Some(&kernel));
    second.set(&json!({}), None);
    let mut found = files(directory.path());
    found.sort();
    assert_eq!(found, [[1], [3]]);
}

#[test]
fn a_ring_whose_positions_make_no_sense_goes_on_with_the_next_packet() {
    let directory = TempDir::new().unwrap();
    let (first, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    first.set(&on(96), Some(&kernel));
    kernel.packet(0, 1, b"abc");
    drop(first);
    kernel.set(0, CONSUMER + std::mem::offset_of!(Consumer, tails), 1 << 40);
    let second = Lab::new(directory.path());
    second.set(&on(96), Some(&kernel));
    while !kernel.is_empty(0) {
        std::thread::yield_now();
    }
    kernel.packet(0, 2, b"abc");
    second.set(&json!({}), None);
    let mut found = files(directory.path());
    found.sort();
    assert_eq!(found, [[1], [2]]);
    assert!(second.lines.lock().unwrap().iter().any(|line| line.starts_with("the ring of CPU 0 is damaged")));
}

#[test]
fn a_change_that_is_undone_and_made_again_counts_once() {
    let directory = TempDir::new().unwrap();
    let (lab, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    lab.prepare(&on(96), Some(&kernel)).unwrap();
    kernel.packet(0, 1, b"abc");
    lab.cube.abort().into_result().unwrap();
    assert_eq!(lab.state()["counters"]["captured"], 1);
    lab.set(&on(96), Some(&kernel));
    kernel.packet(0, 2, b"abc");
    assert_eq!(lab.state()["counters"]["captured"], 2);
}

/// As after a kill in the middle of a change.
#[test]
fn records_of_another_format_are_counted_and_not_taken_for_packets() {
    let directory = TempDir::new().unwrap();
    let (first, kernel) = (Lab::new(directory.path()), Kernel::new(2, 4096));
    first.set(&on(96), Some(&kernel));
    drop(first);
    kernel.packet(0, 1, b"abc");
    kernel.packet(1, 2, b"abc");
    let second = Lab::new(directory.path());
    second.set(&json!({"capture": "ingress", "format": "pcapng"}), Some(&kernel));
    let counters = second.state()["counters"].clone();
    assert_eq!((&counters["dropped-disk"], &counters["captured"]), (&json!(2), &json!(0)));
    second.set(&json!({}), None);
    assert_eq!(files(directory.path()), [[0; 0]; 0]);
}
