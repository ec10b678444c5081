//! Makes packages of a build, and installs one: what `./x package` and `./x install` run.
//!
//! `contents` lists the files once, as a `tree`; `deb`, `image`, `chart` and the tarball are made of it. The same build gives
//! the same bytes: times are that of the last commit (or of SOURCE_DATE_EPOCH), and nothing depends on an order of files.

#![forbid(unsafe_code)]

mod build;
mod chart;
mod contents;
mod deb;
mod helm;
mod image;
mod sbom;
mod time;
mod tree;
mod trial;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use zstd::zstd_safe::CParameter;

use crate::deb::Deb;
use crate::image::Image;
use crate::tree::Tree;
use crate::trial::{Packages, Place};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of Debian's packages: how often this version was packed.
const REVISION: u32 = 1;

#[derive(Parser)]
#[command(name = "packaging", about = "Makes packages, or installs the programs", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
    /// Cargo profile to build and take the programs from
    #[arg(long, global = true, default_value = "dist")]
    profile: String,
    /// Take the programs as they are, without building them
    #[arg(long, global = true)]
    no_build: bool,
}

#[derive(Subcommand)]
enum Task {
    /// Make all packages, and check that packing twice gives the same bytes
    Package {
        /// Where to put them [default: target/packages]
        #[arg(long)]
        out: Option<PathBuf>,
        /// How hard to compress, 1 to 19
        #[arg(long, default_value_t = 19)]
        level: i32,
        /// The directory that `./x sdk` made; without it, there is no polycube-dev
        #[arg(long)]
        sdk: Option<PathBuf>,
    },
    /// Check the chart with Helm; install, use, upgrade, remove and purge the Debian package in fresh roots of distributions
    Trial {
        /// Names of releases of Debian and Ubuntu [default: bookworm, trixie]
        suites: Vec<String>,
        /// Where they are, for releases of Ubuntu
        #[arg(long)]
        mirror: Option<String>,
        /// Check the chart, and nothing else
        #[arg(long)]
        chart_only: bool,
    },
    /// Install the programs
    Install {
        /// Where to
        #[arg(long, default_value = "/usr/local")]
        prefix: PathBuf,
        /// Remove what was installed there
        #[arg(long)]
        uninstall: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("./x: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let target = build::target()?;
    let needs_none =
        matches!(arguments.task, Task::Install { uninstall: true, .. } | Task::Trial { chart_only: true, .. });
    let is_built = arguments.no_build || needs_none;
    if !is_built {
        build::run(root(), &target, &arguments.profile, is_release(&arguments.task))?;
    }
    let binaries = target.join(if arguments.profile == "dev" { "debug" } else { &arguments.profile });
    match &arguments.task {
        Task::Package { out, level, sdk } => {
            let out = out.clone().unwrap_or_else(|| target.join("packages"));
            package(|| pack(&binaries, *level, sdk.as_deref()), &out)
        }
        Task::Trial { chart_only: true, .. } => helm::check(root(), &target.join("tools")),
        Task::Trial { suites, mirror, chart_only: false } => {
            helm::check(root(), &target.join("tools"))?;
            let programs =
                with_sbom(&sbom::write(root(), &build::PACKAGES, VERSION, "")?, &binaries, "vendor-completions")?;
            // The version before differs in its number alone.
            let packages = Packages { before: daemon(&programs, 0)?, now: daemon(&programs, REVISION)? };
            let suites = if suites.is_empty() { trial::SUITES.map(str::to_owned).to_vec() } else { suites.clone() };
            let guide = String::from_utf8(contents::read(&root().join(trial::GUIDE))?)?;
            let place = Place { roots: &target.join("roots"), mirror: mirror.as_deref() };
            trial::run(&packages, &guide, &suites, &place, build::epoch(root())?)
        }
        Task::Install { prefix, uninstall: true } => {
            let script = root().join("packaging/install.sh");
            run_script(Command::new("sh").arg(script).arg("--uninstall").arg("--prefix").arg(absolute(prefix)?))
        }
        Task::Install { prefix, uninstall: false } => {
            let place = tempfile::tempdir()?;
            tarball(&contents::programs(root(), &binaries, "site-functions")?)?.write(place.path())?;
            let script = place.path().join("install.sh");
            run_script(Command::new("sh").arg(script).arg("--prefix").arg(absolute(prefix)?))
        }
    }
}

/// Whether what is built goes to others, with the list of its crates inside.
fn is_release(task: &Task) -> bool {
    matches!(task, Task::Package { .. })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("--prefix {}", path.display()))
}

fn run_script(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot run sh")?;
    ensure!(status.success(), "install.sh failed ({status})");
    Ok(())
}

/// The repository.
fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

fn package(pack: impl Fn() -> Result<Vec<(String, Vec<u8>)>>, out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let (packed, again) = (pack()?, pack()?);
    let mut sums = String::new();
    for ((name, bytes), (_, other)) in packed.iter().zip(&again) {
        ensure!(bytes == other, "packing {name} twice gives different bytes");
        fs::write(out.join(name), bytes).with_context(|| format!("cannot write {name} into {}", out.display()))?;
        sums.push_str(&format!("{}  {name}\n", image::hexadecimal(bytes)));
        println!("{:>9.2} MB  {name}", bytes.len() as f64 / 1e6);
    }
    fs::write(out.join("SHA256SUMS"), sums)?;
    println!("packed twice with the same bytes, into {}", out.display());
    Ok(())
}

/// All packages, by file name.
fn pack(binaries: &Path, level: i32, sdk: Option<&Path>) -> Result<Vec<(String, Vec<u8>)>> {
    let root = root();
    let time = build::epoch(root)?;
    let created = time::rfc3339(time);
    let architecture = env::consts::ARCH;
    let sbom = sbom::write(root, &build::PACKAGES, VERSION, &created)?;
    let programs = with_sbom(&sbom, binaries, "vendor-completions")?;
    let (deb, tree) = daemon(&programs, REVISION)?;
    let mut packages = vec![(deb.file_name(), deb.pack(&tree, time, level)?)];
    if let Some(sdk) = sdk {
        let (deb, tree) = development(sdk)?;
        packages.push((deb.file_name(), deb.pack(&tree, time, level)?));
    }
    let name = format!("polycube-{VERSION}-{architecture}-linux");
    let tarball = tarball(&with_sbom(&sbom, binaries, "site-functions")?)?.tar(&format!("{name}/"), time)?;
    packages.push((format!("{name}.tar.zst"), compress(&tarball, level)?));
    let image = Image { version: VERSION, created, time, level };
    packages.push((format!("polycube-{VERSION}-{architecture}.oci.tar"), image.pack(&programs)?));
    let chart = gzip(&chart::chart(root)?.tar("", time)?)?;
    packages.push((format!("polycube-chart-{VERSION}.tgz"), chart));
    packages.push((format!("polycube-{VERSION}-daemonset.yaml"), chart::manifest(root)?.into_bytes()));
    packages.push((format!("polycube-{VERSION}.cdx.json"), sbom.clone()));
    Ok(packages)
}

/// The programs, and what they are made of.
fn with_sbom(sbom: &[u8], binaries: &Path, zsh: &str) -> Result<Tree> {
    let mut tree = contents::programs(root(), binaries, zsh)?;
    tree.file("share/doc/polycube/sbom.cdx.json", 0o644, sbom);
    Ok(tree)
}

fn debian_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// The package `polycube`.
fn daemon(programs: &Tree, revision: u32) -> Result<(Deb, Tree)> {
    let mut tree = Tree::default();
    tree.add("usr", programs);
    let library = format!("usr/lib/{}-linux-gnu", env::consts::ARCH);
    // Where Debian's Wireshark looks for programs that capture.
    tree.link(&format!("{library}/wireshark/extcap/polycube-extcap"), "../../../../bin/polycube-extcap");
    tree.directory("etc/polycube/conf.d", 0o755);
    let glibc = contents::glibc(programs)?.context("the programs do not use glibc")?;
    let fields = format!(
        "Depends: libc6 (>= {glibc}), libgcc-s1\nRecommends: libpcap0.8t64 | libpcap0.8\n\
         Suggests: wireshark | tshark, python3\n\
         Description: host of network functions in eBPF, with a packet capture\n \
         polycubed loads network functions as plugins and chains their eBPF programs into\n \
         the path of a port or a network device. packetcapture records what passes there,\n \
         filtered and truncated in the kernel. simplebridge is a learning switch. span\n \
         mirrors packets to a netdev, a port or a collector.\n"
    );
    let script = |name: &str| contents::read(&root().join("packaging/debian").join(name));
    let scripts = vec![("postinst", script("postinst")?), ("postrm", script("postrm")?), ("prerm", script("prerm")?)];
    let version = format!("{VERSION}-{revision}");
    Ok((Deb { package: "polycube", version, architecture: debian_architecture(), fields, scripts }, tree))
}

/// The package `polycube-dev`.
fn development(sdk: &Path) -> Result<(Deb, Tree)> {
    let mut tree = Tree::default();
    tree.add("usr", &contents::development(sdk)?);
    let fields = "Suggests: polycube\nDescription: what plugins of polycubed are built from\n \
                  Crates, the header polycube.h, templates and pages, for plugins with eBPF\n programs in C or Rust.\n";
    let version = format!("{VERSION}-{REVISION}");
    let deb = Deb { package: "polycube-dev", version, architecture: "all", fields: fields.to_owned(), scripts: vec![] };
    Ok((deb, tree))
}

/// The programs with a script that installs them.
fn tarball(programs: &Tree) -> Result<Tree> {
    let mut tree = programs.clone();
    tree.file("install.sh", 0o755, contents::read(&root().join("packaging/install.sh"))?);
    tree.file("LICENSE", 0o644, contents::read(&root().join("LICENSE"))?);
    Ok(tree)
}

/// As Helm takes an archive, without a name and a time in it.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("archive");
    fs::write(&file, bytes)?;
    let output = Command::new("gzip").args(["--best", "--no-name", "--stdout"]).arg(&file).output();
    let output = output.context("cannot run gzip")?;
    ensure!(output.status.success(), "gzip: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// Compresses with zstd, with a window of 32 MiB: programs share code, and most of them fit into it. dpkg, GNU tar and
/// container runtimes accept windows of 128 MiB and more.
fn compress(bytes: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(level).context("zstd")?;
    for parameter in [CParameter::WindowLog(25), CParameter::EnableLongDistanceMatching(true)] {
        compressor.set_parameter(parameter).context("zstd")?;
    }
    compressor.compress(bytes).context("zstd")
}
