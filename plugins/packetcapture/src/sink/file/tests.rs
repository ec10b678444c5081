#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tempfile::TempDir;

use super::*;
use crate::fixture::{record, times};

fn target(directory: &Path, snaplen: u32) -> Arc<Target> {
    Arc::new(Target {
        directory: directory.to_owned(),
        cube: String::from("sniffer"),
        snaplen: AtomicU32::new(snaplen),
        path: Mutex::default(),
    })
}

fn over(fd: OwnedFd, length: u64) -> CaptureFile {
    let file = Open { fd, path: PathBuf::from("/nowhere/sniffer.pcap"), length, snaplen: 96 };
    CaptureFile { target: target(Path::new("/nowhere"), 96), file: Some(file) }
}

#[test]
fn a_file_comes_with_its_first_records() {
    let directory = TempDir::new().unwrap();
    let target = target(directory.path(), 96);
    let mut file = CaptureFile::new(target.clone());
    assert_eq!(target.path(), None);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let (one, two) = (record(1, b"one"), record(2, b"two"));
    file.write(&[&one]).unwrap();
    let path = target.path().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    file.write(&[&two, &one]).unwrap();
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), [file_header(96).to_vec(), one.clone(), two, one].concat());
}

#[test]
fn more_runs_than_one_call_takes_are_all_written() {
    let directory = TempDir::new().unwrap();
    let target = target(directory.path(), 96);
    let records = (0..3000).map(|micros| record(micros, b"abc")).collect::<Vec<_>>();
    let runs = records.iter().map(Vec::as_slice).collect::<Vec<_>>();
    CaptureFile::new(target.clone()).write(&runs).unwrap();
    let bytes = fs::read(target.path().unwrap()).unwrap();
    assert_eq!(times(&bytes[FILE_HEADER..]), (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_name_that_is_taken_is_left_alone() {
    let directory = TempDir::new().unwrap();
    // The second may end between the two.
    for _ in 0..3 {
        let (first, second) = (target(directory.path(), 96), target(directory.path(), 96));
        CaptureFile::new(first.clone()).write(&[&record(1, b"")]).unwrap();
        CaptureFile::new(second.clone()).write(&[&record(1, b"")]).unwrap();
        let name = |target: &Target| target.path().unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
        let (first, second) = (name(&first), name(&second));
        assert_ne!(first, second);
        if second == format!("{first}-1") {
            return;
        }
    }
    panic!("no second name had the suffix `-1`");
}

#[test]
fn a_link_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let elsewhere = directory.path().join("elsewhere");
    let now = sys::utc_now() / 1_000_000_000;
    for seconds in now..now + 3 {
        symlink(&elsewhere, directory.path().join(file_name("sniffer", seconds, 0))).unwrap();
    }
    CaptureFile::new(target(directory.path(), 96)).write(&[&record(1, b"")]).unwrap();
    assert!(!elsewhere.exists());
}

#[test]
fn a_raised_snap_length_is_mended_in_the_header() {
    let directory = TempDir::new().unwrap();
    let target = target(directory.path(), 96);
    let mut file = CaptureFile::new(target.clone());
    let snaplen =
        |target: &Target| u32::from_ne_bytes(fs::read(target.path().unwrap()).unwrap()[16..20].try_into().unwrap());
    file.write(&[&record(1, b"")]).unwrap();
    assert_eq!(snaplen(&target), 96);
    target.snaplen.store(128, Ordering::Release);
    file.write(&[&record(2, b"")]).unwrap();
    assert_eq!(snaplen(&target), 128);
    target.snaplen.store(64, Ordering::Release);
    file.write(&[&record(3, b"")]).unwrap();
    assert_eq!(snaplen(&target), 128);
    assert_eq!(times(&fs::read(target.path().unwrap()).unwrap()[FILE_HEADER..]), [1, 2, 3]);
}

#[test]
fn a_full_disk_keeps_nothing() {
    let full = open("/dev/full", OFlags::WRONLY, Mode::empty()).unwrap();
    let mut file = over(full, 0);
    let Shortfall { kept, error } = file.write(&[&record(1, b"abc")]).unwrap_err();
    assert_eq!((kept, error.kind()), (0, io::ErrorKind::StorageFull));
    assert_eq!(file.target.path(), None);
}

/// A file of one page that cannot grow.
fn sealed() -> OwnedFd {
    let fd = memfd_create("capture", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, 4096).unwrap();
    fcntl_add_seals(&fd, SealFlags::GROW).unwrap();
    fd
}

#[test]
fn a_write_that_ends_early_leaves_whole_records() {
    let fd = sealed();
    let mut file = over(fd.try_clone().unwrap(), 0);
    let records = (0..30).map(|micros| record(micros, &[7; 200])).collect::<Vec<_>>();
    let runs = [records[..10].concat(), records[10..].concat()];
    let Shortfall { kept, .. } = file.write(&[&runs[0], &runs[1]]).unwrap_err();
    assert_eq!(kept, (4096 - FILE_HEADER) / 216 * 216);
    let mut bytes = vec![0; 5000];
    let length = rustix::io::pread(&fd, &mut bytes, 0).unwrap();
    assert_eq!(length, FILE_HEADER + kept);
    assert_eq!(times(&bytes[FILE_HEADER..length]), (0..18).collect::<Vec<_>>());
}

#[test]
fn a_file_that_got_nothing_is_removed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sniffer.pcap");
    fs::write(&path, "").unwrap();
    let mut file = over(sealed(), 0);
    file.file.as_mut().unwrap().path = path.clone();
    let Shortfall { kept, .. } = file.write(&[&record(1, &[7; 5000])]).unwrap_err();
    assert_eq!(kept, 0);
    drop(file);
    assert!(!path.exists());
}

#[test]
fn a_probe_says_whether_files_can_be_made() {
    let directory = TempDir::new().unwrap();
    probe(directory.path(), "sniffer").unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let missing = directory.path().join("missing");
    assert_eq!(probe(&missing, "sniffer").unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(&missing, "").unwrap();
    assert_eq!(probe(&missing, "sniffer").unwrap_err().kind(), io::ErrorKind::NotADirectory);
}
