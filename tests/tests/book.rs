//! Do the commands of a page work one after the other, typed as they stand there, and print what the page says?
//!
//! A page is one session of a shell, on a machine of its own as far as it matters: with its own network, `/run` and bpf
//! filesystem. A block of text that follows a block of commands is what these print; `…` stands for anything, and a line that is
//! nothing else for any number of lines.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, iter};

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::binary_dir;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What makes the shell's machine: empty directories where the daemon and `ip netns` keep things.
const MACHINE: &str = "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib; mount -t bpf bpf /sys/fs/bpf
ip link set lo up; ip addr add 192.0.2.1/32 dev lo
";

/// Two hosts, a daemon, and packets from one host to the other.
const LAB: &str = "for i in 1 2; do
    ip netns add host$i; ip link add veth$i type veth peer name eth0 netns host$i; ip link set veth$i up
    ip -n host$i addr add 10.0.0.$i/24 dev eth0; ip -n host$i link set eth0 up
done
polycubed --ephemeral 2> polycubed.log &
ip netns exec host1 ping -i 0.05 10.0.0.2 > /dev/null 2>&1 &
";

/// After a daemon is started: people type more slowly.
const WAIT: &str = "until polycubectl version > /dev/null 2>&1; do sleep 0.05; done";

/// Commands of a page, and what it says that they print.
struct Block {
    script: String,
    expected: Option<String>,
}

/// The blocks of shell commands and of Python of a page.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut parts = text.split("```");
    let mut between = parts.next().unwrap_or_default();
    while let Some(fenced) = parts.next() {
        let (language, code) = fenced.split_once('\n').unwrap_or((fenced, ""));
        let script = match language {
            "sh" => Some(code.lines().flat_map(line).collect()),
            "python" => Some(format!("python3 - << 'END'\n{code}END\n")),
            _ => None,
        };
        match (script, blocks.last_mut()) {
            (Some(script), _) => blocks.push(Block { script, expected: None }),
            (None, Some(block)) if language == "text" && between.trim().is_empty() => {
                block.expected = Some(code.to_owned());
            }
            _ => {}
        }
        between = parts.next().unwrap_or_default();
    }
    blocks
}

/// A line of a script, and a wait where it starts a daemon.
fn line(line: &str) -> Vec<String> {
    let wait = (line.starts_with("polycubed ") && line.ends_with('&')).then(|| format!("{WAIT}\n"));
    iter::once(format!("{line}\n")).chain(wait).collect()
}

/// Whether a text is as expected.
fn matches(expected: &[&str], found: &[&str]) -> bool {
    match (expected, found) {
        (["…"], _) => true,
        (["…", rest @ ..], _) => (0..=found.len()).any(|skipped| matches(rest, &found[skipped..])),
        ([first, expected @ ..], [line, found @ ..]) => line_matches(first, line) && matches(expected, found),
        ([], []) => true,
        _ => false,
    }
}

fn line_matches(expected: &str, found: &str) -> bool {
    match expected.split_once('…') {
        None => expected == found,
        Some((begin, rest)) => found.strip_prefix(begin).is_some_and(|found| {
            found.char_indices().map(|(at, _)| at).chain([found.len()]).any(|at| line_matches(rest, &found[at..]))
        }),
    }
}

fn read(page: &str) -> Result<String> {
    fs::read_to_string(Path::new(REPOSITORY).join(page)).with_context(|| format!("cannot read {page}"))
}

