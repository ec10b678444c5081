#![forbid(unsafe_code)]

use serde_json::json;

use super::*;
use crate::fixture::{Desk, record};

#[test]
fn what_is_larger_than_the_memory_is_written_and_not_dropped() {
    let desk = Desk::new();
    let mut backlog = Backlog::new(desk.files(desk.settings(json!({}))), desk.outcome.clone(), 64).unwrap();
    backlog.is_slow = true;
    backlog.write(Format::Pcap, &[&record(1, &[7; 200])]);
    drop(backlog);
    desk.check_file(&[1]);
    assert_eq!(desk.outcome.disk.packets(), 0);
}

#[test]
fn what_waits_is_written_in_turn_and_flushed() {
    let desk = Desk::new();
    let mut backlog = Backlog::new(desk.files(desk.settings(json!({}))), desk.outcome.clone(), 1 << 20).unwrap();
    for micros in 0..100 {
        backlog.is_slow = true;
        backlog.write(Format::Pcap, &[&record(micros, b"abc")]);
    }
    let (done, wait) = mpsc::channel();
    backlog.flush(done);
    wait.recv().unwrap();
    desk.check_file(&(0..100).collect::<Vec<_>>());
}
