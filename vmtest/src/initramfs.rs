//! The file system of the emulated machine: busybox, the programs with their libraries, and modules of the kernel.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::kernel::Kernel;
use crate::output;
use crate::system::System;

/// What the guest runs, in this order.
const SCRIPTS: [(&str, &str); 2] =
    [("init", include_str!("guest/init.sh")), ("scenario", include_str!("guest/scenario.sh"))];

const PROGRAMS: [&str; 5] = ["polycubed", "polycubectl", "tasks", "libpcn_packetcapture.so", "libpcn_simplebridge.so"];

/// Tools that the demo and the scenario run.
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
    /// Where tools and libraries come from.
    pub(crate) system: &'a System,
}

/// Packs an initramfs, not compressed because an emulated CPU would take long to unpack it, and returns its path.
///
/// # Errors
/// A program is not built, or a tool is missing.
pub(crate) fn pack(contents: &Contents<'_>, place: &Path) -> Result<PathBuf> {
    let root = Root { directory: place.join("root"), contents };
    for directory in ["proc", "sys", "dev", "tmp", "run", "etc", "root", "var/tmp", "var/lib"] {
        fs::create_dir_all(root.directory.join(directory))?;
    }
    root.program(&contents.system.tool("busybox")?, "/bin/busybox")?;
    for (name, text) in SCRIPTS {
        fs::write(root.directory.join(name), text)?;
        fs::set_permissions(root.directory.join(name), Permissions::from_mode(0o755))?;
    }
    for program in PROGRAMS {
        root.program(&contents.binaries.join(program), &format!("/p/{program}"))?;
    }
    for test in contents.tests {
        root.program(&built_test(contents.binaries, test)?, &format!("/p/test/{test}"))?;
    }
    for tool in TOOLS {
        root.program(&contents.system.tool(tool)?, &format!("/bin/{tool}"))?;
    }
    let (to, libpcap) = contents.system.libpcap()?;
    root.program(&libpcap, &to)?;
    root.modules(contents.kernel)?;
    root.archive(&place.join("initramfs"))
}

/// The directory that becomes the file system.
struct Root<'a> {
    directory: PathBuf,
    contents: &'a Contents<'a>,
}

impl Root<'_> {
    fn file(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.inside(to);
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
        output(self.contents.kernel.architecture.strip().arg("--strip-debug").arg(self.inside(to)))?;
        for (to, library) in self.contents.system.libraries(from)? {
            if !self.inside(&to).exists() {
                self.file(&library, &to)?;
            }
        }
        Ok(())
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.directory.join(path.trim_start_matches('/'))
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
        let mut find = Command::new("find").arg(".").current_dir(&self.directory).stdout(Stdio::piped()).spawn()?;
        let names = find.stdout.take().context("find has no output")?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--create", "--format=newc", "--quiet", "--owner=0:0"]).current_dir(&self.directory);
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
