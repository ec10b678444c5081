//! Where captures may be written: users' paths must lead below directories that the operator named.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::Directory;

/// Why a path is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RootError {
    #[error("`{}` does not name a file: end it with a file name", .0.escape_debug())]
    NoFile(String),
    #[error("`{0}` contains `..`: give the path without it")]
    Parent(String),
    #[error(
        "`{path}` is outside the capture directory {}: give a path below it, or allow another directory with \
         polycubed's `--capture-root`",
        directory.display()
    )]
    Outside { path: String, directory: PathBuf },
}

/// The capture directory, and the other directories that the operator allows.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    capture_dir: PathBuf,
    others: Vec<PathBuf>,
    /// The group that may read captures.
    group: Option<u32>,
}

impl Roots {
    pub(crate) fn new(capture_dir: &Path, others: &[PathBuf]) -> Self {
        Self { capture_dir: capture_dir.to_owned(), others: others.to_owned(), group: None }
    }

    /// Lets this group read captures, too.
    pub(crate) fn readable_by(self, group: Option<u32>) -> Self {
        Self { group, ..self }
    }

    pub(crate) fn capture_dir(&self) -> Location {
        Location { root: self.capture_dir.clone(), below: PathBuf::new(), group: self.group }
    }

    /// All roots, each with what precedes the paths below it: nothing for the capture directory.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Location, PathBuf)> {
        let others = self
            .others
            .iter()
            .map(|root| (Location { root: root.clone(), below: PathBuf::new(), group: self.group }, root.clone()));
        std::iter::once((self.capture_dir(), PathBuf::new())).chain(others)
    }

    /// Directory and name of the file at `path`, which is absolute or relative to the capture directory.
    pub(crate) fn locate(&self, path: &str) -> Result<(Location, String), RootError> {
        if path.ends_with('/') || path.contains(|c: char| c.is_control()) {
            return Err(RootError::NoFile(path.to_owned()));
        }
        if Path::new(path).components().any(|part| part == Component::ParentDir) {
            return Err(RootError::Parent(path.to_owned()));
        }
        let outside = || RootError::Outside { path: path.to_owned(), directory: self.capture_dir.clone() };
        let (location, name) = self.split(&self.capture_dir.join(path)).ok_or_else(outside)?;
        let name = name.into_string().map_err(|_| RootError::NoFile(path.to_owned()))?;
        Ok((location, name))
    }

    /// Directory and name of the file at the absolute `path`, if it is below a root.
    pub(crate) fn split(&self, path: &Path) -> Option<(Location, OsString)> {
        let roots = std::iter::once(&self.capture_dir).chain(&self.others);
        let below = |root: &PathBuf| Some((root.clone(), path.strip_prefix(root).ok()?.to_owned()));
        let (root, below) = roots.filter_map(below).min_by_key(|(_, below)| below.as_os_str().len())?;
        let name = below.file_name()?.to_owned();
        let below = below.parent()?.to_owned();
        Some((Location { root, below, group: self.group }, name))
    }
}

/// The path of a directory: a root, and the way from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    root: PathBuf,
    below: PathBuf,
    group: Option<u32>,
}

impl Location {
    pub(crate) fn path(&self) -> PathBuf {
        // Joining an empty path would add a slash.
        if self.below.as_os_str().is_empty() { self.root.clone() } else { self.root.join(&self.below) }
    }

    /// Opens the directory that is there now. Links are followed in the root's own path, which the operator chose, but
    /// not below it.
    pub(crate) fn open(&self) -> io::Result<Directory> {
        Directory::open(&self.root, &self.below, self.path(), self.group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots() -> Roots {
        Roots::new(Path::new("/captures"), &[PathBuf::from("/other"), PathBuf::from("/other/deep")])
    }

    #[track_caller]
    fn check(path: &str, directory: &str, name: &str) {
        let (location, found) = roots().locate(path).unwrap();
        assert_eq!((location.path().as_path(), found.as_str()), (Path::new(directory), name));
    }

    #[track_caller]
    fn check_refused(path: &str, expected: &str) {
        assert_eq!(roots().locate(path).unwrap_err().to_string(), expected);
    }

    #[test]
    fn paths_lead_below_a_root() {
        check("trace", "/captures", "trace");
        check("a/b/trace", "/captures/a/b", "trace");
        check("/captures/a/trace", "/captures/a", "trace");
        check("/other/trace", "/other", "trace");
        check("/other/deep/a/trace", "/other/deep/a", "trace");
    }

    #[test]
    fn other_paths_are_refused() {
        for path in ["/etc/trace", "/trace", "/capturesque/trace", "/captures", "//etc/trace"] {
            let why = format!(
                "`{path}` is outside the capture directory /captures: give a path below it, or allow another directory \
                 with polycubed's `--capture-root`"
            );
            check_refused(path, &why);
        }
        for path in ["..", "../trace", "a/../../trace", "/captures/../etc/trace", "/captures/a/.."] {
            check_refused(path, &format!("`{path}` contains `..`: give the path without it"));
        }
        check_refused("/captures/a/", "`/captures/a/` does not name a file: end it with a file name");
        check_refused("a\nb", "`a\\nb` does not name a file: end it with a file name");
    }
}
