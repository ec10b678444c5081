#![forbid(unsafe_code)]

use std::mem::offset_of;
use std::sync::mpsc;

use polycube_layout::ring::{DATA, Producer};
use serde_json::json;

use super::*;
use crate::fixture::{Fixture, Kernel, Random, SMALL, bell};

const SIZE: usize = 4096;

/// A drain of `kernel`'s rings.
struct Lab {
    fixture: Fixture,
    drain: Drain,
}

impl Lab {
    fn new(kernels: &[&Kernel]) -> Self {
        let fixture = Fixture::new();
        let mut drain = Drain::new(fixture.router(fixture.settings(json!({}))), fixture.log());
        for (id, kernel) in (0..).zip(kernels) {
            drain.sources.push(RingSet {
                id,
                format: Format::Pcap,
                reader: kernel.map().1,
                bell: bell(),
                larger: None,
            });
        }
        Self { fixture, drain }
    }

    fn lost(&self) -> (u64, u64) {
        (self.fixture.outcome.disk.packets(), self.fixture.outcome.disk.bytes())
    }

    /// Records that arrive fast, or after a slow write, go through memory, and reach the file a little later.
    fn flush(&self) {
        let (done, written) = mpsc::channel();
        self.drain.router.flush(done);
        written.recv().unwrap();
    }

    #[track_caller]
    fn check_file(&self, expected: &[u64]) {
        self.flush();
        self.fixture.check_file(expected);
    }

    #[track_caller]
    fn check_lines(&self, expected: &[&str]) {
        self.fixture.check_lines(expected);
    }
}

#[test]
fn packets_of_all_cpus_and_rings_come_in_one_order() {
    let (old, new) = (Kernel::new(2, SIZE), Kernel::new(2, 2 * SIZE));
    let mut lab = Lab::new(&[&old, &new]);
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Empty);
    for (micros, kernel, cpu) in [(1, &old, 1), (2, &old, 0), (3, &new, 0), (4, &old, 1), (5, &new, 1)] {
        assert!(kernel.packet(cpu, micros, b"abc"));
    }
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Moved);
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Empty);
    lab.check_file(&[1, 2, 3, 4, 5]);
    for (kernel, cpu) in [(&old, 0), (&old, 1), (&new, 0), (&new, 1)] {
        assert!(kernel.is_empty(cpu));
    }
}

#[test]
fn nothing_is_lost_and_the_order_is_kept_over_many_laps() {
    let kernel = Kernel::new(3, SIZE);
    let mut lab = Lab::new(&[&kernel]);
    let mut random = Random(7);
    let mut expected = Vec::new();
    for micros in 0..5000 {
        let body = vec![0xee; random.below(600) as usize];
        if kernel.packet(random.below(3) as usize, micros, &body) {
            expected.push(micros);
        }
        if random.below(8) == 0 {
            lab.drain.round(Cut::Ordered);
        }
    }
    lab.drain.round(Cut::All);
    assert!(expected.len() > 4000);
    lab.check_file(&expected);
}

/// A time in microseconds that a test does not reach. It is less than two seconds ahead: from there on, the clock counts as
/// set back.
fn soon() -> u64 {
    (sys::utc_now() / 1000 + 1_900_000).cast_unsigned()
}

#[test]
fn a_packet_that_a_cpu_is_busy_with_is_waited_for() {
    let kernel = Kernel::new(2, SIZE);
    let mut lab = Lab::new(&[&kernel]);
    // CPU 1 has read its packet's time; CPU 0 reads a later one and finishes first.
    kernel.set_busy(1, true);
    let now = soon();
    assert!(kernel.packet(0, now + 1, b"later"));
    assert!(!lab.drain.is_settled(&lab.drain.look()));
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Moved);
    lab.check_file(&[]);
    assert!(kernel.packet(1, now, b"busy"));
    kernel.set_busy(1, false);
    assert!(lab.drain.is_settled(&lab.drain.look()));
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Moved);
    lab.check_file(&[now, now + 1]);
}

