#![forbid(unsafe_code)]

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::fixture::{Fixture, Kernel, bell};
use crate::format::Format;

const SIZE: usize = 4096;

fn start(fixture: &Fixture) -> Consumer {
    let settings = fixture.settings(json!({}));
    Consumer::start("sniffer", Drain::new(fixture.router(Arc::clone(&settings)), fixture.log()), settings).unwrap()
}

fn source(id: u64, kernel: &Kernel) -> RingSet {
    RingSet { id, format: Format::Pcap, reader: kernel.map().1, bell: bell(), larger: None }
}

#[test]
fn packets_reach_the_file_by_themselves() {
    let fixture = Fixture::new();
    let kernel = Kernel::new(2, SIZE);
    let consumer = start(&fixture);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    let begin = Instant::now();
    while !kernel.is_empty(0) && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    fixture.check_file(&[1]);
    drop(consumer);
}

#[test]
fn a_flush_and_the_end_leave_nothing_behind() {
    let fixture = Fixture::new();
    let kernel = Kernel::new(2, SIZE);
    let consumer = start(&fixture);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    consumer.flush().recv().unwrap();
    fixture.check_file(&[1]);
    assert!(kernel.packet(1, 2, b"abc"));
    drop(consumer);
    fixture.check_file(&[1, 2]);
}

#[test]
fn rings_are_closed_with_their_last_packet_and_others_go_on() {
    let fixture = Fixture::new();
    let (old, new) = (Kernel::new(2, SIZE), Kernel::new(2, 2 * SIZE));
    let consumer = start(&fixture);
    consumer.open(source(0, &old));
    consumer.open(source(1, &new));
    assert!(old.packet(0, 1, b"abc"));
    assert!(new.packet(0, 2, b"abc"));
    consumer.close(0);
    consumer.flush().recv().unwrap();
    fixture.check_file(&[1, 2]);
    assert!(old.packet(0, 3, b"nobody looks"));
    assert!(new.packet(1, 4, b"abc"));
    drop(consumer);
    fixture.check_file(&[1, 2, 4]);
}

#[test]
fn a_threads_name_fits() {
    assert_eq!(thread_name("br1"), "capture:br1");
    assert_eq!(thread_name("sniffer"), "capture:sniffer");
    assert_eq!(thread_name("sniffer2"), "capture:sniffer");
    assert_eq!(thread_name("sniffé"), "capture:sniffé");
    assert_eq!(thread_name("sniffeé"), "capture:sniffe");
}
