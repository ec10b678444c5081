#![forbid(unsafe_code)]

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::drain::Losses;
use crate::fixture::{Kernel, bell, times};
use crate::format::FILE_HEADER;
use crate::sink::{CaptureFile, Target};

const SIZE: usize = 4096;

fn start(directory: &TempDir) -> (Consumer, Arc<Target>) {
    let target = Arc::new(Target {
        directory: directory.path().to_owned(),
        cube: String::from("sniffer"),
        snaplen: AtomicU32::new(96),
        path: Mutex::default(),
    });
    let drain = Drain::new(CaptureFile::new(target.clone()), Arc::<Losses>::default(), Box::new(|_, _| {}));
    (Consumer::start("sniffer", drain).unwrap(), target)
}

fn source(id: u64, kernel: &Kernel) -> Source {
    Source { id, reader: kernel.map().1, bell: bell() }
}

#[track_caller]
fn check_file(target: &Target, expected: &[u64]) {
    assert_eq!(times(&fs::read(target.path().unwrap()).unwrap()[FILE_HEADER..]), expected);
}

#[test]
fn packets_reach_the_file_by_themselves() {
    let directory = TempDir::new().unwrap();
    let kernel = Kernel::new(2, SIZE);
    let (consumer, target) = start(&directory);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    let begin = Instant::now();
    while kernel.tail(0) != kernel.head(0) && begin.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(1));
    }
    check_file(&target, &[1]);
    drop(consumer);
}

#[test]
fn a_flush_and_the_end_leave_nothing_behind() {
    let directory = TempDir::new().unwrap();
    let kernel = Kernel::new(2, SIZE);
    let (consumer, target) = start(&directory);
    consumer.open(source(0, &kernel));
    assert!(kernel.packet(0, 1, b"abc"));
    consumer.flush();
    check_file(&target, &[1]);
    assert!(kernel.packet(1, 2, b"abc"));
    drop(consumer);
    check_file(&target, &[1, 2]);
}

#[test]
fn rings_are_closed_with_their_last_packet_and_others_go_on() {
    let directory = TempDir::new().unwrap();
    let (old, new) = (Kernel::new(2, SIZE), Kernel::new(2, 2 * SIZE));
    let (consumer, target) = start(&directory);
    consumer.open(source(0, &old));
    consumer.open(source(1, &new));
    assert!(old.packet(0, 1, b"abc"));
    assert!(new.packet(0, 2, b"abc"));
    consumer.close(0);
    check_file(&target, &[1, 2]);
    assert!(old.packet(0, 3, b"nobody looks"));
    assert!(new.packet(1, 4, b"abc"));
    drop(consumer);
    check_file(&target, &[1, 2, 4]);
}

#[test]
fn a_threads_name_fits() {
    assert_eq!(thread_name("br1"), "capture:br1");
    assert_eq!(thread_name("sniffer"), "capture:sniffer");
    assert_eq!(thread_name("sniffer2"), "capture:sniffer");
    assert_eq!(thread_name("sniffé"), "capture:sniffé");
    assert_eq!(thread_name("sniffeé"), "capture:sniffe");
}
