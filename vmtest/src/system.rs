//! Where the tools and the libraries of the emulated machine come from: this machine, or a Debian for another CPU.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::architecture::Architecture;
use crate::kernel::ARCHIVE;
use crate::output;

/// Packages of the tools that the guest runs, and of what the daemon loads at run time.
const PACKAGES: &str = "--include=busybox-static,iproute2,iputils-ping,tcpdump,libpcap0.8t64";

/// Where a Debian has libraries and the loader, and its tools.
const LIBRARIES: [&str; 2] = ["usr/lib/aarch64-linux-gnu", "usr/lib"];
const TOOLS: [&str; 2] = ["usr/bin", "usr/sbin"];

/// Files with their places in the emulated machine.
pub(crate) type Files = BTreeMap<String, PathBuf>;

/// What the emulated machine's files are copied from.
#[derive(Debug)]
pub(crate) enum System {
    /// This machine.
    Own,
    /// The unpacked packages of a Debian.
    Debian(PathBuf),
}

impl System {
    /// That of an architecture, in `cache` if it is another one.
    ///
    /// # Errors
    /// There is no debootstrap, or it fails.
    pub(crate) fn of(architecture: Architecture, suite: &str, cache: &Path) -> Result<Self> {
        if architecture == Architecture::X86_64 {
            return Ok(Self::Own);
        }
        let directory = cache.join(format!("{suite}-{}", architecture.debian()));
        let mark = directory.join("complete");
        if !mark.exists() {
            eprintln!("./x: fetching Debian's packages for {} from {ARCHIVE}", architecture.debian());
            if directory.exists() {
                fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
            }
            fetch(architecture, suite, &directory)?;
            fs::write(mark, "").context("cannot note that the packages are complete")?;
        }
        Ok(Self::Debian(directory))
    }

    /// A tool, by its name.
    ///
    /// # Errors
    /// It is missing.
    pub(crate) fn tool(&self, name: &str) -> Result<PathBuf> {
        let directories: Vec<PathBuf> = match self {
            Self::Own => {
                // Debian has those of the administrator elsewhere.
                let path = env::var_os("PATH").unwrap_or_default();
                env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from)).collect()
            }
            Self::Debian(root) => TOOLS.map(|directory| root.join(directory)).into(),
        };
        let mut candidates = directories.into_iter().map(|directory| directory.join(name));
        let found = candidates.find(|candidate| candidate.is_file()).with_context(|| format!("{name} is missing"))?;
        Ok(fs::canonicalize(found)?)
    }

    /// The libraries that a program needs, and the loader.
    ///
    /// # Errors
    /// One of them is missing.
    pub(crate) fn libraries(&self, program: &Path) -> Result<Files> {
        match self {
            Self::Own => own_libraries(program),
            Self::Debian(root) => {
                let mut found = Files::new();
                add_needed(root, program, &mut found)?;
                Ok(found)
            }
        }
    }

    /// libpcap, which the daemon loads when the first filter is set, so it is not among the libraries of a program.
    ///
    /// # Errors
    /// It is missing.
    pub(crate) fn libpcap(&self) -> Result<(String, PathBuf)> {
        const NAME: &str = "libpcap.so.0.8";
        if let Self::Debian(root) = self {
            return Ok((place(NAME), library(root, NAME)?));
        }
        let listed = String::from_utf8(output(Command::new("/sbin/ldconfig").arg("-p"))?)?;
        let line = listed.lines().find(|line| line.trim_start().starts_with(NAME));
        let path = line.and_then(|line| line.split_once(" => ")).map(|(_, path)| path);
        let path = path.with_context(|| format!("{NAME} is missing"))?;
        Ok((path.to_owned(), path.into()))
    }
}

/// Unpacks the packages without running anything of theirs.
fn fetch(architecture: Architecture, suite: &str, directory: &Path) -> Result<()> {
    let architecture = format!("--arch={}", architecture.debian());
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--foreign", "--variant=minbase", &architecture, PACKAGES, suite]).arg(directory).arg(ARCHIVE);
    output(&mut debootstrap).context("this needs root and debootstrap")?;
    for package in fs::read_dir(directory.join("var/cache/apt/archives")).context("debootstrap has left no packages")? {
        let package = package?.path();
        if package.extension().is_some_and(|ending| ending == "deb") {
            output(Command::new("dpkg-deb").arg("-x").args([&package, directory]))?;
        }
    }
    Ok(())
}

fn own_libraries(program: &Path) -> Result<Files> {
    let ldd = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("cannot run ldd")?;
    let listed = String::from_utf8(ldd.stdout)?;
    let complaint = String::from_utf8_lossy(&ldd.stderr);
    let is_static = complaint.contains("not a dynamic executable");
    ensure!(ldd.status.success() || is_static, "ldd {}: {}", program.display(), complaint.trim());
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(|path| (path.to_owned(), path.into())).collect())
}

/// Adds what a file of another architecture names as needed, and what that needs.
fn add_needed(root: &Path, file: &Path, found: &mut Files) -> Result<()> {
    let mut readelf = Command::new("readelf");
    let dynamic = String::from_utf8(output(readelf.args(["--dynamic", "--wide"]).arg(file).env("LC_ALL", "C"))?)?;
    for name in needed(&dynamic) {
        let path = library(root, name)?;
        if found.insert(place(name), path.clone()).is_none() {
            add_needed(root, &path, found)?;
        }
    }
    Ok(())
}

/// Of lines such as ` 0x…01 (NEEDED)  Shared library: [libc.so.6]`, the names.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    dynamic.lines().filter(|line| line.contains("(NEEDED)")).filter_map(|line| line.split(['[', ']']).nth(1))
}

fn library(root: &Path, name: &str) -> Result<PathBuf> {
    let mut candidates = LIBRARIES.iter().map(|directory| root.join(directory).join(name));
    candidates.find(|candidate| candidate.exists()).with_context(|| format!("{name} is not among the packages"))
}

/// Where the loader looks last, and is itself.
fn place(library: &str) -> String {
    format!("/lib/{library}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read_from_what_readelf_prints() {
        let dynamic = "Dynamic section at offset 0x1d80 contains 2 entries:\n  Tag        Type         Name/Value\n \
                       0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]\n \
                       0x0000000000000001 (NEEDED)             Shared library: [ld-linux-aarch64.so.1]\n \
                       0x000000000000000e (SONAME)             Library soname: [libx.so.1]\n";
        assert_eq!(needed(dynamic).collect::<Vec<_>>(), ["libgcc_s.so.1", "ld-linux-aarch64.so.1"]);
    }

    #[test]
    fn a_library_that_no_package_has_is_named() {
        let error = library(Path::new("/nowhere"), "libx.so.1").expect_err("there is nothing");
        assert_eq!(error.to_string(), "libx.so.1 is not among the packages");
    }
}
