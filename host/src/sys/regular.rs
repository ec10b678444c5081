//! Opens and reads the files that an operator names. A named pipe in the place of one would hold up the daemon until somebody
//! writes to it, a device for ever: they are refused.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A file of another kind.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a regular file")]
struct Irregular(&'static str);

/// Opens a regular file for reading, or `/dev/null`, which is as good as an empty one.
///
/// # Errors
/// It cannot be opened, or it is of another kind.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Without NONBLOCK, to open a named pipe is to wait for its writer. Reading a regular file is as without it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    let file_type = metadata.file_type();
    let null = rustix::fs::makedev(1, 3);
    if file_type.is_file() || (file_type.is_char_device() && metadata.rdev() == null) {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, Irregular(kind(file_type))))
}

/// The bytes of such a file.
///
/// # Errors
/// It cannot be opened or read, or it is of another kind.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of such a file.
///
/// # Errors
/// It cannot be opened or read, is of another kind, or is not UTF-8.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    io::read_to_string(open(path)?)
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "a directory"
    } else if file_type.is_fifo() {
        "a named pipe"
    } else if file_type.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_read_and_nothing_waits_for_a_writer() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| directory.path().join(name));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for path in [&file, &link] {
            assert_eq!((read(path).unwrap(), read_to_string(path).unwrap()), (b"text".to_vec(), "text".to_owned()));
        }
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        for (path, expected) in [
            (pipe.as_path(), "it is a named pipe, not a regular file"),
            (directory.path(), "it is a directory, not a regular file"),
            (Path::new("/dev/zero"), "it is a device, not a regular file"),
        ] {
            assert_eq!(read(path).unwrap_err().to_string(), expected);
        }
        assert_eq!(read(&directory.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
