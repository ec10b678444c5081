#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::umask;
use tempfile::TempDir;

use super::*;
use crate::fixture::{roots, stored};

/// Replaces a file of ours, and tries to open it.
#[track_caller]
fn check_replaced(what: &str, replace: impl FnOnce(&Path) -> io::Result<()>) {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("precious"), "dear").unwrap();
    let file = stored(directory.path(), "s.pcap", b"records").current().0;
    fs::remove_file(file.path()).unwrap();
    replace(&file.path()).unwrap();
    for access in [OFlags::RDONLY, OFlags::RDWR] {
        let error = file.open(access).err().unwrap_or_else(|| panic!("{what} was opened"));
        assert!(matches!(error, OpenError::Replaced), "{what}: {error}");
    }
    file.remove().unwrap();
    assert!(fs::symlink_metadata(file.path()).is_ok(), "{what} was deleted");
}

#[test]
fn what_took_the_place_of_a_file_is_neither_opened_nor_deleted() {
    check_replaced("a symbolic link", |path| symlink("precious", path));
    check_replaced("a link to nothing", |path| symlink("nothing", path));
    check_replaced("a hard link", |path| fs::hard_link(path.with_file_name("precious"), path));
    check_replaced("a file", |path| fs::write(path, "records"));
    check_replaced("a directory", |path| fs::create_dir(path));
    check_replaced("a pipe", |path| Ok(mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?));
    check_replaced("a socket", |path| UnixListener::bind(path).map(drop));
}

/// Anything may happen between the check of a name and the opening: so the open file is checked again.
#[test]
fn a_file_is_known_by_what_is_open_and_not_by_the_look_before() {
    let directory = TempDir::new().unwrap();
    let (one, other) = (stored(directory.path(), "one", b"1"), stored(directory.path(), "other", b"2"));
    let (one, other) = (one.current().0, other.current().0);
    assert_ne!(one.id(), other.id());
    assert_eq!(one.id().to_string().parse(), Ok(one.id()));
    assert!("1 2".parse::<FileId>().is_err() && "1 2 3 4".parse::<FileId>().is_err());
    assert_eq!("1 2 3".parse::<FileId>().map(|id| id.to_string()), Ok(String::from("1 2 3")));
}

#[test]
fn a_file_that_was_given_away_is_not_opened() {
    let directory = TempDir::new().unwrap();
    let file = stored(directory.path(), "s.pcap", b"records").current().0;
    file.open(OFlags::RDONLY).unwrap();
    chown(file.path(), Some(65534), None).unwrap();
    let error = file.open(OFlags::RDONLY).unwrap_err();
    assert_eq!(error.to_string(), "it does not belong to polycubed's user");
}

#[test]
fn a_file_is_found_where_its_directory_went() {
    let directory = TempDir::new().unwrap();
    let (way, gone) = (directory.path().join("way"), directory.path().join("gone"));
    fs::create_dir(&way).unwrap();
    let file = stored(&way, "s.pcap", b"records").current().0;
    fs::rename(&way, &gone).unwrap();
    fs::create_dir(&way).unwrap();
    fs::write(way.join("s.pcap"), "dear").unwrap();
    assert_eq!(io::read_to_string(file.open(OFlags::RDONLY).unwrap()).unwrap(), "records");
    file.remove().unwrap();
    assert!(!gone.join("s.pcap").exists() && way.join("s.pcap").exists());
}

#[test]
fn no_link_is_followed_below_a_root() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::create_dir_all(path("root/a")).unwrap();
    fs::create_dir_all(path("elsewhere/b")).unwrap();
    symlink(path("elsewhere"), path("root/link")).unwrap();
    symlink("a", path("root/inside")).unwrap();
    symlink(path("root"), path("name-of-root")).unwrap();
    for (root, way, is_open) in [
        ("root", "a/trace", true),
        ("name-of-root", "a/trace", true),
        ("root", "link/trace", false),
        ("root", "link/b/trace", false),
        ("root", "inside/trace", false),
    ] {
        let (location, _) = roots(&path(root)).locate(way).unwrap();
        let opened = location.open().map(|_| ()).map_err(|error| error.to_string());
        assert_eq!(
            opened,
            if is_open { Ok(()) } else { Err(String::from("a symbolic link is on the way to it")) },
            "{way}"
        );
    }
}

#[test]
fn a_probe_says_whether_files_can_be_made() {
    let directory = TempDir::new().unwrap();
    let probe = |path: &Path| roots(path).capture_dir().open().and_then(|directory| directory.probe());
    probe(directory.path()).unwrap();
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    let missing = directory.path().join("missing");
    assert_eq!(probe(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::write(&missing, "").unwrap();
    assert_eq!(probe(&missing).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn captures_are_readable_by_their_group_whatever_the_umask() {
    let directory = TempDir::new().unwrap();
    let create = |name: &str, group| {
        let location = roots(directory.path()).readable_by(group).capture_dir();
        let (file, _) = Arc::new(location.open().unwrap()).create(name.as_ref()).unwrap();
        let metadata = fs::metadata(file.path()).unwrap();
        (metadata.mode() & 0o7777, metadata.gid())
    };
    let before = umask(Mode::from_raw_mode(0o777));
    let (own, given) = (create("own", None), create("given", Some(4321)));
    umask(before);
    assert_eq!((own.0, given), (0o640, (0o640, 4321)));
}

#[test]
fn an_identity_survives_as_words() {
    let directory = TempDir::new().unwrap();
    let id = stored(directory.path(), "s.pcap", b"packet").current().0.id();
    assert_eq!(FileId::from_words(id.words()), Some(id));
    assert_eq!(FileId::from_words([0; 5]), None);
}
