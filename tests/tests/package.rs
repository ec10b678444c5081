//! Can the packages be installed, used, upgraded and removed, and is nothing left afterwards?

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::{Daemon, Output, binary_dir};
use polycube_tests::lab::Lab;
use polycube_tests::traffic::ping;
use tempfile::TempDir;

/// Packs what the tests run, as `./x package` packs what it has built.
fn packages() -> Result<TempDir> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let sdk = place.path().join("sdk");
    run(Command::new(binary_dir()?.join("xtask")).args(["sdk", "--out"]).arg(&sdk))?;
    let mut command = Command::new(binary_dir()?.join("packaging"));
    command.args(["package", "--no-build", "--profile", "dev", "--level", "1", "--out"]).arg(place.path());
    command.arg("--sdk").arg(one_file(&sdk, "polycube-sdk-", env!("CARGO_PKG_VERSION"))?);
    let said = Output::of("packaging", command)?.ok();
    ensure!(said.contains("packed twice with the same bytes"), "{said}");
    Ok(place)
}

fn one_file(directory: &Path, begins: &str, ends: &str) -> Result<PathBuf> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(begins) && name.ends_with(ends)
    };
    names.iter().find(|path| fits(path)).cloned().with_context(|| format!("no {begins}*{ends} in {names:?}"))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// A root with nothing but what dpkg and the package's scripts need.
struct Root(TempDir);

impl Root {
    fn make() -> Result<Self> {
        let root = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?);
        for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc", "run"] {
            fs::create_dir_all(root.path().join(directory))?;
        }
        for (file, text) in
            [("var/lib/dpkg/status", ""), ("etc/passwd", "root:x:0:0::/:\n"), ("etc/group", "root:x:0:\n")]
        {
            fs::write(root.path().join(file), text)?;
        }
        Ok(root)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs dpkg there. The scripts run outside of the root, which dpkg names in `DPKG_ROOT`.
    fn dpkg(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", self.path().display()));
        command.args(["--force-script-chrootless", "--force-depends"]).args(words);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        run(&mut command)
    }

    /// All that the package brings or makes, without dpkg's own notes.
    fn files(&self) -> Result<BTreeSet<String>> {
        let found = run(Command::new("find").arg(self.path()).args(["-mindepth", "1", "-printf", "%P\n"]))?;
        Ok(found
            .lines()
            .filter(|path| path.contains("polycube") && !path.contains("dpkg"))
            .map(str::to_owned)
            .collect())
    }
}

/// Uses the programs below a prefix.
fn quick_start_below(prefix: &Path) -> Result<()> {
    // The kit names the programs' directory as that of plugins; the package has another one.
    quick_start(&prefix.join("bin"), &prefix.join("lib/polycube/plugins").display().to_string())
}

/// Uses programs as README's quick start does.
fn quick_start(binaries: &Path, plugins: &str) -> Result<()> {
    let lab = Lab::new()?;
    let (left, right) = (lab.peer("left")?, lab.peer("right")?);
    lab.veth("veth1", &left, "eth0")?.peer.add_address("10.0.0.1/24")?;
    let address = lab.veth("veth2", &right, "eth0")?.peer.add_address("10.0.0.2/24")?;
    let mut daemon = Daemon::start_from(binaries, &lab, &["--plugin-dir", plugins])?;
    for line in [
        "simplebridge add br1",
        "br1 ports add toveth1 peer=veth1",
        "br1 ports add toveth2 peer=veth2",
        "packetcapture add sniffer capture=bidirectional",
        "attach sniffer br1:toveth1",
    ] {
        daemon.ctl(line).ok();
    }
    ping(&left, address)?;
    let captured = daemon.ctl("sniffer show counters captured").ok();
    ensure!(captured.trim().parse::<u32>()? >= 2, "captured: {captured}");
    ensure!(daemon.terminate()?.success(), "the daemon does not stop cleanly");
    Ok(())
}

#[test]
fn the_debian_package_is_installed_used_upgraded_removed_and_purged() -> Result<()> {
    let packages = packages()?;
    let deb = one_file(packages.path(), "polycube_", ".deb")?.display().to_string();
    let root = Root::make()?;
    root.dpkg(&["--install", &deb])?;
    for file in [
        "usr/bin/polycubectl",
        "usr/lib/systemd/system/polycubed.service",
        "usr/share/man/man8/polycubed.8",
        "usr/share/man/man7/polycube-filter.7",
        "usr/share/polycube/python/polycube/client.py",
        "usr/share/bash-completion/completions/polycubectl",
        "usr/share/zsh/vendor-completions/_polycubectl",
        "usr/share/fish/vendor_completions.d/polycubectl.fish",
        "var/lib/polycube/captures",
    ] {
        assert!(root.path().join(file).exists(), "{file} is missing");
    }
    let users = fs::read_to_string(root.path().join("etc/passwd"))?;
    assert!(users.contains("polycube:"), "{users}");
    quick_start_below(&root.path().join("usr"))?;

    // What users have written stays at an upgrade and at a removal.
    for file in ["etc/polycube/polycubed.toml", "var/lib/polycube/state.redb", "var/lib/polycube/captures/a.pcap"] {
        fs::write(root.path().join(file), "")?;
    }
    root.dpkg(&["--install", &deb])?;
    quick_start_below(&root.path().join("usr"))?;
    root.dpkg(&["--remove", "polycube"])?;
    let kept = root.files()?;
    assert!(!kept.iter().any(|path| path.starts_with("usr/")), "{kept:?}");
    assert!(kept.contains("etc/polycube/polycubed.toml") && kept.contains("var/lib/polycube/state.redb"), "{kept:?}");

    // Captures are the user's. When they are gone, nothing is left.
    let said = root.dpkg(&["--purge", "polycube"])?;
    assert!(said.contains("captures are kept in"), "{said}");
    let captures = ["var/lib/polycube", "var/lib/polycube/captures", "var/lib/polycube/captures/a.pcap"];
    assert_eq!(root.files()?, captures.map(str::to_owned).into());
    fs::remove_dir_all(root.path().join("var/lib/polycube"))?;
    root.dpkg(&["--install", &deb])?;
    root.dpkg(&["--purge", "polycube"])?;
    assert_eq!(root.files()?, BTreeSet::new());

    let deb = one_file(packages.path(), "polycube-dev_", ".deb")?.display().to_string();
    root.dpkg(&["--install", &deb])?;
    let sdk = root.path().join("usr/share/polycube/sdk");
    run(Command::new(binary_dir()?.join("polycubectl"))
        .current_dir(packages.path())
        .args(["plugin", "new", "guard", "--c"])
        .arg(format!("--sdk={}", sdk.display())))?;
    assert!(packages.path().join("guard/src/lib.rs").exists() && sdk.join("include/polycube.h").exists());

    archive_installs_and_uninstalls(packages.path())?;
    image_has_a_sound_layout_and_is_used(packages.path())
}

