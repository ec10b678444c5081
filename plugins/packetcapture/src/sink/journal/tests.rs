#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Mutex;

use tempfile::TempDir;

use super::*;
use crate::fixture::{record, roots, stored};
use crate::format::pcapng::Section;
use crate::format::transcode;

fn capture(format: Format) -> (Vec<u8>, Vec<usize>) {
    let section = Section {
        cube: String::from("s"),
        interfaces: vec![Some(crate::fixture::interface("p"))],
        snaplen: 96,
        ..Section::default()
    };
    let mut bytes = format.header(&section);
    let mut ends = vec![bytes.len()];
    for (micros, body) in [(1, &b"abc"[..]), (2, b""), (3, b"0123456789")] {
        transcode(Format::Pcap, format, &record(micros, body), &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn journal(directory: &TempDir, id: &str) -> Journal {
    Journal::new(roots(directory.path()).capture_dir(), id)
}

/// Leaves a file as a killed daemon does.
fn leave(directory: &TempDir, name: &str, bytes: &[u8]) -> OwnFile {
    let file = stored(directory.path(), name, bytes).current().0;
    note(directory, &file);
    file
}

/// Leaves a note about `file`.
fn note(directory: &TempDir, file: &OwnFile) {
    let mut journal = journal(directory, &file.name().to_string_lossy());
    journal.opened(&file.path()).unwrap();
    journal.made(file).unwrap();
    // The kernel releases a killed daemon's locks.
    journal.note = None;
}

/// The log lines of mending the files in `directory`.
fn mended(directory: &TempDir) -> Vec<String> {
    let lines = Mutex::new(Vec::new());
    mend(&roots(directory.path()), &|_, line| lines.lock().unwrap().push(line.to_owned()));
    let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.filter(|name| name.as_bytes().starts_with(b".packetcapture")).count(), 0, "notes");
    lines.into_inner().unwrap()
}

#[track_caller]
fn check_refused(directory: &TempDir, reason: &str) {
    let lines = mended(directory);
    assert!(lines.len() == 1 && lines[0].ends_with(&format!("cannot be repaired: {reason}")), "{lines:?}");
}

#[test]
fn a_file_that_ends_anywhere_is_cut_to_its_whole_records() {
    let directory = TempDir::new().unwrap();
    for format in [Format::Pcap, Format::PcapNanos, Format::Pcapng] {
        let (bytes, ends) = capture(format);
        for cut in ends[0]..=bytes.len() {
            let file = stored(directory.path(), "cut", &bytes[..cut]).current().0;
            let expected = ends.iter().copied().filter(|end| *end <= cut).max().unwrap();
            let found = mend_file(&file, &file.open(OFlags::RDWR).unwrap()).unwrap();
            let lost = (cut - expected) as u64;
            assert_eq!(found, if lost > 0 { Mended::Cut(lost) } else { Mended::Whole }, "{format:?} at {cut}");
            assert_eq!(fs::read(file.path()).unwrap(), bytes[..expected]);
            file.remove().unwrap();
        }
    }
}

#[test]
fn only_what_was_left_behind_is_mended() {
    let directory = TempDir::new().unwrap();
    let (bytes, ends) = capture(Format::Pcap);
    let cut = &bytes[..bytes.len() - 1];
    let mut journals = ["left", "in-use", "finished"].map(|name| {
        let file = stored(directory.path(), name, cut).current().0;
        let mut journal = journal(&directory, name);
        journal.opened(&file.path()).unwrap();
        journal.made(&file).unwrap();
        journal
    });
    // The kernel releases a killed daemon's locks.
    journals[0].note = None;
    journals[2].closed();
    let lines = Mutex::new(Vec::new());
    mend(&roots(directory.path()), &|_, line| lines.lock().unwrap().push(line.to_owned()));
    let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
    assert_eq!((read("left").len(), read("in-use"), read("finished")), (ends[2], cut.to_vec(), cut.to_vec()));
    let lines = lines.into_inner().unwrap();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].ends_with("left ended within a record: its last 25 bytes are cut off"), "{lines:?}");
    assert_eq!(journals.map(|journal| directory.path().join(&journal.name).exists()), [false, true, false]);
}

#[test]
fn a_file_that_is_written_anew_is_not_mended_by_an_old_note() {
    let directory = TempDir::new().unwrap();
    let (bytes, _) = capture(Format::Pcap);
    let file = leave(&directory, "trace.pcap", &bytes[..bytes.len() - 1]);
    let writer = File::open(file.path()).unwrap();
    flock(&writer, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(mended(&directory), [""; 0]);
    assert_eq!(fs::read(file.path()).unwrap(), bytes[..bytes.len() - 1]);
}

#[test]
fn a_note_goes_through_no_link_and_a_link_is_not_a_note() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut journal = journal(&directory, "s");
    fs::write(path("elsewhere"), "dear").unwrap();
    symlink(path("elsewhere"), path(".packetcapture-s.open")).unwrap();
    assert!(left_behind(&roots(directory.path()).capture_dir().open().unwrap(), &journal.name).is_err());
    journal.opened(&path("file")).unwrap();
    assert_eq!(fs::read(path("elsewhere")).unwrap(), b"dear");
    assert_eq!(fs::metadata(path(".packetcapture-s.open")).unwrap().permissions().mode() & 0o177, 0);
}

