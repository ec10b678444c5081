//! Debian's kernels, fetched from its archive and kept in the target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::architecture::Architecture;
use crate::output;

pub(crate) const ARCHIVE: &str = "https://deb.debian.org/debian";

/// What is tried: a name, the release of Debian that has this version of Linux, and the CPU.
const TRIED: [(&str, &str, Architecture); 3] = [
    ("6.1", "bookworm", Architecture::X86_64),
    ("6.12", "trixie", Architecture::X86_64),
    ("6.12-arm64", "trixie", Architecture::Aarch64),
];

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` prints it.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// `lib/modules/RELEASE`.
    pub(crate) modules: PathBuf,
    pub(crate) architecture: Architecture,
    /// The release of Debian that it is of.
    pub(crate) suite: &'static str,
}

/// A package in the archive's index.
#[derive(Debug, PartialEq, Eq)]
struct Package {
    release: String,
    file: String,
    sha256: String,
}

/// The kernel of a version, from `cache` if it is there.
///
/// # Errors
/// The version is not one of Debian's, or the archive cannot be read.
pub(crate) fn fetch(version: &str, cache: &Path) -> Result<Kernel> {
    let known = TRIED.map(|(version, ..)| version).join(", ");
    let found = TRIED.into_iter().find(|(known, ..)| *known == version);
    let (_, suite, architecture) =
        found.with_context(|| format!("Linux {version} is not among those that are tried: {known}"))?;
    let directory = cache.join(version);
    if !directory.join("complete").exists() {
        eprintln!("./x: fetching Linux {version} from {ARCHIVE}");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let index = format!("{ARCHIVE}/dists/{suite}/main/binary-{}/Packages.xz", architecture.debian());
        let package =
            latest(&unpacked(&download(&index)?)?, architecture).with_context(|| format!("{index} lists no kernel"))?;
        let bytes = download(&format!("{ARCHIVE}/{}", package.file))?;
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(digest == package.sha256, "{}: its SHA-256 is {digest}, not {}", package.file, package.sha256);
        let archive = directory.join("kernel.deb");
        fs::write(&archive, bytes)?;
        output(Command::new("dpkg-deb").arg("-x").args([&archive, &directory]))?;
        fs::remove_file(&archive)?;
        fs::write(directory.join("complete"), package.release)?;
    }
    let release = fs::read_to_string(directory.join("complete"))?;
    let modules = ["lib", "usr/lib"].map(|lib| directory.join(lib).join("modules").join(&release));
    Ok(Kernel {
        image: directory.join(format!("boot/vmlinuz-{release}")),
        modules: modules.into_iter().find(|path| path.exists()).context("the package has no modules")?,
        release,
        architecture,
        suite,
    })
}

fn download(address: &str) -> Result<Vec<u8>> {
    let options = ["--fail", "--silent", "--show-error", "--location", "--retry", "3"];
    output(Command::new("curl").args(options).arg(address)).with_context(|| format!("cannot fetch {address}"))
}

fn unpacked(bytes: &[u8]) -> Result<String> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("Packages.xz");
    fs::write(&file, bytes)?;
    Ok(String::from_utf8(output(Command::new("xz").args(["--decompress", "--stdout"]).arg(&file))?)?)
}

/// The latest kernel for clouds, which is the smallest: its drivers are those of emulated machines.
fn latest(index: &str, architecture: Architecture) -> Option<Package> {
    let ending = format!("-cloud-{}", architecture.debian());
    let packages = index.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let release = field("Package")?.strip_prefix("linux-image-")?;
        let is_kernel = release.starts_with(|letter: char| letter.is_ascii_digit()) && release.ends_with(&ending);
        is_kernel.then_some(())?;
        Some(Package {
            release: release.to_owned(),
            file: field("Filename")?.to_owned(),
            sha256: field("SHA256")?.to_owned(),
        })
    });
    packages.max_by_key(|package| numbers(&package.release))
}

/// `6.12.107+deb13-cloud-amd64` is 6, 12, 107, 13, 64.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_found_by_number() {
        let paragraph = |release: &str| {
            format!("Package: linux-image-{release}\nVersion: x\nFilename: pool/{release}.deb\nSHA256: 00\n")
        };
        let index = [
            "6.12.107+deb13-cloud-amd64",
            "6.12.90+deb13-cloud-amd64",
            "6.12.200+deb13-rt-amd64",
            "6.12.9+deb13-cloud-arm64",
            "cloud-amd64",
        ];
        let index = index.map(paragraph).join("\n");
        let found = |architecture| latest(&index, architecture).map(|package| package.file);
        assert_eq!(found(Architecture::X86_64).as_deref(), Some("pool/6.12.107+deb13-cloud-amd64.deb"));
        assert_eq!(found(Architecture::Aarch64).as_deref(), Some("pool/6.12.9+deb13-cloud-arm64.deb"));
        assert_eq!(latest("Package: qemu\n", Architecture::X86_64), None);
    }

    #[test]
    fn an_unknown_version_is_refused_with_those_that_are_known() {
        let error = fetch("2.6", Path::new("/nowhere")).expect_err("Debian 12 and 13 do not have it");
        assert_eq!(error.to_string(), "Linux 2.6 is not among those that are tried: 6.1, 6.12, 6.12-arm64");
    }
}