fn archive_installs_and_uninstalls(packages: &Path) -> Result<()> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let archive = one_file(packages, "polycube-", "-linux.tar.zst")?;
    let bytes = zstd::decode_all(fs::File::open(archive)?)?;
    fs::write(place.path().join("a.tar"), bytes)?;
    run(Command::new("tar").current_dir(place.path()).args(["-xf", "a.tar"]))?;
    let script = one_file(place.path(), "polycube-", "-linux")?.join("install.sh");
    let prefix = place.path().join("opt/ours");
    let with = |more: &[&str]| run(Command::new("sh").arg(&script).arg("--prefix").arg(&prefix).args(more));
    with(&[])?;
    let unit = fs::read_to_string(prefix.join("lib/systemd/system/polycubed.service"))?;
    assert!(unit.contains(&format!("ExecStart={}/bin/polycubed", prefix.display())), "{unit}");
    // It finds its plugins by itself.
    let mut check = Command::new(prefix.join("bin/polycubed"));
    check.args(["check", "--config", "/dev/null"]);
    let said = Output::of("polycubed", check)?.ok();
    assert!(said.contains("packetcapture") && said.contains("simplebridge"), "{said}");
    quick_start_below(&prefix)?;
    fs::write(prefix.join("lib/another"), "")?;
    with(&["--uninstall"])?;
    let left = run(Command::new("find").arg(&prefix).args(["-mindepth", "1", "-printf", "%P\n"]))?;
    assert_eq!(left, "lib\nlib/another\n", "what others installed stays, and nothing else does");
    Ok(())
}

fn image_has_a_sound_layout_and_is_used(packages: &Path) -> Result<()> {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let image = one_file(packages, "polycube-", ".oci.tar")?;
    run(Command::new("tar").current_dir(place.path()).arg("-xf").arg(image))?;
    let read = |path: &Path| -> Result<serde_json::Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |descriptor: &serde_json::Value| -> Result<PathBuf> {
        let digest = descriptor["digest"].as_str().context("a digest")?;
        let path = place.path().join("blobs").join(digest.replace(':', "/"));
        let size = fs::metadata(&path).with_context(|| format!("{descriptor}"))?.len();
        ensure!(descriptor["size"] == size, "{descriptor}: {size}");
        Ok(path)
    };
    let manifest = read(&blob(&read(&place.path().join("index.json"))?["manifests"][0])?)?;
    let config = read(&blob(&manifest["config"])?)?;
    assert_eq!(config["config"]["User"], "990:990");
    let root = place.path().join("root");
    fs::create_dir(&root)?;
    let layer = zstd::decode_all(fs::File::open(blob(&manifest["layers"][0])?)?)?;
    fs::write(place.path().join("layer.tar"), layer)?;
    run(Command::new("tar")
        .args(["--xattrs", "--xattrs-include=*", "-C"])
        .arg(&root)
        .arg("-xf")
        .arg(place.path().join("layer.tar")))?;
    assert!(!root.join("usr/bin/polycube-extcap").exists(), "Wireshark's program is in the image");
    // The loader and all libraries are in it.
    let binaries = place.path().join("bin");
    fs::create_dir(&binaries)?;
    let program = binaries.join("polycubed");
    fs::write(&program, CONTAINER.replace("ROOT", &root.display().to_string()))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    symlink(root.join("usr/bin/polycubectl"), binaries.join("polycubectl"))?;
    quick_start(&binaries, "/usr/lib/polycube/plugins")
}

/// Starts the daemon as docs/packages.md runs the image: in a read-only root, as the image's user, with the daemon's three
/// capabilities. Its directory belongs to that user, as a volume does. The bounding set has three more, which `chroot`
/// needs for itself and to change the user.
const CONTAINER: &str = r#"#!/bin/sh
chown -R 990:990 .
exec unshare --mount sh -euc '
    root=ROOT
    mkdir -p "$root$PWD" "$root/dev"
    touch "$root/dev/null"
    mount --bind "$root" "$root"
    mount -o remount,bind,ro "$root"
    mount --rbind "$PWD" "$root$PWD"
    mount -t proc proc "$root/proc"
    mount -t sysfs -o ro sys "$root/sys"
    mount --bind /dev/null "$root/dev/null"
    exec setpriv --bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_chroot,+setuid,+setgid \
        chroot --userspec=990:990 "$root" /usr/bin/polycubed "$@"
' polycubed "$@"
"#;
