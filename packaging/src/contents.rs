//! What is installed, below a prefix such as `/usr`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::tree::{Content, Tree};

/// Programs, in `bin`.
const PROGRAMS: [&str; 3] = ["polycubed", "polycubectl", "polycube-extcap"];
const PLUGINS: [&str; 5] = [
    "libpcn_helloworld.so",
    "libpcn_packetcapture.so",
    "libpcn_simplebridge.so",
    "libpcn_span.so",
    "libpcn_transparenthelloworld.so",
];

/// Files of the repository, and where they go.
const FILES: [(&str, &str); 12] = [
    ("packaging/systemd/polycubed.service", "lib/systemd/system/polycubed.service"),
    ("packaging/systemd/run-bpf-polycube.mount", "lib/systemd/system/run-bpf-polycube.mount"),
    ("packaging/sysusers.d/polycube.conf", "lib/sysusers.d/polycube.conf"),
    ("packaging/tmpfiles.d/polycube.conf", "lib/tmpfiles.d/polycube.conf"),
    ("cli/src/complete/polycubectl.bash", "share/bash-completion/completions/polycubectl"),
    ("cli/src/complete/polycubectl.fish", "share/fish/vendor_completions.d/polycubectl.fish"),
    ("README.md", "share/doc/polycube/README.md"),
    ("CHANGELOG.md", "share/doc/polycube/CHANGELOG.md"),
    ("clients/Packetcapture_Client/client.py", "share/doc/polycube/examples/client.py"),
    ("packaging/monitoring/polycube.rules.yml", "share/doc/polycube/examples/polycube.rules.yml"),
    ("packaging/monitoring/polycube-dashboard.json", "share/doc/polycube/examples/polycube-dashboard.json"),
    ("LICENSE", "share/doc/polycube/copyright"),
];

/// The completions of zsh, which each distribution has elsewhere.
const ZSH: &str = "cli/src/complete/polycubectl.zsh";

/// Everything that each package of the programs has. `zsh` is the directory of zsh's completions.
///
/// # Errors
/// Something is not built, or cannot be read.
pub(crate) fn programs(root: &Path, binaries: &Path, zsh: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    for program in PROGRAMS {
        tree.file(&format!("bin/{program}"), 0o755, stripped(&binaries.join(program))?);
    }
    for plugin in PLUGINS {
        tree.file(&format!("lib/polycube/plugins/{plugin}"), 0o644, stripped(&binaries.join(plugin))?);
    }
    for (from, to) in FILES {
        tree.file(to, 0o644, read(&root.join(from))?);
    }
    tree.file(&format!("share/zsh/{zsh}/_polycubectl"), 0o644, read(&root.join(ZSH))?);
    for page in fs::read_dir(root.join("packaging/man")).context("the repository has no manual pages")? {
        let page = page?;
        let name = page.file_name().display().to_string();
        let section = name.rsplit('.').next().unwrap_or_default();
        tree.file(&format!("share/man/man{section}/{name}"), 0o644, read(&page.path())?);
    }
    add_python(&mut tree, &root.join("clients/python"))?;
    for page in fs::read_dir(root.join("docs")).context("the repository has no docs")? {
        let page = page?;
        if page.path().extension().is_some_and(|ending| ending == "md") {
            tree.file(&format!("share/doc/polycube/docs/{}", page.file_name().display()), 0o644, read(&page.path())?);
        }
    }
    Ok(tree)
}

/// The Python package and its examples, without what Python leaves beside them.
fn add_python(tree: &mut Tree, from: &Path) -> Result<()> {
    for directory in ["polycube", "examples"] {
        let entries = fs::read_dir(from.join(directory)).with_context(|| format!("there is no {directory}"))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_file() {
                let name = path.file_name().unwrap_or_default().display().to_string();
                tree.file(&format!("share/polycube/python/{directory}/{name}"), 0o644, read(&path)?);
            }
        }
    }
    for name in ["README.md", "pyproject.toml"] {
        tree.file(&format!("share/polycube/python/{name}"), 0o644, read(&from.join(name))?);
    }
    Ok(())
}

/// What a plugin is built from: the directory that `./x sdk` makes.
///
/// # Errors
/// Something cannot be read.
pub(crate) fn development(sdk: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    add_directory(&mut tree, sdk, "share/polycube/sdk")?;
    tree.link("share/doc/polycube-dev", "../polycube/sdk/docs");
    Ok(tree)
}

fn add_directory(tree: &mut Tree, from: &Path, to: &str) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let entry = entry?;
        let to = format!("{to}/{}", entry.file_name().display());
        if entry.file_type()?.is_dir() {
            add_directory(tree, &entry.path(), &to)?;
        } else {
            tree.file(&to, 0o644, read(&entry.path())?);
        }
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// A program without debug sections, which other profiles than `dist` leave in.
fn stripped(path: &Path) -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let copy = place.path().join("stripped");
    let strip = Command::new("strip").arg("--strip-unneeded").arg("-o").arg(&copy).arg(path).output();
    let strip = strip.context("cannot run strip, of binutils")?;
    ensure!(strip.status.success(), "{}", String::from_utf8_lossy(&strip.stderr).trim());
    read(&copy)
}

/// The latest version of glibc whose symbols the programs use, such as `2.34`.
///
/// # Errors
/// There is no readelf.
pub(crate) fn glibc(tree: &Tree) -> Result<Option<String>> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new("readelf");
    command.arg("--version-info").arg("--wide").env("LC_ALL", "C");
    let programs = tree.iter().filter_map(|(_, entry)| match &entry.content {
        Content::File(bytes) if bytes.starts_with(b"\x7fELF") => Some(bytes),
        _ => None,
    });
    for (number, bytes) in programs.enumerate() {
        let copy = place.path().join(number.to_string());
        fs::write(&copy, bytes)?;
        command.arg(copy);
    }
    let output = command.output().context("cannot run readelf, of binutils")?;
    Ok(latest(&String::from_utf8_lossy(&output.stdout)).map(|minor| format!("2.{minor}")))
}

/// The highest N of all `GLIBC_2.N`.
fn latest(text: &str) -> Option<u32> {
    let versions = text.split("GLIBC_2.").skip(1);
    versions.filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_glibc_is_found_by_number() {
        let text = "Name: GLIBC_2.9  Flags: none\n Name: GLIBC_2.34\n Name: GLIBC_2.2.5\n Name: GCC_3.0\n";
        assert_eq!(latest(text), Some(34));
        assert_eq!(latest("Name: GCC_3.0"), None);
    }
}
