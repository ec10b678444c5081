//! Files that we created, told apart from whatever takes their place.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, OFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;

use super::Directory;
use crate::lock::lock;

/// The identity of a file, unique over time.
///
/// An inode number is reused when its file is deleted, so the birth time counts as well, if the file system records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: (u32, u32),
    inode: u64,
    /// Seconds and nanoseconds.
    born: Option<(i64, u32)>,
}

impl FileId {
    pub(super) fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::from(&statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?))
    }

    fn at(directory: &Directory, name: &OsStr) -> io::Result<Self> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        Ok(Self::from(&statx(directory, name, AtFlags::SYMLINK_NOFOLLOW, wanted)?))
    }
}

impl FileId {
    /// As five words: device, inode, whether there is a birth time, its seconds and its nanoseconds. They are not all
    /// zero, because no inode has the number 0.
    pub(crate) fn words(self) -> [u64; 5] {
        let (major, minor) = self.device;
        let (seconds, nanos) = self.born.unwrap_or_default();
        let device = u64::from(major) << 32 | u64::from(minor);
        [device, self.inode, self.born.is_some().into(), seconds.cast_unsigned(), nanos.into()]
    }

    /// The identity whose [`words`](Self::words) these are.
    pub(crate) fn from_words([device, inode, has_birth, seconds, nanos]: [u64; 5]) -> Option<Self> {
        let nanos = u32::try_from(nanos).ok()?;
        let born = (has_birth != 0).then_some((seconds.cast_signed(), nanos));
        (inode != 0).then_some(Self { device: ((device >> 32) as u32, device as u32), inode, born })
    }
}

impl From<&Statx> for FileId {
    fn from(stat: &Statx) -> Self {
        let has_birth = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::BTIME);
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            born: has_birth.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec)),
        }
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.device;
        write!(f, "{major} {minor} {}", self.inode)?;
        self.born.map_or(Ok(()), |(seconds, nanos)| write!(f, " {seconds} {nanos}"))
    }
}

/// A text that is not a file's identity.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotAnId;

impl FromStr for FileId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<i128>, _>>().map_err(|_| NotAnId)?;
        let (device, born) = match numbers[..] {
            [major, minor, _] => ((major, minor), None),
            [major, minor, _, seconds, nanos] => ((major, minor), Some((seconds, nanos))),
            _ => return Err(NotAnId),
        };
        let word = |number: i128| u32::try_from(number).map_err(|_| NotAnId);
        let time = |(seconds, nanos)| Ok((i64::try_from(seconds).map_err(|_| NotAnId)?, word(nanos)?));
        Ok(Self {
            device: (word(device.0)?, word(device.1)?),
            inode: u64::try_from(numbers[2]).map_err(|_| NotAnId)?,
            born: born.map(time).transpose()?,
        })
    }
}

/// Why a file of ours cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("it was deleted")]
    Deleted,
    #[error("something else has taken its place")]
    Replaced,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file that we created, and its name.
#[derive(Clone, Debug)]
pub(crate) struct OwnFile {
    directory: Arc<Directory>,
    name: OsString,
    id: FileId,
}

impl OwnFile {
    /// A file whose identity is known.
    pub(crate) fn new(directory: Arc<Directory>, name: &OsStr, id: FileId) -> Self {
        Self { directory, name: name.to_owned(), id }
    }

    /// Whatever has this name now.
    pub(crate) fn found(directory: Arc<Directory>, name: &OsStr) -> Result<Self, OpenError> {
        let id = id_at(&directory, name)?;
        Ok(Self::new(directory, name, id))
    }

    pub(crate) fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// Path when it was created.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(&self.name)
    }

    /// Whether its name still refers to it, as far as that can be known.
    pub(crate) fn is_in_place(&self) -> bool {
        match id_at(&self.directory, &self.name) {
            Ok(id) => id == self.id,
            Err(OpenError::Deleted | OpenError::Replaced) => false,
            Err(OpenError::Io(_)) => true,
        }
    }

    /// Its size in bytes; 0 if it is gone.
    pub(crate) fn size(&self) -> u64 {
        let file = self.open(OFlags::RDONLY).ok();
        file.and_then(|file| file.metadata().ok()).map_or(0, |metadata| metadata.len())
    }

    /// Opens it, and nothing else that has taken its name.
    pub(crate) fn open(&self, access: OFlags) -> Result<File, OpenError> {
        if id_at(&self.directory, &self.name)? != self.id {
            return Err(OpenError::Replaced);
        }
        let fd = self.directory.open_own(&self.name, access).map_err(|error| match error.raw_os_error() {
            Some(code) if Errno::from_raw_os_error(code) == Errno::LOOP => OpenError::Replaced,
            _ if error.kind() == io::ErrorKind::NotFound => OpenError::Deleted,
            _ => OpenError::Io(error),
        })?;
        // The first check gives a clear error; only this one is free of races.
        if FileId::of(fd.as_fd())? != self.id {
            return Err(OpenError::Replaced);
        }
        Ok(File::from(fd))
    }

    /// Deletes it, and nothing else that has taken its name.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match id_at(&self.directory, &self.name) {
            Ok(id) if id == self.id => self.directory.remove(&self.name),
            Ok(_) | Err(OpenError::Deleted | OpenError::Replaced) => Ok(()),
            Err(OpenError::Io(error)) => Err(error),
        }
    }
}

fn id_at(directory: &Directory, name: &OsStr) -> Result<FileId, OpenError> {
    FileId::at(directory, name).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::Deleted,
        _ => OpenError::Io(error),
    })
}

/// The form in which a capture file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Compressed,
}

/// A capture file in its current form: compression replaces it. Clones refer to the same file.
#[derive(Clone, Debug)]
pub(crate) struct StoredFile(Arc<Mutex<(OwnFile, Form)>>);

impl StoredFile {
    pub(crate) fn new(file: OwnFile) -> Self {
        Self(Arc::new(Mutex::new((file, Form::Plain))))
    }

    /// The current file and its form.
    pub(crate) fn current(&self) -> (OwnFile, Form) {
        lock(&self.0).clone()
    }

    /// Current path.
    pub(crate) fn path(&self) -> PathBuf {
        lock(&self.0).0.path()
    }

    /// Replaces it with its compressed form.
    pub(crate) fn compressed_to(&self, file: OwnFile) {
        *lock(&self.0) = (file, Form::Compressed);
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
