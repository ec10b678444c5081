//! `cargo xtask ebpf`: builds the kernel side, or checks that the committed objects are those of the sources.
//!
//! The objects are committed, so that a user only needs stable cargo. `DIGEST`, in the same directory, records what
//! they were built from and with; the check compares, and needs no eBPF toolchain.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

mod digest;
mod templates;
mod toolchain;

use digest::Digest;
use toolchain::Toolchain;

/// The programs: each is a binary of the workspace `ebpf`, and an object.
const PROGRAMS: [&str; 8] = [
    "root",
    "inject",
    "simplebridge",
    "packetcapture",
    "span",
    "transparenthelloworld",
    "template-standard",
    "template-transparent",
];

/// Programs in C, as plugins of others have theirs: each is `ebpf/NAME/NAME.bpf.c`, which includes `polycube.h` alone.
const C_PROGRAMS: [&str; 1] = ["helloworld"];

const TARGET: &str = "bpfel-unknown-none";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Build nothing; fail if the objects do not match the sources
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = workspace();
    let digest = workspace.join("objects/DIGEST");
    if arguments.check {
        let recorded = fs::read_to_string(&digest).with_context(|| format!("reading {}", digest.display()))?;
        recorded.parse::<Digest>()?.check(&workspace)?;
        templates::check(&workspace)?;
        println!("ebpf: the objects match the sources");
        return Ok(());
    }
    let toolchain = Toolchain::find()?;
    println!("ebpf: building with {}", toolchain.versions.join(", "));
    templates::write(&workspace)?;
    build(&workspace, &toolchain)?;
    fs::write(&digest, Digest::of(&workspace, toolchain.versions)?.to_string())
        .with_context(|| format!("writing {}", digest.display()))
}

/// The directory `ebpf`.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("ebpf")
}

fn build(workspace: &Path, toolchain: &Toolchain) -> Result<()> {
    execute(
        toolchain
            .cargo()?
            .current_dir(workspace)
            .args(["build", "--release", "--locked", "--target-dir", "target", "--config"])
            .arg(remapping(workspace, toolchain)?),
    )?;
    let objects = workspace.join("objects");
    fs::create_dir_all(&objects)?;
    for program in C_PROGRAMS {
        let directory = workspace.join(program);
        execute(
            Command::new(&toolchain.clang)
                .current_dir(&directory)
                .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-fdebug-compilation-dir=."])
                .arg("-I../../sdk/include")
                .args(["-c", &format!("{program}.bpf.c"), "-o"])
                .arg(objects.join(program).with_extension("o")),
        )?;
        execute(Command::new(&toolchain.strip).arg("-g").arg(objects.join(program).with_extension("o")))?;
    }
    for program in PROGRAMS {
        // Debug sections name every source file. BTF stays: the kernel reads it.
        execute(
            Command::new(&toolchain.strip)
                .arg("-g")
                .arg("-o")
                .arg(objects.join(program).with_extension("o"))
                .arg(workspace.join("target").join(TARGET).join("release").join(program)),
        )?;
    }
    Ok(())
}

/// Maps the directories that differ between machines to fixed names, so that the objects do not differ.
///
/// `--config` adds to the flags of `ebpf/.cargo/config.toml`; `RUSTFLAGS` would replace them.
fn remapping(workspace: &Path, toolchain: &Toolchain) -> Result<String> {
    let mut names = vec![(workspace.to_owned(), "ebpf"), (toolchain.std_sources.clone(), "rust")];
    for registry in fs::read_dir(toolchain.registry()?).context("listing cargo's registries")? {
        names.push((registry?.path(), "registry"));
    }
    let flags: Vec<_> =
        names.iter().map(|(path, name)| format!("--remap-path-prefix={}={name}", path.display())).collect();
    Ok(format!("target.{TARGET}.rustflags={flags:?}"))
}

fn execute(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
