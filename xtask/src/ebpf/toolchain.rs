//! Finds what builds eBPF: a rustc with the sources of `core`, bpf-linker, llvm-strip.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// Variables of the cargo that runs this program, which would affect the build.
const INHERITED: [&str; 8] = [
    "CARGO",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

pub(super) struct Toolchain {
    /// `bin` of the Rust installation.
    bin: PathBuf,
    linker: PathBuf,
    pub(super) strip: PathBuf,
    pub(super) clang: PathBuf,
    /// Where the installation keeps the sources of `core`.
    pub(super) std_sources: PathBuf,
    /// One line for each tool: another version may build different bytes from the same sources.
    pub(super) versions: Vec<String>,
}

impl Toolchain {
    /// Uses rustup's nightly, or else Debian's Rust.
    ///
    /// # Errors
    ///
    /// Names everything that is missing, and how to get it.
    pub(super) fn find() -> Result<Self> {
        let rust = nightly().or_else(|| installation(Path::new("/usr")));
        let linker = on_path("bpf-linker").or_else(|| executable(cargo_home().ok()?.join("bin/bpf-linker")));
        let strip = on_path("llvm-strip").or_else(|| debian_tool("llvm-strip"));
        let clang = on_path("clang").or_else(|| debian_tool("clang"));
        let mut missing = Vec::new();
        if rust.is_none() {
            missing.push(
                "rustc with rust-src (rustup toolchain install nightly --component rust-src, \
                 or on Debian: apt-get install rustc-web cargo-web rust-web-src)",
            );
        }
        if linker.is_none() {
            missing.push("bpf-linker (docs/kernel-side.md says how to install it)");
        }
        if strip.is_none() {
            missing.push("llvm-strip (apt-get install llvm)");
        }
        if clang.is_none() {
            missing.push("clang (apt-get install clang)");
        }
        let (Some((bin, std_sources)), Some(linker), Some(strip), Some(clang)) = (rust, linker, strip, clang) else {
            bail!("building eBPF needs {}", missing.join(", and "));
        };
        let versions = vec![version(&bin.join("rustc"))?, version(&linker)?, version(&strip)?, version(&clang)?];
        Ok(Self { bin, linker, strip, clang, std_sources, versions })
    }

    /// A cargo that builds with this toolchain, isolated from the calling one.
    pub(super) fn cargo(&self) -> Result<Command> {
        let mut path = vec![self.bin.clone()];
        path.extend(self.linker.parent().map(Path::to_owned));
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let mut cargo = Command::new(self.bin.join("cargo"));
        for name in INHERITED {
            cargo.env_remove(name);
        }
        cargo
            .env("PATH", env::join_paths(path).context("a directory's name has a colon in it")?)
            .env("RUSTC", self.bin.join("rustc"))
            // build-std and inline assembly are unstable; a release compiler allows them when this is set.
            .env("RUSTC_BOOTSTRAP", "1");
        Ok(cargo)
    }

    /// Where cargo unpacks the crates of its registries, one directory for each.
    pub(super) fn registry(&self) -> Result<PathBuf> {
        Ok(cargo_home()?.join("registry/src"))
    }
}

fn nightly() -> Option<(PathBuf, PathBuf)> {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| installation(Path::new(sysroot.trim()))).flatten()
}

/// `bin` and the library's sources, if an installation has everything.
fn installation(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let (bin, sources) = (sysroot.join("bin"), sysroot.join("lib/rustlib/src/rust"));
    let complete = sources.join("library/core/src/lib.rs").is_file();
    (complete && executable(bin.join("rustc")).is_some() && executable(bin.join("cargo")).is_some())
        .then_some((bin, sources))
}

fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).find_map(|directory| executable(directory.join(name)))
}

/// The newest of Debian's: it has a directory of LLVM tools for each version.
fn debian_tool(name: &str) -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse::<u32>().ok();
    fs::read_dir("/usr/lib")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((version(&path)?, executable(path.join("bin").join(name))?)))
        .max()
        .map(|(_, tool)| tool)
}

fn executable(path: PathBuf) -> Option<PathBuf> {
    path.is_file().then_some(path)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("CARGO_HOME") {
        return Ok(home.into());
    }
    Ok(env::home_dir().context("neither CARGO_HOME nor HOME is set")?.join(".cargo"))
}

/// The line in which a tool states its version.
fn version(tool: &Path) -> Result<String> {
    let output =
        Command::new(tool).arg("--version").output().with_context(|| format!("starting {}", tool.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().map(str::trim).find(|line| line.contains(|c: char| c.is_ascii_digit()));
    line.map(str::to_owned).with_context(|| format!("{} does not state its version", tool.display()))
}
