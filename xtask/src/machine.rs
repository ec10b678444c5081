//! Whether this machine can run the daemon. A test that cannot run here fails; none is skipped.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The first kernel with TCX links (`BPF_TCX_INGRESS` in `include/uapi/linux/bpf.h`).
const OLDEST_KERNEL: (u32, u32) = (6, 6);

/// Reports everything that is missing, not just the first.
pub(crate) fn check() -> Result<()> {
    let mut missing = Vec::new();
    if fs::metadata("/proc/self").context("/proc is not mounted")?.uid() != 0 {
        missing.push(String::from("root: run `./x test`, which uses sudo, or become root"));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's version")?;
    if version(&release).is_none_or(|found| found < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        missing.push(format!("Linux {major}.{minor}, for TCX links: this is {}", release.trim()));
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        missing
            .push(String::from("a kernel with BTF, as /sys/kernel/btf/vmlinux: build it with CONFIG_DEBUG_INFO_BTF"));
    }
    let systems = fs::read_to_string("/proc/filesystems").context("cannot read /proc/filesystems")?;
    if !systems.lines().any(|line| line.split_whitespace().last() == Some("bpf")) {
        missing.push(String::from("the bpf file system: build the kernel with CONFIG_BPF_SYSCALL"));
    }
    if !Path::new("/proc/self/ns/net").exists() {
        missing.push(String::from("network namespaces: build the kernel with CONFIG_NET_NS"));
    }
    if !Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success()) {
        missing.push(String::from("python3, for the demo client: apt install python3"));
    }
    let is_there =
        |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    if !["clang", "clang-19", "clang-16", "clang-14"].iter().any(is_there) {
        missing.push(String::from("clang, for plugins in C: apt install clang"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!("the tests cannot run here, they need:\n  - {}", missing.join("\n  - "))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(version("6.18.44-generic\n"), Some((6, 18)));
        assert_eq!(version("6.6"), Some((6, 6)));
        assert_eq!(version("7.0-rc1"), Some((7, 0)));
        assert_eq!(version("new"), None);
        assert!(version("6.12.1") > Some(OLDEST_KERNEL) && version("5.15.0") < Some(OLDEST_KERNEL));
    }
}
