//! Reads an object and its manifest from a plugin directory, as bytes of our own.

use std::path::{Path, PathBuf};

use crate::sys::inside::{self, InsideError};

/// Bytes of an object, and of a manifest, at most.
const LONGEST_OBJECT: u64 = 64 << 20;
const LONGEST_MANIFEST: u64 = 1 << 20;

/// A file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("there is no file `{uri}` in {known}: put the object there first")]
    Missing { uri: String, known: String },
    #[error("{file} {why}")]
    Refused { file: String, why: InsideError },
    #[error("{file} is not UTF-8 text")]
    NotText { file: String },
}

/// What was read.
#[derive(Debug)]
pub(super) struct Files {
    /// Of the object.
    pub path: PathBuf,
    pub object: Vec<u8>,
    /// Path and text; `None` if there is no such file.
    pub manifest: Option<(String, String)>,
}

/// Reads the object `uri` of the first directory that has it, and the manifest beside it.
///
/// # Errors
/// There is no object, or one of the files cannot be taken.
pub(super) fn read(directories: &[PathBuf], uri: &str) -> Result<Files, FileError> {
    for directory in directories {
        // Where a service is stored, its uri is the path of its file.
        let Some(name) = name_in(directory, uri) else { continue };
        let path = directory.join(&name);
        let Some(object) = bytes(directory, &name, LONGEST_OBJECT)? else { continue };
        let name = name.with_extension("json");
        let file = directory.join(&name).display().to_string();
        let text = |bytes| String::from_utf8(bytes).map_err(|_| FileError::NotText { file: file.clone() });
        let manifest = bytes(directory, &name, LONGEST_MANIFEST)?.map(text).transpose()?;
        return Ok(Files { path, object, manifest: manifest.map(|text| (file, text)) });
    }
    let known = directories.iter().map(|directory| directory.display().to_string()).collect::<Vec<_>>().join(" or ");
    Err(FileError::Missing { uri: uri.to_owned(), known })
}

/// The name of a file of a directory: one word, as it is or after the directory's path.
fn name_in(directory: &Path, uri: &str) -> Option<PathBuf> {
    let path = directory.join(uri);
    let is_inside = path.parent().and_then(|parent| parent.canonicalize().ok()) == directory.canonicalize().ok();
    is_inside.then(|| path.file_name().map(PathBuf::from)).flatten()
}

/// The bytes of a file of a directory; `None` if there is none.
fn bytes(directory: &Path, name: &Path, most: u64) -> Result<Option<Vec<u8>>, FileError> {
    let file = || directory.join(name).display().to_string();
    inside::read(directory, name, most).map_err(|why| FileError::Refused { file: file(), why })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn why(directories: &[PathBuf], uri: &str) -> String {
        read(directories, uri).unwrap_err().to_string()
    }

    #[test]
    fn the_first_directory_that_has_the_object_has_its_manifest() {
        let place = tempfile::tempdir().unwrap();
        let directories = ["one", "two"].map(|name| place.path().join(name));
        for directory in &directories {
            fs::create_dir(directory).unwrap();
        }
        fs::write(directories[0].join("a.json"), "not of this object").unwrap();
        fs::write(directories[1].join("a.o"), "object").unwrap();
        let files = read(&directories, "a.o").unwrap();
        assert_eq!((files.path, files.object.as_slice()), (directories[1].join("a.o"), &b"object"[..]));
        assert_eq!(files.manifest, None);
        fs::write(directories[1].join("a.json"), "text").unwrap();
        let stored = directories[1].join("a.o").display().to_string();
        let (file, text) = read(&directories, &stored).unwrap().manifest.unwrap();
        assert_eq!((file, text.as_str()), (directories[1].join("a.json").display().to_string(), "text"));
    }

    #[test]
    fn nothing_outside_is_read() {
        let place = tempfile::tempdir().unwrap();
        let (inside, outside) = (place.path().join("plugins"), place.path().join("secret.o"));
        fs::create_dir(&inside).unwrap();
        fs::write(&outside, "secret").unwrap();
        fs::write(inside.join("real.o"), "real").unwrap();
        symlink(&outside, inside.join("out.o")).unwrap();
        symlink("../secret.o", inside.join("up.o")).unwrap();
        symlink("real.o", inside.join("alias.o")).unwrap();
        fs::create_dir(inside.join("directory.o")).unwrap();
        let directories = [inside];
        for uri in ["out.o", "up.o"] {
            assert!(why(&directories, uri).ends_with("leads out of its directory: put the file itself there"));
        }
        for uri in ["../secret.o", outside.to_str().unwrap(), "none.o", ".."] {
            assert!(why(&directories, uri).starts_with(&format!("there is no file `{uri}` in ")), "{uri}");
        }
        assert!(why(&directories, "directory.o").ends_with("is not a regular file"));
        assert_eq!(read(&directories, "alias.o").unwrap().object, b"real");
        fs::write(directories[0].join("real.json"), [0xff]).unwrap();
        assert!(why(&directories, "real.o").ends_with("real.json is not UTF-8 text"));
        fs::write(directories[0].join("real.json"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(why(&directories, "real.o").ends_with("real.json is longer than 1048576 bytes"));
    }
}