#[test]
fn a_note_of_another_user_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let (bytes, _) = capture(Format::Pcap);
    let file = leave(&directory, "s.pcap", &bytes[..bytes.len() - 1]);
    std::os::unix::fs::chown(directory.path().join(".packetcapture-s.pcap.open"), Some(65534), None).unwrap();
    mend(&roots(directory.path()), &|_, line| panic!("{line}"));
    assert_eq!(fs::read(file.path()).unwrap(), bytes[..bytes.len() - 1]);
}

#[test]
fn a_file_without_a_header_is_deleted() {
    let directory = TempDir::new().unwrap();
    for format in [Format::Pcap, Format::Pcapng] {
        let (bytes, _) = capture(format);
        for cut in [0, 3, 20] {
            let file = leave(&directory, "s.pcap", &bytes[..cut]);
            let lines = mended(&directory);
            assert!(lines.len() == 1 && lines[0].contains("it is deleted"), "{lines:?}");
            assert!(!file.path().exists(), "{format:?} at {cut}");
        }
    }
}

/// The daemon was killed before it noted the identity of its file.
#[test]
fn of_a_file_that_is_not_known_only_its_path_nothing_is_cut() {
    let directory = TempDir::new().unwrap();
    let (bytes, _) = capture(Format::Pcap);
    for (text, is_deleted) in [(&b""[..], true), (&bytes[..bytes.len() - 1], false), (b"abc", false)] {
        let file = stored(directory.path(), "s.pcap", text).current().0;
        let mut journal = journal(&directory, "s");
        journal.opened(&file.path()).unwrap();
        journal.note = None;
        if is_deleted {
            assert!(mended(&directory)[0].contains("it is deleted"));
        } else {
            check_refused(&directory, "the daemon was killed before it noted which file it had created");
            assert_eq!(fs::read(file.path()).unwrap(), text);
            file.remove().unwrap();
        }
        assert!(!file.path().exists());
    }
}

#[test]
fn what_took_the_place_of_a_file_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let (bytes, _) = capture(Format::Pcap);
    let cut = &bytes[..bytes.len() - 1];
    let precious = directory.path().join("precious");
    fs::write(&precious, cut).unwrap();
    let replacements: [fn(&Path, &Path) -> io::Result<()>; 3] =
        [|from, to| symlink(from, to), |from, to| fs::hard_link(from, to), |from, to| fs::copy(from, to).map(drop)];
    for replace in replacements {
        let file = leave(&directory, "s.pcap", cut);
        fs::remove_file(file.path()).unwrap();
        replace(&precious, &file.path()).unwrap();
        check_refused(&directory, "something else has taken its place");
        assert_eq!(fs::read(file.path()).unwrap(), cut);
        fs::remove_file(file.path()).unwrap();
    }
    assert_eq!(fs::read(precious).unwrap(), cut);
}

#[test]
fn a_directory_on_the_way_that_became_a_link_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let (bytes, _) = capture(Format::Pcap);
    let cut = &bytes[..bytes.len() - 1];
    let path = |name: &str| directory.path().join(name);
    ["way", "elsewhere"].iter().for_each(|name| fs::create_dir(path(name)).unwrap());
    let file = stored(&path("way"), "s.pcap", cut).current().0;
    let file = OwnFile::new(Arc::clone(file.directory()), file.name(), file.id());
    note(&directory, &file);
    fs::rename(path("way/s.pcap"), path("elsewhere/s.pcap")).unwrap();
    fs::remove_dir(path("way")).unwrap();
    symlink("elsewhere", path("way")).unwrap();
    check_refused(&directory, "a symbolic link is on the way to it");
    assert_eq!(fs::read(path("elsewhere/s.pcap")).unwrap(), cut);
}

#[test]
fn a_note_leads_to_no_file_outside_the_roots() {
    let (directory, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (bytes, _) = capture(Format::Pcap);
    let cut = &bytes[..bytes.len() - 1];
    let file = stored(elsewhere.path(), "s.pcap", cut).current().0;
    note(&directory, &file);
    check_refused(&directory, "it is outside the directories of `--capture-dir` and `--capture-root`");
    assert_eq!(fs::read(file.path()).unwrap(), cut);
}

#[test]
fn what_is_not_a_capture_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let file = leave(&directory, "letter", b"Dear all, ...");
    check_refused(&directory, "it is not a capture file");
    assert_eq!(fs::read(file.path()).unwrap(), b"Dear all, ...");
}
