//! Builds the kernel side, which is a crate for another target: it needs a Rust with the sources of `core`, and bpf-linker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=EBPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // A built object will do where the tools are missing.
    if let Some(object) = env::var_os("EBPF_OBJECT") {
        fs::copy(object, out.join("@name@.o")).expect("EBPF_OBJECT is a file");
        return;
    }
    for path in ["ebpf/src", "ebpf/Cargo.toml", "ebpf/.cargo/config.toml"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let rust = nightly().unwrap_or_else(|| PathBuf::from("/usr"));
    let sources = rust.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    assert!(sources.exists(), "{} is missing: docs/kernel-side.md of polycube says how to install it", sources.display());
    let home = env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", env::var("HOME").unwrap_or_default()));
    let path = format!("{}:{home}/bin:{}", rust.join("bin").display(), env::var("PATH").unwrap_or_default());
    let has_linker = env::split_paths(&path).any(|directory| directory.join("bpf-linker").exists());
    assert!(has_linker, "bpf-linker is missing: docs/kernel-side.md of polycube says how to install it");
    let mut cargo = Command::new(rust.join("bin/cargo"));
    // What this cargo has set is for another target.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_cargos = name.starts_with("CARGO") && name != "CARGO_HOME" && name != "CARGO_NET_OFFLINE";
        if is_cargos || name.starts_with("RUST") {
            cargo.env_remove(&*name);
        }
    }
    let status = cargo
        .args(["build", "--release", "--target-dir"])
        .arg(out.join("ebpf"))
        .current_dir("ebpf")
        .env("PATH", path)
        .env("RUSTC", rust.join("bin/rustc"))
        // build-std is not stable; this allows it to a release, too.
        .env("RUSTC_BOOTSTRAP", "1")
        .status()
        .expect("cargo starts");
    assert!(status.success(), "the kernel side was not built: {status}");
    let built = out.join("ebpf/bpfel-unknown-none/release/@name@");
    fs::copy(&built, out.join("@name@.o")).expect("the object is there");
}

/// rustup's nightly, if it has the sources of `core`.
fn nightly() -> Option<PathBuf> {
    let output = Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]).output().ok()?;
    let sysroot = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let has_sources = |sysroot: &Path| sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists();
    (output.status.success() && has_sources(&sysroot)).then_some(sysroot)
}