#[test]
fn a_busy_cpu_holds_nothing_back_for_ever() {
    let kernel = Kernel::new(2, SIZE);
    let mut lab = Lab::new(&[&kernel]);
    kernel.set_busy(1, true);
    assert!(kernel.packet(0, 1, b"old"));
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[1]);
    assert!(kernel.packet(0, soon(), b"new"));
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[1]);
    lab.drain.round(Cut::All);
    assert!(kernel.is_empty(0));
}

#[test]
fn a_ring_alone_is_not_waited_for() {
    let kernel = Kernel::new(2, SIZE);
    let lab = Lab::new(&[&kernel]);
    assert!(kernel.packet(0, 1, b"abc"));
    kernel.set_busy(0, true);
    assert!(lab.drain.is_settled(&lab.drain.look()));
}

#[test]
fn packets_that_cannot_be_written_are_counted_and_logged_once() {
    let kernel = Kernel::new(2, SIZE);
    let mut lab = Lab::new(&[&kernel]);
    lab.fixture.take_directory("captures", "elsewhere");
    for micros in 0..7 {
        assert!(kernel.packet(micros as usize % 2, micros, b"abc"));
        lab.drain.round(Cut::Ordered);
    }
    lab.check_file(&[]);
    assert_eq!(lab.lost(), (7, 21));
    lab.fixture.take_directory("elsewhere", "captures");
    assert!(kernel.packet(0, 7, b"abc"));
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[7]);
    assert_eq!(lab.lost(), (7, 21));
    lab.check_lines(&[
        "Error: the capture file cannot be written: No such file or directory (os error 2); packets are lost until it can",
        "Info: the capture file is written again; packets missing in it: 7",
    ]);
    drop(lab.drain);
    assert_eq!(lab.fixture.lines.lock().unwrap().len(), 2);
}

#[test]
fn a_capture_that_ends_on_a_full_disk_says_what_is_missing() {
    let kernel = Kernel::new(2, SIZE);
    let lab = Lab::new(&[&kernel]);
    lab.fixture.take_directory("captures", "elsewhere");
    assert!(kernel.packet(1, 1, b"abc"));
    let Lab { fixture, mut drain } = lab;
    drain.round(Cut::All);
    drop(drain);
    fixture.check_lines(&[
        "Error: the capture file cannot be written: No such file or directory (os error 2); packets are lost until it can",
        "Error: the capture file could not be written; packets missing in it: 1",
    ]);
}

#[test]
fn a_damaged_ring_is_left_at_its_head() {
    let kernel = Kernel::new(2, SIZE);
    let mut lab = Lab::new(&[&kernel]);
    for (micros, cpu) in [(1, 0), (2, 1), (3, 0)] {
        assert!(kernel.packet(cpu, micros, b"abc"));
    }
    // The captured length of CPU 0's second record.
    kernel.write(0, DATA + 19 + 8, &u32::MAX.to_ne_bytes());
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[1, 2]);
    lab.check_lines(&["Error: the ring of CPU 0 is damaged: the 19 bytes that it holds are lost"]);
    assert!(kernel.packet(0, 4, b"abc"));
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[1, 2, 4]);

    kernel.set(1, offset_of!(Producer, small), 1 << 40);
    lab.drain.round(Cut::Ordered);
    assert_eq!(kernel.lane_tail(1, SMALL), 1 << 40);
    assert_eq!(lab.drain.round(Cut::Ordered), Progress::Empty);
}

#[test]
fn where_the_format_changes_the_old_rings_go_first() {
    let (old, new) = (Kernel::new(2, SIZE), Kernel::new(2, SIZE));
    let mut lab = Lab::new(&[&old, &new]);
    lab.drain.sources[1].format = Format::PcapNanos;
    assert!(old.packet(0, 2, b"abc"));
    assert!(new.packet(0, 1, b"abc"));
    lab.drain.round(Cut::Ordered);
    lab.check_file(&[2]);
    assert_eq!(new.lane_tail(0, SMALL), 0);
    lab.drain.sources.remove(0);
    lab.drain.round(Cut::Ordered);
    assert!(new.is_empty(0));
    lab.flush();
    let magic = |at: usize| std::fs::read(lab.fixture.outcome.files()[at].stored.path()).unwrap()[..2].to_vec();
    assert_eq!([magic(0), magic(1)], [vec![0xd4, 0xc3], vec![0x4d, 0x3c]], "each format has its own file");
}
