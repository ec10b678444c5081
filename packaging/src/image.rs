//! An OCI image from an empty root, as a tar archive of its layout (image-spec 1.1, image-layout.md).
//!
//! It is a layer and three documents, so no container tool is needed to make it. The layer has the daemon, its plugins and
//! the command line, glibc's loader, and the libraries that they and libpcap name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::tree::Tree;
use crate::{compress, contents};

/// What Wireshark starts runs where Wireshark does.
const LEFT_OUT: &str = "bin/polycube-extcap";

/// User and group of the daemon in the image.
const USER: u64 = 990;
const PLACE: &str = "/var/lib/polycube/captures";

pub(crate) struct Image<'a> {
    pub(crate) version: &'a str,
    /// When it was made, as RFC 3339 has it.
    pub(crate) created: String,
    pub(crate) time: u64,
    pub(crate) level: i32,
}

impl Image<'_> {
    pub(crate) fn pack(&self, programs: &Tree) -> Result<Vec<u8>> {
        let uncompressed = root(programs)?.tar("", self.time)?;
        let layer = compress(&uncompressed, self.level)?;
        let labels = json!({
            "org.opencontainers.image.title": "polycube",
            "org.opencontainers.image.description": "Hosts network functions in eBPF, and captures packets in the kernel",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.version": self.version,
            "org.opencontainers.image.created": self.created,
        });
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": self.created,
            "config": {
                "User": format!("{USER}:{USER}"),
                "Env": ["PATH=/usr/bin"],
                "Entrypoint": ["/usr/bin/polycubed"],
                "WorkingDir": PLACE,
                "Labels": labels,
                "StopSignal": "SIGTERM",
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&uncompressed)] },
            "history": [{ "created": self.created, "created_by": "./x package" }],
        });
        let config = serde_json::to_vec(&config)?;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+zstd", &layer)],
            "annotations": labels,
        });
        let manifest = serde_json::to_vec(&manifest)?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": self.version });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry],
        });
        let mut layout = Tree::default();
        layout.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
        layout.file("index.json", 0o644, serde_json::to_vec(&index)?);
        for blob in [layer, config, manifest] {
            layout.file(&format!("blobs/{}", digest(&blob).replace(':', "/")), 0o644, blob);
        }
        layout.tar("", self.time)
    }
}

/// The file system of the image.
fn root(programs: &Tree) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut libraries = BTreeSet::new();
    let place = tempfile::tempdir()?;
    for (path, entry) in programs.iter() {
        let crate::tree::Content::File(bytes) = &entry.content else { continue };
        if path == LEFT_OUT || !bytes.starts_with(b"\x7fELF") {
            continue;
        }
        tree.file(&format!("usr/{path}"), entry.mode, bytes.clone());
        let copy = place.path().join("program");
        fs::write(&copy, bytes)?;
        libraries.extend(needed(&copy)?);
    }
    let pcap = libpcap().context("the image needs libpcap, for filters: apt install libpcap0.8")?;
    libraries.extend(needed(Path::new(&pcap))?);
    libraries.insert(pcap);
    for library in libraries {
        tree.file(library.trim_start_matches('/'), 0o755, contents::read(Path::new(&library))?);
    }
    tree.file("etc/passwd", 0o644, format!("root:x:0:0::/:\npolycube:x:{USER}:{USER}::/var/lib/polycube:\n"));
    tree.file("etc/group", 0o644, format!("root:x:0:\npolycube:x:{USER}:\n"));
    for directory in ["var/lib/polycube", "var/lib/polycube/captures", "run/polycube"] {
        tree.directory(directory, 0o750);
        tree.entry(directory)?.owner = USER;
    }
    for directory in ["etc/polycube/conf.d", "sys/fs/bpf", "proc", "tmp"] {
        tree.directory(directory, if directory == "tmp" { 0o1777 } else { 0o755 });
    }
    // A user without root's rights gets capabilities from the file alone.
    tree.entry("usr/bin/polycubed")?.capability = Some(capabilities(&[12, 38, 39]));
    Ok(tree)
}

/// `struct vfs_cap_data`, revision 2, of `include/uapi/linux/capability.h`: permitted and effective.
fn capabilities(numbers: &[u32]) -> Vec<u8> {
    let set = numbers.iter().fold(0u64, |set, number| set | 1 << number);
    let (low, high) = (set & u64::from(u32::MAX), set >> 32);
    let words = [0x0200_0001, low, 0, high, 0];
    words.iter().flat_map(|word| u32::try_from(*word).unwrap_or_default().to_le_bytes()).collect()
}

/// The libraries and the loader that the dynamic loader finds for a file, by path.
fn needed(file: &Path) -> Result<BTreeSet<String>> {
    let output = Command::new("ldd").arg(file).env("LC_ALL", "C").output().context("cannot run ldd, of glibc")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && !text.contains("not found"), "ldd {}: {text}", file.display());
    // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the path alone.
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(str::to_owned).collect())
}

fn libpcap() -> Option<String> {
    let output = Command::new("ldconfig").arg("-p").env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().find(|line| line.trim_start().starts_with("libpcap.so."))?;
    line.split_once("=> ").map(|(_, path)| path.to_owned())
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hexadecimal(bytes))
}

/// The sha256 of some bytes.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_written_as_the_kernel_reads_them() {
        // What `setcap cap_net_admin,cap_perfmon,cap_bpf=ep` writes.
        let expected = [1, 0, 0, 2, 0, 16, 0, 0, 0, 0, 0, 0, 192, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(capabilities(&[12, 38, 39]), expected);
    }
}
