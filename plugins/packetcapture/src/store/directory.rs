//! A directory, held by its descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, ResolveFlags, XattrFlags, fchmod, fchown,
    fgetxattr, flock, fsetxattr, fstat, linkat, openat, openat2, statat, unlinkat,
};
use rustix::io::{Errno, pwrite};

use super::{FileId, OwnFile};
use crate::sys;

/// Extended attribute of the files that we create. On a file that belongs to us, only we and root can set it.
const MARK: &str = "user.polycube";

/// A directory, whatever its path refers to later.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    /// Its path when it was opened.
    path: PathBuf,
    /// The group that may read its captures.
    group: Option<u32>,
}

/// The result of making a name free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The name was free.
    Absent,
    /// A file of ours had it, and was deleted.
    Removed(FileId),
    /// It is not ours, or is being written.
    Kept,
}

impl Directory {
    pub(super) fn open(root: &Path, below: &Path, path: PathBuf, group: Option<u32>) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, root, flags | OFlags::PATH, Mode::empty())?;
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd =
            openat2(&root, below, flags | OFlags::RDONLY, Mode::empty(), resolve).map_err(|error| match error {
                Errno::LOOP => io::Error::new(io::ErrorKind::NotADirectory, "a symbolic link is on the way to it"),
                error => error.into(),
            })?;
        Ok(Self { fd, path, group })
    }

    /// Its path when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are the same directory under the same path.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let id = |directory: &Self| FileId::of(directory.fd.as_fd()).ok();
        self.path == other.path && id(self).is_some_and(|own| Some(own) == id(other))
    }

    /// Creates a file with our mark, and opens it for writing. It must not exist; a link in its place is not followed.
    pub(crate) fn create(self: &Arc<Self>, name: &OsStr) -> io::Result<(OwnFile, OwnedFd)> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))?;
        // Where the group cannot have it, the file stays as private as one without a group.
        if let Some(group) = self.group {
            let _ = fchown(&fd, None, Some(Gid::from_raw(group)));
        }
        // Whatever the umask is. File systems without modes have their own.
        let _ = fchmod(&fd, Mode::from_raw_mode(0o640));
        // On file systems without such attributes, only a cube that remembers the file replaces it.
        let _ = fsetxattr(&fd, MARK, b"capture", XattrFlags::empty());
        Ok((OwnFile::new(Arc::clone(self), name, FileId::of(fd.as_fd())?), fd))
    }

    /// Creates a file for our own use that no other user can read.
    pub(crate) fn create_private(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))?)
    }

    /// Gives the file that is open as `fd`, a file of this directory, the additional name `name`, which must be free.
    pub(crate) fn link(self: &Arc<Self>, fd: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnFile> {
        // By descriptor, because the file's first name may refer to another file by now.
        let open = format!("/proc/self/fd/{}", fd.as_raw_fd());
        linkat(CWD, open, &self.fd, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(OwnFile::new(Arc::clone(self), name, FileId::of(fd)?))
    }

    /// Whether the name is taken.
    pub(crate) fn has(&self, name: &OsStr) -> bool {
        statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Opens `name`, if it is a regular file that belongs to us.
    pub(crate) fn open_own(&self, name: &OsStr, access: OFlags) -> io::Result<OwnedFd> {
        // Without NONBLOCK, opening a pipe would block.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_regular || stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it does not belong to polycubed's user"));
        }
        Ok(fd)
    }

    /// Deletes `name` if it is a file with our mark, or one that `is_known`, and is not being written.
    pub(crate) fn remove_own(&self, name: &OsStr, is_known: impl Fn(FileId) -> bool) -> io::Result<Removal> {
        if !self.has(name) {
            return Ok(Removal::Absent);
        }
        let Ok(fd) = self.open_own(name, OFlags::RDONLY) else { return Ok(Removal::Kept) };
        let id = FileId::of(fd.as_fd())?;
        let is_marked = || fgetxattr(&fd, MARK, &mut [0_u8; 16]).is_ok();
        let is_idle = || flock(&fd, FlockOperation::NonBlockingLockShared) != Err(Errno::WOULDBLOCK);
        if !(is_known(id) || is_marked()) || !is_idle() {
            return Ok(Removal::Kept);
        }
        self.remove(name)?;
        Ok(Removal::Removed(id))
    }

    /// Deletes the name, whatever it refers to.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.fd, name, AtFlags::empty()) {
            Err(Errno::NOENT) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates and deletes a file, because permissions alone do not say whether that works.
    pub(crate) fn probe(&self) -> io::Result<()> {
        // The name is unpredictable, so nobody can have put anything there.
        let name = format!(".polycube-{:016x}.probe", u64::from_ne_bytes(sys::random()?));
        let probe = self.create_private(OsStr::new(&name))?;
        self.remove(OsStr::new(&name))?;
        pwrite(&probe, &[0], 0)?;
        Ok(())
    }

    /// Names of its entries that `is_wanted`.
    pub(crate) fn names(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
        let entries = Dir::read_from(&self.fd)?.map(|entry| Ok(entry?.file_name().to_owned()));
        let names = entries.collect::<io::Result<Vec<_>>>()?;
        let names = names.into_iter().filter_map(|name| name.into_string().ok());
        Ok(names.filter(|name| is_wanted(name)).collect())
    }

    /// Opens `name`, if it is a file of ours with our mark.
    pub(crate) fn open_marked(&self, name: &OsStr) -> io::Result<OwnedFd> {
        let fd = self.open_own(name, OFlags::RDONLY)?;
        fgetxattr(&fd, MARK, &mut [0_u8; 16])?;
        Ok(fd)
    }

    /// Whether a capture writes the file `name`, of whichever daemon.
    pub(crate) fn is_written(&self, name: &OsStr) -> bool {
        let locked = |fd: OwnedFd| flock(&fd, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
        self.open_own(name, OFlags::RDONLY).is_ok_and(locked)
    }

    /// The directory `name` in this one; a link in its place is not followed.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        Ok(Self { fd, path: self.path.join(name), group: self.group })
    }

    /// Names of its files that `is_wanted`, and of the directories in it; looks at `left` entries at most.
    pub(crate) fn contents(&self, left: &mut usize, is_wanted: impl Fn(&str) -> bool) -> (Vec<String>, Vec<String>) {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in Dir::read_from(&self.fd).into_iter().flatten().flatten() {
            let Some(rest) = left.checked_sub(1) else { break };
            *left = rest;
            let Ok(name) = entry.file_name().to_str() else { continue };
            match entry.file_type() {
                FileType::RegularFile if is_wanted(name) => files.push(name.to_owned()),
                FileType::Directory if name != "." && name != ".." => directories.push(name.to_owned()),
                _ => {}
            }
        }
        (files, directories)
    }

    /// Total size of its regular files, without `own`.
    pub(crate) fn size(&self, own: Option<&OsStr>) -> u64 {
        let entries = Dir::read_from(&self.fd).into_iter().flatten().flatten();
        let others =
            entries.filter(|entry| own.is_none_or(|own| own.as_encoded_bytes() != entry.file_name().to_bytes()));
        let stats = others.filter_map(|entry| statat(&self.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok());
        let regular = stats.filter(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        regular.map(|stat| stat.st_size.cast_unsigned()).sum()
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
