use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::*;
use crate::guard::{HOOK, install_hook};
use crate::maps::fixture::{RINGBUF, Sender as Program, again, map};
use crate::testing::Host;
use crate::{Map, Maps};

/// Long enough for a thread, and how long a test waits to see that nothing comes.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(50);

struct Lab {
    host: Host,
    reader: RingReader,
    records: Receiver<u64>,
}

impl Lab {
    fn new() -> Self {
        let host = Host::new("a-cube-with-a-long-name");
        let (sender, records) = channel();
        let reader = RingReader::new(&host.cube, move |record: u64| {
            assert!(record != 13, "unlucky");
            sender.send(record).unwrap();
        });
        Self { host, reader, records }
    }

    fn prepare(&self, map: &Map) {
        let ring: Ring = Maps(vec![again(map)]).open("m").unwrap();
        self.reader.prepare(ring).unwrap();
    }

    fn next(&self) -> Result<u64, RecvTimeoutError> {
        self.records.recv_timeout(PATIENCE)
    }

    #[track_caller]
    fn check_silent(&self) {
        assert_eq!(self.records.recv_timeout(SILENCE), Err(RecvTimeoutError::Timeout));
    }
}

fn ring() -> (Map, Program) {
    let map = map(RINGBUF, 0, 0, 4096);
    let program = Program::to(&map);
    (map, program)
}

#[test]
fn records_are_read_from_the_commit_to_the_end_of_the_reader() {
    let (lab, (map, program)) = (Lab::new(), ring());
    assert!(program.send(1));
    lab.prepare(&map);
    lab.check_silent();
    lab.host.cube.stages().commit();
    assert_eq!(lab.next(), Ok(1));
    // Several times around: 16 bytes each.
    for record in 100..1500 {
        assert!(program.send(record));
        assert_eq!(lab.next(), Ok(record));
    }
    let Lab { reader, records, .. } = lab;
    drop(reader);
    assert_eq!(records.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected), "its thread has ended");
    assert!(program.send(4), "the ring is empty");
}

#[test]
fn a_ring_without_a_reader_fills() {
    let (_map, program) = ring();
    let sent = (0..1000).take_while(|record| program.send(*record)).count();
    assert!((200..=256).contains(&sent), "{sent}");
}

#[test]
fn a_change_that_keeps_the_map_keeps_the_thread_and_another_map_another() {
    let (lab, (map, program), (new, new_program)) = (Lab::new(), ring(), ring());
    let thread = |lab: &Lab| lab.reader.0.rings().running.as_ref()?.thread.as_ref().map(|thread| thread.thread().id());
    lab.prepare(&map);
    lab.host.cube.stages().commit();
    let first = thread(&lab);
    lab.prepare(&map);
    lab.host.cube.stages().commit();
    lab.host.cube.stages().commit();
    assert!(first.is_some() && thread(&lab) == first);
    lab.prepare(&new);
    lab.host.cube.stages().abort();
    assert!(program.send(1));
    assert_eq!(lab.next(), Ok(1));
    lab.prepare(&new);
    assert!(program.send(2) && new_program.send(3));
    assert_eq!(lab.next(), Ok(2));
    lab.host.cube.stages().commit();
    assert_eq!(lab.next(), Ok(3));
    assert!(thread(&lab) != first);
    // What is left in one ring comes before what is in the next.
    lab.prepare(&map);
    for record in 200..250 {
        assert!(new_program.send(record) && program.send(record + 100));
    }
    lab.host.cube.stages().commit();
    let found: Vec<_> = (0..100).map(|_| lab.next().unwrap()).collect();
    assert!(found.into_iter().eq((200..250).chain(300..350)));
    lab.prepare(&new);
    lab.host.cube.stages().commit();
    lab.reader.prepare_end();
    lab.host.cube.stages().commit();
    assert!(new_program.send(5));
    lab.check_silent();
}

#[test]
fn a_panic_of_the_handler_is_in_the_cubes_log_and_the_next_change_reads_again() {
    let _hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let (lab, (map, program)) = (Lab::new(), ring());
    install_hook();
    lab.prepare(&map);
    lab.host.cube.stages().commit();
    assert!(program.send(13));
    lab.host.wait_for_line("1 the plugin's thread `a-cube-with-a-l` panicked at plugin-api/src/maps/reader/tests.rs:");
    // The line comes before the end of the thread, which the next change looks at.
    let is_running = || {
        let rings = lab.reader.0.rings();
        let thread = rings.running.as_ref().and_then(|running| running.thread.as_ref());
        thread.is_some_and(|thread| !thread.is_finished())
    };
    let end = Instant::now() + PATIENCE;
    while is_running() {
        assert!(Instant::now() < end, "the thread goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(program.send(1));
    lab.check_silent();
    lab.prepare(&map);
    lab.host.cube.stages().commit();
    let _ = std::panic::take_hook();
    assert_eq!(lab.next(), Ok(1));
}

#[test]
fn a_record_of_another_size_is_reported_once() {
    // The panic of another test's thread may be in the log of every cube.
    let _hook = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let (map, program) = ring();
    let host = Host::new("cube");
    let reader = RingReader::new(&host.cube, |_: u32| panic!("no record has 4 bytes"));
    reader.prepare(Maps(vec![again(&map)]).open::<Ring>("m").unwrap()).unwrap();
    host.cube.stages().commit();
    assert!(program.send(1) && program.send(2));
    let line = "1 a record of 8 bytes instead of 4 was left out, as all others will be";
    host.wait_for_line(line);
    drop(reader);
    assert_eq!(host.lines(), [line]);
}

#[test]
fn two_readers_share_the_records() {
    let (one, other, (map, program)) = (Lab::new(), Lab::new(), ring());
    for lab in [&one, &other] {
        lab.prepare(&map);
        lab.host.cube.stages().commit();
    }
    const COUNT: u64 = 20_000;
    let mut record = 100;
    while record < 100 + COUNT {
        record += u64::from(program.send(record));
    }
    let Lab { reader, records, .. } = one;
    drop((reader, other.reader));
    let mut found: Vec<u64> = records.iter().chain(other.records.iter()).collect();
    found.sort_unstable();
    assert!(found.iter().copied().eq(100..100 + COUNT), "{} of {COUNT}", found.len());
}
