//! `./x packagetest`: the Debian package in a fresh Debian or Ubuntu, booted with its own systemd.
//!
//! What can break there cannot break on the machine that built the package: another glibc, another systemd that reads the
//! unit, a name of a dependency that the distribution does not have. So each root is made by debootstrap, runs as a
//! container with a network of its own, and goes through what an operator does, in this order: install, the quick
//! start, upgrade under traffic, remove, purge. Whatever needs the outside is fetched before; the package itself is
//! installed offline.

mod guide;
mod root;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use crate::deb::Deb;
use crate::tree::Tree;
use root::Root;

/// Debian 12 and 13. Ubuntu's need a mirror, which debootstrap of Debian does not know.
pub(crate) const SUITES: [&str; 2] = ["bookworm", "trixie"];

/// The page with the quick start.
pub(crate) const GUIDE: &str = "docs/start.md";

/// Packets of an upgrade: one each 10 ms, for longer than it takes.
const PINGS: u32 = 800;

/// The package, and the one before it.
pub(crate) struct Packages {
    pub(crate) before: (Deb, Tree),
    pub(crate) now: (Deb, Tree),
}

/// Where roots are made, and what from.
pub(crate) struct Place<'a> {
    /// What debootstrap makes in minutes is kept here, and copied in seconds.
    pub(crate) roots: &'a Path,
    /// The mirror of the suites; debootstrap's own if there is none.
    pub(crate) mirror: Option<&'a str>,
}

/// Tries the packages in each suite.
///
/// # Errors
/// A root cannot be made, or a step fails there.
pub(crate) fn run(packages: &Packages, guide: &str, suites: &[String], at: &Place<'_>, time: u64) -> Result<()> {
    fs::create_dir_all(at.roots).with_context(|| format!("cannot make {}", at.roots.display()))?;
    let place = tempfile::tempdir()?;
    let write = |(deb, tree): &(Deb, Tree)| -> Result<String> {
        fs::write(place.path().join(deb.file_name()), deb.pack(tree, time, 1)?)?;
        Ok(format!("/packages/{}", deb.file_name()))
    };
    let (before, now) = (write(&packages.before)?, write(&packages.now)?);
    let steps = steps(&before, &now, guide)?;
    for suite in suites {
        let began = Instant::now();
        let root = Root::make(suite, at)?.boot(place.path())?;
        for (what, script) in &steps {
            eprintln!("./x: {suite}: {what}");
            root.run(script).with_context(|| format!("{suite}: {what}"))?;
        }
        root.shut_down()?;
        println!("{suite}: installed, used, upgraded, removed and purged in {:.0} s", began.elapsed().as_secs_f64());
    }
    Ok(())
}

/// What is done in a root, as scripts of its shell.
fn steps(before: &str, now: &str, guide: &str) -> Result<Vec<(&'static str, String)>> {
    let guide = guide::read(guide)?;
    let version = |deb: &str| deb.split('_').nth(1).unwrap_or_default().to_owned();
    ensure!(version(before) != version(now), "both packages have the version {}", version(now));
    let is_installed =
        |deb: &str| format!("test \"$(dpkg-query --show --showformat '${{Version}}' polycube)\" = {}\n", version(deb));
    let install = |deb: &str| format!("{INSTALL} {deb}\n{}{IS_ACTIVE}", is_installed(deb));
    let upgrade = format!("{PING}\nsleep 1\n{}wait $ping\n{STILL_THERE}", install(now));
    Ok(vec![
        ("installing the version before, offline", format!("{}{SERVICE}", install(before))),
        ("what the quick start needs", format!("{INSTALL} iproute2 iputils-ping tcpdump")),
        ("the quick start", format!("cd /root\n{}\n{}", guide.use_it, CAPTURED)),
        ("upgrading under traffic", upgrade.replace("PINGS", &PINGS.to_string())),
        ("removing what the quick start made", guide.remove_it),
        ("removing the package with a bridge in use", REMOVE.to_owned()),
        ("purging it", PURGE.to_owned()),
    ])
}

/// From the cache and from /packages alone: the container has no way out.
const INSTALL: &str = "DEBIAN_FRONTEND=noninteractive apt-get install -y -qq";

const IS_ACTIVE: &str = "systemctl is-active polycubed\npolycubectl version\n";

/// What the package brings works in this distribution.
const SERVICE: &str = "
systemctl is-enabled polycubed
systemd-analyze verify --man=no polycubed.service
polycubed check
grep libpcap.so <<<\"$(ldconfig -p)\"
id polycube
polycubectl services show
for program in polycubed polycubectl; do not grep 'not found' <<<\"$(ldd /usr/bin/$program)\"; done
for place in bash-completion/completions/polycubectl zsh/vendor-completions/_polycubectl \\
    fish/vendor_completions.d/polycubectl.fish man/man1/polycubectl.1 man/man8/polycubed.8 doc/polycube/sbom.cdx.json; do
    test -s /usr/share/$place
done
";

const CAPTURED: &str = "tcpdump -nr \"$(polycubectl sniffer show dump | cut -d ' ' -f 4-)\" | grep 'ICMP echo request'";

/// None of its packets is lost while the daemon is replaced.
const PING: &str = "
before=$(systemctl show --property MainPID --value polycubed)
ip netns exec host1 ping -q -i 0.01 -c PINGS 10.0.0.2 >/tmp/ping &
ping=$!
";

const STILL_THERE: &str = "
cat /tmp/ping
grep -q ' 0% packet loss' /tmp/ping
test \"$(systemctl show --property MainPID --value polycubed)\" != \"$before\"
polycubectl cubes show | grep sniffer
test \"$(polycubectl sniffer show counters captured)\" -gt 0
";

/// Links are pins alone while no daemon holds them, so without pins the kernel has freed the programs too.
const REMOVE: &str = "
ip link add uplink type veth peer name far
polycubectl simplebridge add br1
polycubectl br1 ports add toup peer=uplink
echo 'log = \"info\"' >/etc/polycube/polycubed.toml
test -n \"$(ls -A /run/bpf/polycube/pins)\"
apt-get remove -y -qq polycube
not test -e /usr/bin/polycubed
not systemctl is-active polycubed
not mountpoint -q /run/bpf/polycube
not test -e /run/polycube
test -e /etc/polycube/polycubed.toml
test -n \"$(ls /var/lib/polycube/captures)\"
";

const PURGE: &str = "
apt-get purge -y -qq polycube >/tmp/purge
grep 'captures are kept in' /tmp/purge
rm -r /var/lib/polycube
left=$(find /etc /usr /var/lib /run /opt -name '*polycube*' ! -path '/var/lib/dpkg/*' ! -path '/run/systemd/*' \\
    ! -path '/run/bpf/polycube')
test -z \"$left\" || { echo \"left: $left\"; false; }
not systemctl cat polycubed.service
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_name_both_versions_and_have_the_guide() {
        let guide = fs::read_to_string(crate::root().join(GUIDE)).unwrap();
        let steps = steps("/packages/polycube_0.1.0-0_amd64.deb", "/packages/polycube_0.1.0-1_amd64.deb", &guide);
        let steps = steps.unwrap();
        assert!(steps[0].1.contains("= 0.1.0-0\n") && steps[3].1.contains("= 0.1.0-1\n"), "{steps:?}");
        assert!(steps[2].1.contains("polycubectl simplebridge add br1"), "{steps:?}");
        let same = "/packages/polycube_0.1.0-1_amd64.deb";
        assert!(super::steps(same, same, &guide).is_err());
    }
}
