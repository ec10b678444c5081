//! Files of a plugin in a plugin directory: put there all at once or not at all, and taken back where the daemon refuses them.
//! What the daemon loads after its next start is a build that it took.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a plugin's files are not in its directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("cannot use the plugin directory {}: {source}", directory.display())]
    Directory { directory: PathBuf, source: io::Error },
    #[error("cannot copy {} to {}: {source}", from.display(), to.display())]
    Copy { from: PathBuf, to: PathBuf, source: io::Error },
    #[error("cannot remove {}, the build before: {source}", kept.display())]
    Remove { kept: PathBuf, source: io::Error },
    #[error("cannot put {} back: {source}: the build before is in {}", file.display(), kept.display())]
    Back { file: PathBuf, kept: PathBuf, source: io::Error },
}

/// Files that replace others until it is decided that they stay.
#[derive(Debug)]
#[must_use]
pub(crate) struct Installed {
    replaced: Vec<Replaced>,
}

#[derive(Debug)]
struct Replaced {
    file: PathBuf,
    /// A copy of what was there; `None` if nothing was.
    before: Option<PathBuf>,
}

impl Installed {
    /// Copies files into a directory. Each gets its name when it is whole: the daemon reads either the one before or this one.
    ///
    /// # Errors
    ///
    /// A file cannot be copied; all are as they were.
    pub(crate) fn put(files: &[PathBuf], directory: &Path) -> Result<Self, PlaceError> {
        let in_use = |source| PlaceError::Directory { directory: directory.to_owned(), source };
        let directory = directory.canonicalize().map_err(in_use)?;
        let mut installed = Self { replaced: Vec::new() };
        for from in files {
            let to = directory.join(from.file_name().unwrap_or_default());
            match replace(from, &to) {
                Ok(before) => installed.replaced.push(Replaced { file: to, before }),
                Err(source) => {
                    installed.put_back()?;
                    return Err(PlaceError::Copy { from: from.clone(), to, source });
                }
            }
        }
        Ok(installed)
    }

    /// The first one's path, which has no links and is not relative.
    pub(crate) fn path(&self) -> &Path {
        self.replaced.first().map_or(Path::new(""), |first| first.file.as_path())
    }

    /// Leaves them there, and removes what they replaced.
    ///
    /// # Errors
    ///
    /// A copy cannot be removed.
    pub(crate) fn keep(self) -> Result<(), PlaceError> {
        for kept in self.replaced.into_iter().filter_map(|replaced| replaced.before) {
            fs::remove_file(&kept).map_err(|source| PlaceError::Remove { kept, source })?;
        }
        Ok(())
    }

    /// Puts back what they replaced, and removes those that replaced nothing.
    ///
    /// # Errors
    ///
    /// A file cannot be put back.
    pub(crate) fn put_back(self) -> Result<(), PlaceError> {
        for Replaced { file, before } in self.replaced {
            let done = before.as_ref().map_or_else(|| fs::remove_file(&file), |kept| fs::rename(kept, &file));
            let kept = before.unwrap_or_else(|| file.clone());
            done.map_err(|source| PlaceError::Back { file, kept, source })?;
        }
        Ok(())
    }
}

/// Replaces a file at once; answers with the path of a copy of what was there.
fn replace(from: &Path, to: &Path) -> io::Result<Option<PathBuf>> {
    let [new, old] = ["new", "old"].map(|ending| beside(to, ending));
    fs::copy(from, &new)?;
    let before = if to.is_file() {
        fs::copy(to, &old)?;
        Some(old)
    } else {
        None
    };
    fs::rename(&new, to)?;
    Ok(before)
}

/// A name that the daemon does not take for a plugin's.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.file_name().map(OsString::from).unwrap_or_default();
    name.push(".");
    name.push(ending);
    file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(directory: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let mut content: Vec<_> = entries.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
        content.sort();
        content
    }

    #[test]
    fn a_build_replaces_another_or_leaves_all_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let [project, plugins] = ["project", "plugins"].map(|name| place.path().join(name));
        let files = ["g.o", "g.json"].map(|name| project.join(name));
        for directory in [&project, &plugins] {
            fs::create_dir(directory).unwrap();
        }
        files.iter().for_each(|file| fs::write(file, "new").unwrap());
        fs::write(plugins.join("g.o"), "old").unwrap();
        let is = |expected: &[(&str, &str)]| {
            let expected: Vec<_> =
                expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
            assert_eq!(content(&plugins), expected);
        };

        Installed::put(&files, &plugins).unwrap().put_back().unwrap();
        is(&[("g.o", "old")]);
        let failed = Installed::put(&[files[0].clone(), project.join("none")], &plugins).unwrap_err();
        assert!(failed.to_string().starts_with("cannot copy "), "{failed}");
        is(&[("g.o", "old")]);
        let installed = Installed::put(&files, &plugins).unwrap();
        assert_eq!(installed.path(), plugins.canonicalize().unwrap().join("g.o"));
        installed.keep().unwrap();
        is(&[("g.json", "new"), ("g.o", "new")]);
        let failed = Installed::put(&files, &place.path().join("none")).unwrap_err();
        assert!(failed.to_string().starts_with("cannot use the plugin directory "), "{failed}");
    }
}
