//! The kernel sides that `polycubectl plugin new --rust` writes: built with the programs of our own, from the templates.
//!
//! A machine that runs the tests has no toolchain for eBPF in Rust: to install one takes it longer than the two minutes
//! that this is worth on each run. So the objects are committed like the others, and the check compares.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The kinds of cubes, each with a template.
const KINDS: [&str; 2] = ["standard", "transparent"];

/// The name of the project that the tests write.
const PROJECT: &str = "guard";

/// Writes the sources as a project would have them.
///
/// # Errors
/// A file cannot be read or written.
pub(super) fn write(workspace: &Path) -> Result<()> {
    for kind in KINDS {
        let (source, path) = (filled(workspace, kind)?, place(workspace, kind));
        fs::write(&path, source).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Checks that the sources are those of the templates.
///
/// # Errors
/// They are not.
pub(super) fn check(workspace: &Path) -> Result<()> {
    for kind in KINDS {
        let (source, path) = (filled(workspace, kind)?, place(workspace, kind));
        let there = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            there == source,
            "sdk/templates/rust/ebpf/{kind}.rs has changed since its object was built: run `cargo xtask ebpf` and commit ebpf"
        );
    }
    Ok(())
}

fn filled(workspace: &Path, kind: &str) -> Result<String> {
    let path = workspace.with_file_name("sdk/templates/rust/ebpf").join(kind).with_extension("rs");
    let template = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(template.replace("@name@", PROJECT))
}

fn place(workspace: &Path, kind: &str) -> PathBuf {
    workspace.join("templates/src").join(kind).with_extension("rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_that_has_changed_fails() {
        let repository = tempfile::tempdir().unwrap();
        let (workspace, templates) =
            (repository.path().join("ebpf"), repository.path().join("sdk/templates/rust/ebpf"));
        fs::create_dir_all(workspace.join("templates/src")).unwrap();
        fs::create_dir_all(&templates).unwrap();
        for kind in KINDS {
            fs::write(templates.join(kind).with_extension("rs"), "fn @name@() {}").unwrap();
        }
        write(&workspace).unwrap();
        assert_eq!(fs::read_to_string(place(&workspace, "standard")).unwrap(), "fn guard() {}");
        check(&workspace).unwrap();
        fs::write(templates.join("transparent.rs"), "fn @name@(_: u8) {}").unwrap();
        let error = check(&workspace).unwrap_err().to_string();
        assert!(error.starts_with("sdk/templates/rust/ebpf/transparent.rs has changed"), "{error}");
    }

    #[test]
    fn the_committed_sources_are_those_of_the_templates() {
        check(&super::super::workspace()).unwrap();
    }
}
