//! Who may read capture files, where there is a group `polycube`?

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::binary_dir;

/// The group's id.
const GROUP: u32 = 4321;

/// What a daemon with a strict umask does on a machine with the group: the machine's own /etc/group stays as it is.
const SCRIPT: &str = r#"
set -e
(cat /etc/group; echo "polycube:x:$GROUP:") > group
mount --bind group /etc/group
mkdir bpf captures
mount -t bpf bpf bpf
ip link add veth1 type veth peer name veth2
ip link set veth1 up
umask 077
export POLYCUBECTL_URL="unix://$PWD/s.sock"
"$BIN/polycubed" --ephemeral --socket s.sock --state-dir state --bpffs bpf/p --capture-dir captures &
daemon=$!
trap "kill $daemon; wait $daemon" EXIT
until "$BIN/polycubectl" services show >/dev/null 2>&1; do kill -0 $daemon; sleep 0.1; done
for compress in false true; do
    "$BIN/polycubectl" packetcapture add $compress dump=$compress storage.compress=$compress capture=ingress
    "$BIN/polycubectl" attach $compress veth1
done
ip link set veth2 up
captured() { "$BIN/polycubectl" $1 show counters captured; }
until [ "$(captured true)" -gt 0 ] && [ "$(captured false)" -gt 0 ]; do ip link set veth2 down; ip link set veth2 up; sleep 0.1; done
for compress in false true; do "$BIN/polycubectl" $compress set capture=off; done
until ls captures/*.zst >/dev/null 2>&1; do sleep 0.1; done
"#;

#[test]
fn members_of_the_group_may_read_captures_whatever_the_umask() -> Result<()> {
    let directory = tempfile::TempDir::new()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "timeout", "60", "sh", "-c", SCRIPT]).current_dir(directory.path());
    let output =
        command.env("GROUP", GROUP.to_string()).env("BIN", binary_dir()?).output().context("cannot run unshare")?;
    ensure!(output.status.success(), "{output:?}");
    for name in ["false.pcap", "true.pcap.zst"] {
        let metadata = fs::metadata(directory.path().join("captures").join(name)).context(name)?;
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (0, GROUP, 0o640), "{name}");
    }
    Ok(())
}
