//! The file system of the emulated machine: busybox, the programs with their libraries, and modules of the kernel.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::kernel::Kernel;
use crate::output;

/// What the guest runs, in this order.
const SCRIPTS: [(&str, &str); 2] =
    [("init", include_str!("guest/init.sh")), ("scenario", include_str!("guest/scenario.sh"))];

const PROGRAMS: [&str; 5] = ["polycubed", "polycubectl", "tasks", "libpcn_packetcapture.so", "libpcn_simplebridge.so"];

/// Tools of this machine that the demo and the scenario run.
const TOOLS: [&str; 3] = ["ip", "tcpdump", "ping"];

/// Modules that the kernel does not have built in; one that is missing is built in.
const MODULES: [&str; 5] = ["veth", "dummy", "sch_ingress", "cls_bpf", "tun"];

/// What to pack.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub(crate) binaries: &'a Path,
    /// Names of black-box tests.
    pub(crate) tests: &'a [String],
    pub(crate) kernel: &'a Kernel,
}

/// Packs an initramfs, not compressed because an emulated CPU would take long to unpack it, and returns its path.
///
/// # Errors
/// A program is not built, or a tool is missing.
pub(crate) fn pack(contents: &Contents<'_>, place: &Path) -> Result<PathBuf> {
    let root = Root(place.join("root"));
    for directory in ["proc", "sys", "dev", "tmp", "run", "etc", "root", "var/tmp", "var/lib"] {
        fs::create_dir_all(root.0.join(directory))?;
    }
    root.program(Path::new("/bin/busybox"), "/bin/busybox")?;
    for (name, text) in SCRIPTS {
        fs::write(root.0.join(name), text)?;
        fs::set_permissions(root.0.join(name), Permissions::from_mode(0o755))?;
    }
    for program in PROGRAMS {
        root.program(&contents.binaries.join(program), &format!("/p/{program}"))?;
    }
    for test in contents.tests {
        root.program(&built_test(contents.binaries, test)?, &format!("/p/test/{test}"))?;
    }
    for tool in TOOLS {
        root.program(&found(tool)?, &format!("/bin/{tool}"))?;
    }
    // The daemon loads it when the first filter is set, so it is not among the libraries of a program.
    let libpcap = libraries_of_system("libpcap.so.0.8")?;
    root.program(&libpcap, &libpcap.to_string_lossy())?;
    root.modules(contents.kernel)?;
    root.archive(&place.join("initramfs"))
}

/// The directory that becomes the file system.
struct Root(PathBuf);

impl Root {
    fn file(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.0.join(to.trim_start_matches('/'));
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// Copies a program or a library without its debug sections, and the libraries that it needs.
    fn program(&self, from: &Path, to: &str) -> Result<()> {
        ensure!(from.exists(), "{} is missing", from.display());
        self.file(from, to)?;
        let copy = self.0.join(to.trim_start_matches('/'));
        output(Command::new("strip").arg("--strip-debug").arg(&copy))?;
        let ldd = Command::new("ldd").arg(from).env("LC_ALL", "C").output().context("cannot run ldd")?;
        let listed = String::from_utf8(ldd.stdout)?;
        let complaint = String::from_utf8_lossy(&ldd.stderr);
        let is_static = complaint.contains("not a dynamic executable");
        ensure!(ldd.status.success() || is_static, "ldd {}: {}", from.display(), complaint.trim());
        let libraries: BTreeSet<&str> = listed.split_whitespace().filter(|word| word.starts_with('/')).collect();
        for library in libraries {
            if !self.0.join(library.trim_start_matches('/')).exists() {
                self.file(Path::new(library), library)?;
            }
        }
        Ok(())
    }

    fn modules(&self, kernel: &Kernel) -> Result<()> {
        let home = format!("/lib/modules/{}", kernel.release);
        for list in ["modules.builtin", "modules.order"] {
            self.file(&kernel.modules.join(list), &format!("{home}/{list}"))?;
        }
        let listed = output(Command::new("find").arg(&kernel.modules).args(["-name", "*.ko*"]))?;
        for path in String::from_utf8(listed)?.lines().map(Path::new) {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split('.').next());
            if name.is_some_and(|name| MODULES.contains(&name)) {
                let inner = path.strip_prefix(&kernel.modules)?;
                self.file(path, &format!("{home}/{}", inner.display()))?;
            }
        }
        Ok(())
    }

    fn archive(&self, to: &Path) -> Result<PathBuf> {
        let mut find = Command::new("find").arg(".").current_dir(&self.0).stdout(Stdio::piped()).spawn()?;
        let names = find.stdout.take().context("find has no output")?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--create", "--format=newc", "--quiet", "--owner=0:0"]).current_dir(&self.0);
        let status = cpio.stdin(names).stdout(File::create(to)?).status().context("cannot run cpio")?;
        ensure!(find.wait()?.success() && status.success(), "cannot pack the initramfs ({status})");
        Ok(to.to_owned())
    }
}

/// The newest program of a black-box test.
fn built_test(binaries: &Path, name: &str) -> Result<PathBuf> {
    let prefix = format!("{name}-");
    let entries = fs::read_dir(binaries.join("deps"))?.collect::<Result<Vec<_>, _>>()?;
    let programs = entries.into_iter().filter(|entry| {
        let file = entry.file_name();
        file.to_str().is_some_and(|file| file.starts_with(&prefix) && !file.contains('.'))
    });
    let newest = programs.max_by_key(|entry| entry.metadata().and_then(|data| data.modified()).ok());
    let newest = newest.with_context(|| format!("{name} is not built: cargo test -p polycube-tests --no-run"))?;
    Ok(newest.path())
}

/// A program in `$PATH`, or where Debian has those of the administrator.
fn found(tool: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut candidates = directories.map(|directory| directory.join(tool));
    let found = candidates.find(|candidate| candidate.is_file()).with_context(|| format!("{tool} is missing"))?;
    Ok(fs::canonicalize(found)?)
}

fn libraries_of_system(name: &str) -> Result<PathBuf> {
    let listed = String::from_utf8(output(Command::new("/sbin/ldconfig").arg("-p"))?)?;
    let line = listed.lines().find(|line| line.trim_start().starts_with(name));
    let path = line.and_then(|line| line.split_once(" => ")).map(|(_, path)| PathBuf::from(path));
    path.with_context(|| format!("{name} is missing"))
}
