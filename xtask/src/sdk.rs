//! `./x sdk`: everything that a plugin outside this repository is built with, as one directory and one archive.
//!
//! The crates in it come out of `cargo package`, as they would be published: a file that a manifest leaves out is missing here,
//! and the tests build plugins with what is here.

mod links;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::command::{cargo, run as run_command};
use links::{Lead, relink};

/// Crates, with the workspaces that they are members of: each stands before those that depend on it.
const CRATES: [(&str, &str); 8] = [
    ("polycube-plugin-api", "."),
    ("polycube-filter", "."),
    ("polycube-layout", "ebpf"),
    ("polycube-chain", "ebpf"),
    ("polycube-api", "."),
    ("polycube-schema", "."),
    ("polycube-loader", "."),
    ("polycube-plugin-test", "."),
];

/// Pages for those who write plugins.
const PAGES: [&str; 8] = [
    "first-plugin.md",
    "kernel-side.md",
    "object-services.md",
    "plugin-abi.md",
    "porting.md",
    "slow-path.md",
    "span.md",
    "testing-plugins.md",
];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the directory and the archive go
    #[arg(long, value_name = "DIR", default_value = "target/sdk")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    make(&crate::root().join(&arguments.out)).map(drop)
}

/// Makes the SDK in `out`, and returns its directory.
pub(crate) fn make(out: &Path) -> Result<PathBuf> {
    let name = format!("polycube-sdk-{}", env!("CARGO_PKG_VERSION"));
    let sdk = out.join(&name);
    if sdk.exists() {
        fs::remove_dir_all(&sdk).with_context(|| format!("removing {}", sdk.display()))?;
    }
    for directory in ["crates", "docs"] {
        fs::create_dir_all(sdk.join(directory)).with_context(|| format!("making {}", sdk.display()))?;
    }
    for (package, workspace) in CRATES {
        unpack(&pack(package, workspace, out)?, &sdk.join("crates").join(package))?;
    }
    let root = crate::root();
    for directory in ["include", "templates"] {
        copy_tree(&root.join("sdk").join(directory), &sdk.join(directory))?;
    }
    for page in PAGES {
        put_page(page, &sdk)?;
    }
    let others = [("sdk/README.md", "README.md"), ("LICENSE", "LICENSE"), ("ebpf/LICENSE", "LICENSE.kernel-side")];
    let others = others.map(|(from, to)| (root.join(from), sdk.join(to)));
    for (from, to) in others {
        copy(&from, &to)?;
    }
    let archive = format!("{name}.tar.gz");
    let reproducible = ["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-czf"];
    execute(Command::new("tar").current_dir(out).args(reproducible).args([&archive, &name]))?;
    println!("sdk: {}", out.join(archive).display());
    Ok(sdk)
}

/// Writes a page whose links lead to what is in the SDK, too.
fn put_page(page: &str, sdk: &Path) -> Result<()> {
    let from = crate::root().join("docs").join(page);
    let text = fs::read_to_string(&from).with_context(|| format!("reading {}", from.display()))?;
    let text = relink(&text, |target| lead(page, target, sdk))?;
    let to = sdk.join("docs").join(page);
    fs::write(&to, text).with_context(|| format!("writing {}", to.display()))
}

fn lead(page: &str, target: &str, sdk: &Path) -> Result<Lead> {
    let same = || Lead::To(target.to_owned());
    let path = target.split('#').next().unwrap_or_default();
    if path.is_empty() || path.contains("://") || PAGES.contains(&path) {
        return Ok(same());
    }
    let in_crate = CRATES.iter().find_map(|(package, workspace)| {
        let name = Path::new(workspace).join(package.trim_start_matches("polycube-"));
        let file =
            Path::new(path).strip_prefix("..").ok()?.strip_prefix(name.strip_prefix(".").unwrap_or(&name)).ok()?;
        Some(Path::new("crates").join(package).join(file))
    });
    let is_there = match &in_crate {
        Some(file) => sdk.join(file).exists(),
        None => crate::root().join("docs").join(path).exists(),
    };
    ensure!(is_there, "docs/{page} has a dead link: {target}");
    Ok(in_crate.map_or(Lead::Text, |file| Lead::To(format!("../{}", file.display()))))
}

/// Packs a crate as for a registry.
fn pack(package: &str, workspace: &str, out: &Path) -> Result<PathBuf> {
    let directory = crate::root().join(workspace);
    // The user of a library has a lock file of their own. Without one, none of the dependencies is looked for.
    let options =
        ["package", "--package", package, "--no-verify", "--allow-dirty", "--exclude-lockfile", "--target-dir"];
    let mut command = cargo();
    run_command(&format!("cargo package {package}"), command.current_dir(directory).args(options).arg(out))?;
    Ok(out.join(format!("package/{package}-{}.crate", env!("CARGO_PKG_VERSION"))))
}

fn unpack(archive: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    execute(Command::new("tar").arg("-xzf").arg(archive).arg("--strip-components=1").arg("-C").arg(to))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_tree(&entry.path(), &to)? } else { copy(&entry.path(), &to)? }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
