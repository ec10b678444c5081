#![forbid(unsafe_code)]

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::fixture::{Desk, Kernel, bell};
use crate::format::Format;

const SIZE: usize = 4096;

fn start(desk: &Desk) -> Consumer {
    Consumer::start("sniffer", Drain::new(desk.router(desk.settings(json!({}))), desk.log())).unwrap()
}

fn source(id: u64, kernel: &Kernel) -> Source {
    Source { id, format: Format::Pcap, reader: kernel.map().1, bell: bell() }
}

#[test]
fn packets_reach_the_file_by_themselves() {
    let desk = Desk::new();
    let kernel = Kernel::new(2, SIZE);
    let consumer = start(&desk);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    let begin = Instant::now();
    while kernel.tail(0) != kernel.head(0) && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    desk.check_file(&[1]);
    drop(consumer);
}

#[test]
fn a_flush_and_the_end_leave_nothing_behind() {
    let desk = Desk::new();
    let kernel = Kernel::new(2, SIZE);
    let consumer = start(&desk);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    consumer.flush().recv().unwrap();
    desk.check_file(&[1]);
    assert!(kernel.packet(1, 2, b"abc"));
    drop(consumer);
    desk.check_file(&[1, 2]);
}

#[test]
fn rings_are_closed_with_their_last_packet_and_others_go_on() {
    let desk = Desk::new();
    let (old, new) = (Kernel::new(2, SIZE), Kernel::new(2, 2 * SIZE));
    let consumer = start(&desk);
    consumer.open(source(0, &old));
    consumer.open(source(1, &new));
    assert!(old.packet(0, 1, b"abc"));
    assert!(new.packet(0, 2, b"abc"));
    consumer.close(0);
    desk.check_file(&[1, 2]);
    assert!(old.packet(0, 3, b"nobody looks"));
    assert!(new.packet(1, 4, b"abc"));
    drop(consumer);
    desk.check_file(&[1, 2, 4]);
}

#[test]
fn a_threads_name_fits() {
    assert_eq!(thread_name("br1"), "capture:br1");
    assert_eq!(thread_name("sniffer"), "capture:sniffer");
    assert_eq!(thread_name("sniffer2"), "capture:sniffer");
    assert_eq!(thread_name("sniffé"), "capture:sniffé");
    assert_eq!(thread_name("sniffeé"), "capture:sniffe");
}
