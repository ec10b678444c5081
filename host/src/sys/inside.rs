//! Reads files that must be inside a directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InsideError {
    #[error("leads out of its directory: put the file itself there")]
    Outside,
    #[error("is not a regular file")]
    Irregular,
    #[error("is longer than {0} bytes")]
    Long(u64),
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// The bytes of a file of a directory, `most` at most; `None` if there is none. The kernel refuses links that lead out.
///
/// # Errors
/// The file is there and not read.
pub(crate) fn read(directory: &Path, name: &Path, most: u64) -> Result<Option<Vec<u8>>, InsideError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags | OFlags::DIRECTORY, Mode::empty())
        // Without NONBLOCK, a named pipe would hold up the caller.
        .and_then(|at| openat2(at, name, flags | OFlags::NONBLOCK, Mode::empty(), ResolveFlags::BENEATH));
    let opened = match opened {
        Ok(opened) => opened,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(rustix::io::Errno::XDEV) => return Err(InsideError::Outside),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let facts = fstat(&opened).map_err(io::Error::from)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
        return Err(InsideError::Irregular);
    }
    let mut bytes = Vec::new();
    // One more, so that a file that grows is noticed.
    File::from(opened).take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(InsideError::Long(most)) } else { Ok(Some(bytes)) }
}
