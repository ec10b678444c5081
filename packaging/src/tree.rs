//! Files with their places, from which every kind of package is made.
//!
//! The same files give the same bytes: entries are sorted, belong to root unless they say otherwise, and have one time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// Paths without a leading slash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    pub(crate) mode: u32,
    /// User and group.
    pub(crate) owner: u64,
    /// The extended attribute `security.capability`.
    pub(crate) capability: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Directory,
    File(Vec<u8>),
    Link(String),
}

impl Tree {
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.put(path, mode, Content::File(bytes.into()));
    }

    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.put(path, 0o777, Content::Link(target.to_owned()));
    }

    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.put(path, mode, Content::Directory);
    }

    /// Adds an entry, and the directories above it that are missing.
    fn put(&mut self, path: &str, mode: u32, content: Content) {
        for (at, _) in path.match_indices('/') {
            let above = Entry { content: Content::Directory, mode: 0o755, owner: 0, capability: None };
            self.0.entry(path[..at].to_owned()).or_insert(above);
        }
        self.0.insert(path.to_owned(), Entry { content, mode, owner: 0, capability: None });
    }

    pub(crate) fn entry(&mut self, path: &str) -> Result<&mut Entry> {
        self.0.get_mut(path).with_context(|| format!("the package has no {path}"))
    }

    pub(crate) fn add(&mut self, prefix: &str, other: &Self) {
        for (path, entry) in &other.0 {
            let path = format!("{prefix}/{path}");
            self.put(&path, entry.mode, entry.content.clone());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> usize {
        let sizes = self.0.values().map(|entry| match &entry.content {
            Content::File(bytes) => bytes.len(),
            Content::Directory | Content::Link(_) => 0,
        });
        sizes.sum()
    }

    /// A tar archive, with names that begin with `prefix`.
    pub(crate) fn tar(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            if let Some(capability) = &entry.capability {
                archive.append_pax_extensions([("SCHILY.xattr.security.capability", capability.as_slice())])?;
            }
            let mut header = Header::new_gnu();
            header.set_mode(entry.mode);
            header.set_mtime(time);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            let name = format!("{prefix}{path}");
            match &entry.content {
                Content::Directory => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_size(0);
                    archive.append_data(&mut header, format!("{name}/"), io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    archive.append_data(&mut header, name, bytes.as_slice())?;
                }
                Content::Link(target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    archive.append_link(&mut header, name, target)?;
                }
            }
        }
        Ok(archive.into_inner()?)
    }

    /// Writes the files below a directory, as the user who runs this.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        for (path, entry) in &self.0 {
            let to = directory.join(path);
            let unwritable = || format!("cannot write {}", to.display());
            match &entry.content {
                Content::Directory => fs::create_dir_all(&to).with_context(unwritable)?,
                Content::File(bytes) => {
                    fs::write(&to, bytes).with_context(unwritable)?;
                    fs::set_permissions(&to, fs::Permissions::from_mode(entry.mode)).with_context(unwritable)?;
                }
                Content::Link(target) => symlink(target, &to).with_context(unwritable)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_bytes_in_whatever_order_they_come() {
        let (mut one, mut other) = (Tree::default(), Tree::default());
        one.file("usr/bin/a", 0o755, "a");
        one.link("usr/bin/b", "a");
        other.link("usr/bin/b", "a");
        other.file("usr/bin/a", 0o755, "a");
        assert_eq!(one.tar("./", 7).unwrap(), other.tar("./", 7).unwrap());
        assert_ne!(one.tar("./", 7).unwrap(), one.tar("./", 8).unwrap(), "the time is in the archive");
        assert_eq!(one.iter().map(|(path, _)| path).collect::<Vec<_>>(), ["usr", "usr/bin", "usr/bin/a", "usr/bin/b"]);
    }
}
