//! Finds the files that the rules are about.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::source::File;

/// Every Rust source, manifest and page below `directory`, build products aside.
pub(super) fn collect(directory: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    read(directory, directory, &mut files)?;
    Ok(files)
}

fn read(root: &Path, directory: &Path, files: &mut Vec<File>) -> Result<()> {
    let unreadable = || format!("cannot read {}", directory.display());
    let entries = fs::read_dir(directory).with_context(unreadable)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>().with_context(unreadable)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            if name != "target" && !name.starts_with('.') {
                read(root, &path, files)?;
            }
        } else if name.ends_with(".rs") || name.ends_with(".md") || name == "Cargo.toml" {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(root)?.to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_manifests_and_pages_are_found_and_build_products_are_not() -> Result<()> {
        let directory = tempfile::tempdir()?;
        for path in ["b/src/lib.rs", "a/Cargo.toml", "a/README.md", "a/x.txt", "target/c.rs", ".git/d.rs"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, "text")?;
        }
        let files = collect(directory.path())?;
        let found = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect::<Vec<_>>();
        assert_eq!(found, [("a/Cargo.toml", "text"), ("a/README.md", "text"), ("b/src/lib.rs", "text")]);
        Ok(())
    }
}
