//! `DIGEST`: what the committed objects were built from and with.
//!
//! A line for each fact: `sources` and a sha256, `tool` and a version, an object's file name and its sha256.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Error, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

/// The header of the SDK, from the directory `ebpf`.
const HEADER: &str = "../sdk/include/polycube.h";

const REMEDY: &str = "run `cargo xtask ebpf` and commit ebpf/objects";

#[derive(Debug, PartialEq)]
pub(super) struct Digest {
    sources: String,
    tools: Vec<String>,
    objects: BTreeMap<String, String>,
}

impl Digest {
    /// The digest of the sources and objects as they are now.
    pub(super) fn of(workspace: &Path, tools: Vec<String>) -> Result<Self> {
        Ok(Self { sources: hash_sources(workspace)?, tools, objects: hash_objects(workspace)? })
    }

    /// Compares the record with the sources and objects as they are.
    ///
    /// # Errors
    ///
    /// Says which of the two changed without the other, and what to do.
    pub(super) fn check(&self, workspace: &Path) -> Result<()> {
        ensure!(
            hash_sources(workspace)? == self.sources,
            "the eBPF sources have changed since their objects were built: {REMEDY}"
        );
        let present = hash_objects(workspace)?;
        for (name, hash) in &self.objects {
            match present.get(name) {
                None => bail!("ebpf/objects/{name} is missing: {REMEDY}"),
                Some(other) if other != hash => bail!("ebpf/objects/{name} is not the one in DIGEST: {REMEDY}"),
                Some(_) => {}
            }
        }
        if let Some(name) = present.keys().find(|&name| !self.objects.contains_key(name)) {
            bail!("ebpf/objects/{name} is not in DIGEST: {REMEDY}");
        }
        Ok(())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sources {}", self.sources)?;
        for tool in &self.tools {
            writeln!(f, "tool {tool}")?;
        }
        for (name, hash) in &self.objects {
            writeln!(f, "{name} {hash}")?;
        }
        Ok(())
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (mut sources, mut tools, mut objects) = (None, Vec::new(), BTreeMap::new());
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("sources", hash)) => sources = Some(hash.to_owned()),
                Some(("tool", version)) => tools.push(version.to_owned()),
                Some((name, hash)) => {
                    objects.insert(name.to_owned(), hash.to_owned());
                }
                None => bail!("ebpf/objects/DIGEST has a line without a value: {line:?}: {REMEDY}"),
            }
        }
        let sources = sources.with_context(|| format!("ebpf/objects/DIGEST names no sources: {REMEDY}"))?;
        Ok(Self { sources, tools, objects })
    }
}

/// One hash of everything, except the tools, that determines the objects' bytes: Rust, C, manifests,
/// lock file, configuration.
fn hash_sources(workspace: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(workspace, Path::new(""), &mut files)?;
    // What programs in C include.
    files.extend(workspace.join(HEADER).is_file().then(|| PathBuf::from(HEADER)));
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = read(&workspace.join(&file))?;
        // Without the lengths, bytes that move from one file to the next would go unnoticed.
        let name = file.to_str().with_context(|| format!("{} is not UTF-8", file.display()))?;
        for part in [name.as_bytes(), &content] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(hexadecimal(&hash.finalize()))
}

fn collect(workspace: &Path, directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = workspace.join(directory);
    for entry in fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let relative = directory.join(&name);
        if entry.file_type()?.is_dir() {
            if name != "target" && name != "objects" {
                collect(workspace, &relative, files)?;
            }
        } else if name == "Cargo.lock"
            || relative.extension().is_some_and(|ending| ending == "rs" || ending == "toml" || ending == "c")
        {
            files.push(relative);
        }
    }
    Ok(())
}

fn hash_objects(workspace: &Path) -> Result<BTreeMap<String, String>> {
    let directory = workspace.join("objects");
    let mut objects = BTreeMap::new();
    for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "o")
            && let Some(name) = path.file_name()
        {
            objects.insert(name.to_string_lossy().into_owned(), hexadecimal(&Sha256::digest(read(&path)?)));
        }
    }
    Ok(objects)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small workspace, its digest, and what `check` says after a change.
    #[track_caller]
    fn check(change: impl FnOnce(&Path), expected: Option<&str>) {
        let workspace = tempfile::tempdir().unwrap();
        let root = workspace.path();
        for directory in [".cargo", "root/src", "objects", "target/debug"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for file in [".cargo/config.toml", "Cargo.lock", "Cargo.toml", "root/src/main.rs", "objects/root.o"] {
            fs::write(root.join(file), file).unwrap();
        }
        let digest = Digest::of(root, vec!["rustc 1.2.3".to_owned()]).unwrap();
        change(root);
        assert_eq!(digest.check(root).err().map(|error| error.to_string()).as_deref(), expected);
    }

    fn write(file: &'static str) -> impl FnOnce(&Path) {
        move |root| fs::write(root.join(file), "changed").unwrap()
    }

    const SOURCES: Option<&str> = Some(
        "the eBPF sources have changed since their objects were built: run `cargo xtask ebpf` and commit ebpf/objects",
    );

    #[test]
    fn unchanged_sources_and_objects_pass() {
        check(|_| {}, None);
        check(write("target/debug/main.rs"), None);
        check(write("root/notes.txt"), None);
    }

    #[test]
    fn a_changed_source_fails() {
        for file in [".cargo/config.toml", "Cargo.lock", "Cargo.toml", "root/src/main.rs", "root/src/new.rs"] {
            check(write(file), SOURCES);
        }
        check(|root| fs::remove_file(root.join("root/src/main.rs")).unwrap(), SOURCES);
        check(|root| fs::rename(root.join("root"), root.join("stem")).unwrap(), SOURCES);
    }

    #[test]
    fn a_changed_object_fails() {
        let remedy = "run `cargo xtask ebpf` and commit ebpf/objects";
        check(write("objects/root.o"), Some(&format!("ebpf/objects/root.o is not the one in DIGEST: {remedy}")));
        check(write("objects/other.o"), Some(&format!("ebpf/objects/other.o is not in DIGEST: {remedy}")));
        check(
            |root| fs::remove_file(root.join("objects/root.o")).unwrap(),
            Some(&format!("ebpf/objects/root.o is missing: {remedy}")),
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let digest = Digest {
            sources: "ab".to_owned(),
            tools: vec!["rustc 1.2.3 (built from a source tarball)".to_owned()],
            objects: BTreeMap::from([("root.o".to_owned(), "cd".to_owned())]),
        };
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    }

    #[test]
    fn the_committed_objects_match_the_sources() {
        let workspace = super::super::workspace();
        read(&workspace.join("objects/DIGEST"))
            .and_then(|text| String::from_utf8(text)?.parse::<Digest>()?.check(&workspace))
            .unwrap();
    }
}
