#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use tempfile::TempDir;

use super::*;
use crate::fixture::{record, roots, stored, times};
use crate::format::pcap::HEADER;
use crate::format::transcode;

fn section(names: &[&str], snaplen: u32) -> Section {
    let interfaces = names.iter().map(|name| Some(crate::fixture::interface(name))).collect();
    Section { cube: String::from("sniffer"), interfaces, snaplen, ..Section::default() }
}

fn create(directory: &TempDir, name: &str, format: Format) -> io::Result<CaptureFile> {
    let directory = Arc::new(roots(directory.path()).capture_dir().open().unwrap());
    CaptureFile::create(&directory, name.as_ref(), format, &section(&["p"], 96))
}

/// A file whose bytes go to `fd`.
fn over(fd: OwnedFd, directory: &TempDir) -> CaptureFile {
    let file = stored(directory.path(), "sniffer.pcap", b"").current().0;
    CaptureFile::over(fd, file, Format::Pcap, &section(&["p"], 96))
}

#[test]
fn a_file_comes_with_its_first_records() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s.pcap");
    let mut file = create(&directory, "s.pcap", Format::Pcap).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
    let (one, two) = (record(1, b"one"), record(2, b"two"));
    file.append(&[&one]).unwrap();
    file.append(&[&two, &one]).unwrap();
    drop(file);
    let header = Format::Pcap.header(&section(&[], 96));
    assert_eq!(fs::read(&path).unwrap(), [header, one.clone(), two, one].concat());
}

#[test]
fn more_runs_than_one_call_takes_are_all_written() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s.pcap");
    let records = (0..3000).map(|micros| record(micros, b"abc")).collect::<Vec<_>>();
    let runs = records.iter().map(Vec::as_slice).collect::<Vec<_>>();
    create(&directory, "s.pcap", Format::Pcap).unwrap().append(&runs).unwrap();
    assert_eq!(times(&fs::read(path).unwrap()[HEADER..]), (0..3000).collect::<Vec<_>>());
}

#[test]
fn neither_a_file_nor_a_link_is_written_over() {
    let directory = TempDir::new().unwrap();
    let (taken, link, elsewhere) = ("taken", "link", "elsewhere");
    let path = |name: &str| directory.path().join(name);
    fs::write(path(taken), "dear").unwrap();
    symlink(path(elsewhere), path(link)).unwrap();
    for name in [taken, link] {
        let error = create(&directory, name, Format::Pcap).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(path(taken)).unwrap(), b"dear");
    assert!(!path(elsewhere).exists());
}

#[test]
fn a_raised_snap_length_is_mended_in_the_header() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s.pcap");
    let mut file = create(&directory, "s.pcap", Format::Pcap).unwrap();
    let snaplen = || u32::from_ne_bytes(fs::read(&path).unwrap()[16..20].try_into().unwrap());
    for (micros, raised, expected) in [(1, 96, 96), (2, 128, 128), (3, 64, 128)] {
        file.describe(&section(&["p"], raised)).unwrap();
        file.append(&[&record(micros, b"")]).unwrap();
        assert_eq!(snaplen(), expected);
    }
    assert_eq!(times(&fs::read(&path).unwrap()[HEADER..]), [1, 2, 3]);
}

#[test]
fn another_interface_comes_with_the_records_that_need_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s.pcapng");
    let mut file = create(&directory, "s.pcapng", Format::Pcapng).unwrap();
    let block = |micros| {
        let mut block = Vec::new();
        transcode(Format::Pcap, Format::Pcapng, &record(micros, b""), &mut block);
        block
    };
    file.append(&[&block(1)]).unwrap();
    file.describe(&section(&["p", "q"], 96)).unwrap();
    file.describe(&section(&["p", "q", "r"], 64)).unwrap();
    let before = fs::metadata(&path).unwrap().len() as usize;
    assert_eq!(before as u64, file.length(), "nothing is written before there are records");
    file.append(&[&block(2)]).unwrap();
    let bytes = fs::read(&path).unwrap();
    let added = section(&["p"], 96).extension(&section(&["p", "q", "r"], 96), Format::Pcapng.resolution());
    assert_eq!(added[..4], 1_u32.to_ne_bytes(), "an Interface Description Block");
    assert_eq!(bytes[before..], [added, block(2)].concat());
}

#[test]
fn a_full_disk_keeps_nothing() {
    let directory = TempDir::new().unwrap();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut file = over(full.into(), &directory);
    let Shortfall { kept, error } = file.append(&[&record(1, b"abc")]).unwrap_err();
    assert_eq!((kept, error.kind(), file.length()), (0, io::ErrorKind::StorageFull, 0));
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
    let (fd, directory) = (sealed(), TempDir::new().unwrap());
    let mut file = over(fd.try_clone().unwrap(), &directory);
    let records = (0..30).map(|micros| record(micros, &[7; 200])).collect::<Vec<_>>();
    let runs = [records[..10].concat(), records[10..].concat()];
    let Shortfall { kept, .. } = file.append(&[&runs[0], &runs[1]]).unwrap_err();
    assert_eq!(kept, (4096 - HEADER) / 216 * 216);
    let mut bytes = vec![0; 5000];
    let length = rustix::io::pread(&fd, &mut bytes, 0).unwrap();
    assert_eq!(length, HEADER + kept);
    assert_eq!(times(&bytes[HEADER..length]), (0..18).collect::<Vec<_>>());
}

#[test]
fn a_file_that_got_nothing_is_removed() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sniffer.pcap");
    let mut file = over(sealed(), &directory);
    assert!(path.exists());
    let Shortfall { kept, .. } = file.append(&[&record(1, &[7; 5000])]).unwrap_err();
    assert_eq!(kept, 0);
    drop(file);
    assert!(!path.exists());
}

#[test]
fn a_file_that_got_nothing_leaves_alone_what_took_its_place() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("sniffer.pcap");
    let file = create(&directory, "sniffer.pcap", Format::Pcap).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "dear").unwrap();
    drop(file);
    assert_eq!(fs::read(path).unwrap(), b"dear");
}

/// libpcap stops reading at an interface whose snap length differs from the first one's.
#[test]
fn a_larger_snap_length_does_not_fit_into_a_file_of_pcapng() {
    let directory = TempDir::new().unwrap();
    let mut block = Vec::new();
    transcode(Format::Pcap, Format::Pcapng, &record(1, b""), &mut block);
    let mut file = create(&directory, "s.pcapng", Format::Pcapng).unwrap();
    assert!(file.can_describe(&section(&["p"], 200)), "the file is empty");
    file.append(&[&block]).unwrap();
    assert!(!file.can_describe(&section(&["p"], 200)));
    assert!(file.can_describe(&section(&["p", "q"], 96)) && file.can_describe(&section(&["p"], 64)));
    assert!(!file.can_describe(&section(&["q"], 96)), "the interface has another name");
    let mut file = create(&directory, "s.pcap", Format::Pcap).unwrap();
    file.append(&[&record(1, b"")]).unwrap();
    assert!(file.can_describe(&section(&["p"], 200)), "its header is corrected");
}