/// Runs the blocks of a page's text after `before`, and compares what they print. Returns the directory in which they ran.
fn run(page: &str, text: &str, before: &str, at_least: usize) -> Result<tempfile::TempDir> {
    let blocks = blocks(text);
    ensure!(blocks.len() >= at_least, "{page} has {} blocks", blocks.len());
    let mut script = format!("set -eu\n{MACHINE}{}", before.lines().flat_map(line).collect::<String>());
    for block in &blocks {
        script.push_str(&format!("echo @@@\n{}", block.script));
    }
    let place = tempfile::tempdir()?;
    let binaries = binary_dir()?;
    // Where the page says that `./x demo` puts the programs.
    fs::create_dir(place.path().join("target"))?;
    std::os::unix::fs::symlink(&binaries, place.path().join("target/debug"))?;
    let mut shell = Command::new("timeout");
    shell.args(["120", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    shell.args(["bash", "-c", &script]).current_dir(place.path()).stdin(Stdio::null());
    shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", binaries.display())).env("LC_ALL", "C.UTF-8");
    shell.env("HOME", place.path()).env("PYTHONPATH", PathBuf::from(REPOSITORY).join("clients/python"));
    for variable in ["POLYCUBECTL_URL", "POLYCUBECTL_TOKEN", "POLYCUBECTL_CACERT"] {
        shell.env_remove(variable);
    }
    let output = shell.output().context("cannot run unshare, of util-linux")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let log = fs::read_to_string(place.path().join("polycubed.log")).unwrap_or_default();
    let said = format!("{}\n--- the daemon:\n{log}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{page}: {}\n{printed}\n{said}", output.status);
    let found: Vec<&str> = printed.split("@@@\n").skip(1).collect();
    ensure!(found.len() == blocks.len(), "{page}: {} of {} blocks\n{printed}", found.len(), blocks.len());
    for (block, found) in blocks.iter().zip(found) {
        let Some(expected) = &block.expected else { continue };
        let fits = matches(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>());
        ensure!(fits, "{page}:\n{}\nprints\n{found}\ninstead of\n{expected}\n{said}", block.script);
    }
    Ok(place)
}

#[test]
fn the_quick_start_is_what_happens() -> Result<()> {
    let place = run("docs/start.md", &read("docs/start.md")?, "", 11)?;
    let saved = fs::read_to_string(place.path().join("site.yaml"))?;
    ensure!(saved.contains("toveth1") && saved.contains("icmp or arp"), "{saved}");
    Ok(())
}

#[test]
fn the_examples_of_rest_and_python_print_what_the_page_says() -> Result<()> {
    let place = run("docs/rest.md", &read("docs/rest.md")?, LAB, 6)?;
    for name in ["ten.pcapng", "so-far.pcapng"] {
        let bytes = fs::read(place.path().join(name))?;
        ensure!(bytes.len() > 200 && bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{name}: {} bytes", bytes.len());
    }
    Ok(())
}

/// What those have who read the page on captures: the netdev `eth0`, the bridge, root, and Ctrl-C after two seconds.
const READER: &str = "ip link add eth0 type veth peer name other; ip link set eth0 up; ip link set other up
polycubectl simplebridge add br1; for i in 1 2; do polycubectl br1 ports add toveth$i peer=veth$i; done
sudo() { \"$@\"; }
wireshark() { cat > /dev/null; }
interrupted() { timeout --foreground --signal INT 2 \"$@\" || [ $? = 124 ]; }
curl() { interrupted curl \"$@\"; }
polycubectl() {
    case \"$*\" in
        capture*|*--follow*|*watch*) interrupted polycubectl \"$@\";;
        *) command polycubectl \"$@\";;
    esac
}
TOKEN=none
";

#[test]
fn the_page_on_captures_can_be_typed() -> Result<()> {
    let page = read("docs/capture.md")?;
    // Wireshark has a test of its own, because it is set up for the whole machine.
    let (text, _) = page.split_once("\n## Wireshark").context("a part about Wireshark")?;
    let text = text.replace("HOST:9000", "192.0.2.1:9000").replace("clients/", &format!("{REPOSITORY}/clients/"));
    let lab = LAB.replace("--ephemeral", "--ephemeral --addr 192.0.2.1 --no-auth");
    let place = run("docs/capture.md", &text, &format!("{lab}{READER}"), 6)?;
    let mut files = 0;
    for file in fs::read_dir(place.path())? {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == "pcap" || ending == "pcapng") {
            ensure!(fs::metadata(&path)?.len() >= 24, "{} is empty", path.display());
            files += 1;
        }
    }
    ensure!(files >= 7, "{files} files");
    Ok(())
}

#[test]
fn the_recipes_work_one_after_the_other() -> Result<()> {
    let bridge = "polycubectl simplebridge add br1
for i in 1 2; do polycubectl br1 ports add toveth$i peer=veth$i; done
until ip netns exec host1 ping -q -c 1 10.0.0.2; do :; done > /dev/null
";
    let place = run("docs/recipes.md", &read("docs/recipes.md")?, &format!("{LAB}{bridge}"), 17)?;
    ensure!(fs::metadata(place.path().join("so-far.pcapng"))?.len() > 0, "the file is empty");
    Ok(())
}

#[test]
fn the_pages_on_configuration_and_the_slow_path_can_be_typed() -> Result<()> {
    let before = format!("{LAB}polycubectl simplebridge add br1\n");
    let place = run("docs/configuration.md", &read("docs/configuration.md")?, &before, 1)?;
    ensure!(fs::read_to_string(place.path().join("site.yaml"))?.contains("br1"), "site.yaml lacks the bridge");
    run("docs/slow-path.md", &read("docs/slow-path.md")?, LAB, 1).map(drop)
}

/// The examples are alternatives with one name, and part of them is for the machine that gets the copies.
#[test]
fn the_page_on_mirroring_can_be_typed() -> Result<()> {
    let elsewhere = |line: &&str| !["tshark ", "tcpdump ", "ip link "].iter().any(|begin| line.starts_with(begin));
    let again = |line: &str| match line.strip_prefix("polycubectl span add s1") {
        Some(rest) => format!("polycubectl del s1 2> /dev/null || :; polycubectl span add s1{rest}\n"),
        None => format!("{line}\n"),
    };
    let text: String = read("docs/span.md")?.lines().filter(elsewhere).map(again).collect();
    let before = "polycubectl simplebridge add br1; for i in 1 2; do polycubectl br1 ports add p$i peer=veth$i; done
ip link add eth0 type veth peer name veth9; ip link set eth0 up; ip link set veth9 up
";
    run("docs/span.md", &text, &format!("{LAB}{before}"), 6).map(drop)
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    let fits = |expected: &str, found: &str| {
        matches(&expected.lines().collect::<Vec<_>>(), &found.lines().collect::<Vec<_>>())
    };
    assert!(fits("a … c\n", "a b c\n") && fits("…c", "c") && !fits("a … c", "a b d"));
    assert!(fits("…\nend\n", "1\n2\nend\n") && fits("…\n", "") && !fits("…\nend\n", "1\n") && !fits("", "1\n"));
}
