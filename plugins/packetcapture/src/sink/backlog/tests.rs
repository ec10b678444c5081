#![forbid(unsafe_code)]

use serde_json::json;

use super::*;
use crate::fixture::{Fixture, record};

/// A backlog of `memory` bytes.
fn backlog(fixture: &Fixture, memory: usize) -> Backlog {
    let settings = fixture.settings(json!({}));
    let files = fixture.files(Arc::clone(&settings));
    let (outcome, keys) = (Arc::clone(&fixture.outcome), Arc::clone(&fixture.keys));
    Backlog::new(files, outcome, keys, &Settings { memory, ..Settings::clone(&settings) }).unwrap()
}

#[test]
fn what_is_larger_than_the_memory_is_written_and_not_dropped() {
    let fixture = Fixture::new();
    let mut backlog = backlog(&fixture, 64);
    backlog.is_slow = true;
    backlog.write(Format::Pcap, &[&record(1, &[7; 200])]);
    drop(backlog);
    fixture.check_file(&[1]);
    assert_eq!(fixture.outcome.disk.packets(), 0);
}

#[test]
fn what_waits_is_written_in_turn_and_flushed() {
    let fixture = Fixture::new();
    let mut backlog = backlog(&fixture, 1 << 20);
    for micros in 0..100 {
        backlog.is_slow = true;
        backlog.write(Format::Pcap, &[&record(micros, b"abc")]);
    }
    let (done, wait) = mpsc::channel();
    backlog.flush(done);
    wait.recv().unwrap();
    fixture.check_file(&(0..100).collect::<Vec<_>>());
}

#[test]
fn records_that_come_fast_go_through_memory_and_the_others_do_not() {
    let fixture = Fixture::new();
    let mut backlog = backlog(&fixture, 1 << 20);
    let is_waiting = |backlog: &Backlog| !lock(&backlog.shared.waiting).is_empty();
    // We hold the lock of the files: whatever goes through memory waits for them.
    let batch = (0..1000).flat_map(|micros| record(micros, &[7; 84])).collect::<Vec<_>>();
    backlog.last -= Duration::from_secs(1);
    backlog.write(Format::Pcap, &[&batch]);
    assert!(!is_waiting(&backlog), "100 kB a second");
    let shared = Arc::clone(&backlog.shared);
    let files = lock(&shared.files);
    backlog.last = Instant::now() + Duration::from_secs(1);
    backlog.write(Format::Pcap, &[&batch]);
    assert!(is_waiting(&backlog), "100 kB in no time");
    drop(files);
    drop(backlog);
    assert_eq!(fixture.times()[0].len(), 2000);
}
