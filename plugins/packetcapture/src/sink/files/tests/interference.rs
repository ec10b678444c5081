//! Files that another program changes while they are written.

use super::*;

/// Captures a packet, lets `interfere` act on the file's path, and captures two more.
#[track_caller]
fn check(direct: bool, interfere: impl Fn(&Fixture), expected: FileStatus) -> Fixture {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"dump": "trace", "storage": {"direct": direct}})));
    files.write(Format::Pcap, &[&records(0..3)]);
    files.tick();
    interfere(&fixture);
    files.write(Format::Pcap, &[&records(3..4)]);
    files.tick();
    files.write(Format::Pcap, &[&records(4..5)]);
    files.finish();
    assert_eq!(statuses(&fixture), [expected, FileStatus::Closed]);
    let states = fixture.outcome.files();
    let packets = states.iter().map(|file| file.tally.packets).sum::<u64>();
    assert_eq!((packets, fixture.outcome.disk.packets()), (5, 0));
    assert_eq!(fixture.outcome.removed.packets(), states[0].tally.packets);
    let readable = fixture.outcome.files_of_last_session();
    assert_eq!(readable.len(), 1, "only the new file has packets to copy");
    assert_eq!(fixture.outcome.dump(false), Some(states[1].stored.path()));
    let lines = fixture.lines.lock().unwrap();
    assert!(lines.len() == 1 && lines[0].starts_with("Warn: another program has "), "{lines:?}");
    drop(lines);
    fixture
}

fn path(fixture: &Fixture) -> std::path::PathBuf {
    fixture.captures().join("trace.pcap")
}

/// The times in the last file.
fn last(fixture: &Fixture) -> Vec<u64> {
    times(&fs::read(fixture.outcome.dump(false).unwrap()).unwrap()[HEADER..])
}

#[test]
fn after_a_file_is_deleted_the_next_packet_begins_another() {
    for direct in [false, true] {
        let fixture = check(direct, |fixture| fs::remove_file(path(fixture)).unwrap(), FileStatus::Removed);
        assert_eq!(last(&fixture), [3, 4]);
    }
}

/// A program may still have it, so that only its path shows that it is gone.
#[test]
fn after_a_file_is_replaced_another_begins_within_a_tick() {
    let replace = |fixture: &Fixture| {
        fs::hard_link(path(fixture), fixture.directory.path().join("kept")).unwrap();
        fs::remove_file(path(fixture)).unwrap();
        fs::write(path(fixture), "dear").unwrap();
    };
    let fixture = check(false, replace, FileStatus::Removed);
    assert_eq!(fs::read(path(&fixture)).unwrap(), b"dear");
    assert_eq!(times(&fs::read(fixture.directory.path().join("kept")).unwrap()[HEADER..]), [0, 1, 2, 3]);
    assert_eq!(last(&fixture), [4]);
}

#[test]
fn a_file_that_is_moved_is_completed_where_it_is() {
    let moved = |fixture: &Fixture| fixture.directory.path().join("moved");
    let fixture = check(true, |fixture| fs::rename(path(fixture), moved(fixture)).unwrap(), FileStatus::Removed);
    assert_eq!(times(&fs::read(moved(&fixture)).unwrap()[HEADER..]), [0, 1, 2, 3]);
}

#[test]
fn nothing_is_written_after_the_gap_in_a_truncated_file() {
    for length in [0, 100] {
        let truncate = |fixture: &Fixture| File::options().write(true).open(path(fixture)).unwrap().set_len(length);
        let fixture = check(false, |fixture| truncate(fixture).unwrap(), FileStatus::Truncated);
        assert_eq!(fs::metadata(path(&fixture)).unwrap().len(), length);
        assert_eq!(last(&fixture), [3, 4]);
    }
}

#[test]
fn a_deleted_file_is_reported_without_another_packet() {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(json!({"dump": "trace"})));
    files.write(Format::Pcap, &[&records(0..3)]);
    fs::remove_file(path(&fixture)).unwrap();
    files.tick();
    assert_eq!(statuses(&fixture), [FileStatus::Removed]);
    assert_eq!((fixture.outcome.dump(true), on_disk(&fixture)), (None, vec![]));
    // The descriptor would keep its blocks on the disk.
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let deleted = path(&fixture).display().to_string() + " (deleted)";
    assert_eq!(open.filter(|target| target.as_os_str() == deleted.as_str()).count(), 0);
    files.finish();
    assert_eq!(fixture.lines.lock().unwrap().len(), 1);
}
