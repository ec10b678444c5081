//! Do the lines that the documentation tells people to type work where they type them?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use polycube_tests::daemon::{Daemon, binary_dir, plugin_dir};
use polycube_tests::lab::Lab;
use polycube_tests::scene::Scene;
use serde_json::json;

fn document(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The first block of code in a language that contains these words.
fn code<'a>(text: &'a str, language: &str, words: &str) -> Result<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1).filter_map(|block| block.split_once("\n```"));
    blocks
        .map(|(block, _)| block)
        .find(|block| block.contains(words))
        .with_context(|| format!("no code with {words:?}"))
}

/// People make it in a clone of this repository.
#[test]
fn the_example_of_a_plugin_is_a_crate_wherever_it_is() -> Result<()> {
    let text = document("docs/plugin-abi.md")?;
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let manifest = code(&text, "toml", "pcn_hello")?;
    let sdk = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin-api");
    fs::write(place.path().join("Cargo.toml"), manifest.replace("../plugin-api", sdk))?;
    fs::create_dir(place.path().join("src"))?;
    fs::write(place.path().join("src/lib.rs"), "")?;
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(place.path())
        .output()?;
    ensure!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
    Ok(())
}

/// The shell replaces it where a file has a name of one letter, as in this directory.
#[test]
fn no_page_advises_a_bare_question_mark() -> Result<()> {
    let repository: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    ensure!(repository.join("x").exists(), "the reason has gone");
    // The changelog says what the advice was.
    for page in pages()?.into_iter().filter(|page| page != "CHANGELOG.md") {
        for line in document(&page)?.lines() {
            let advises = line.split('`').any(|text| text.starts_with("polycubectl") && text.ends_with(" ?"));
            ensure!(!advises, "{page}: {line}");
        }
    }
    Ok(())
}

/// Runs each block of shell commands of a page against a daemon, one after the other, and says how many there were.
fn run_blocks(page: &str, daemon: &Daemon, lab: &Lab, directory: &Path) -> Result<usize> {
    let text = document(page)?;
    // A block in a list is indented.
    let blocks: Vec<&str> =
        text.split("```sh\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0.trim_end())).collect();
    for block in &blocks {
        let mut shell = lab.host().command(Path::new("sh"));
        shell.args(["-euc", block]).current_dir(directory);
        shell.env("POLYCUBECTL_URL", format!("unix://{}", daemon.socket().display()));
        shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", binary_dir()?.display()));
        let output = shell.output()?;
        ensure!(output.status.success(), "{page}: {block}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(blocks.len())
}

#[test]
fn what_operators_are_to_type_works() -> Result<()> {
    let lab = Lab::new()?;
    let daemon = Daemon::start(&lab)?;
    daemon.ctl("packetcapture add sniffer").ok();
    let place = tempfile::tempdir()?;
    let count = run_blocks("docs/operations.md", &daemon, &lab, place.path())?;
    ensure!(count >= 4, "{count} blocks");
    let saved = fs::read_dir(place.path())?.next().context("config save wrote a file")??;
    ensure!(fs::read_to_string(saved.path())?.contains("sniffer"), "{} lacks the capture", saved.path().display());
    let text = document("docs/operations.md")?;
    let check = text.lines().find(|line| line.starts_with("NEW/usr/bin/polycubed ")).context("the line with check")?;
    let binaries = binary_dir()?.display().to_string();
    let check = check.replace("NEW/usr/bin/polycubed", "polycubed").replace("NEW/usr/lib/polycube/plugins", &binaries);
    let output = Command::new("sh").args(["-euc", &check]).env("PATH", format!("{binaries}:/usr/bin:/bin")).output()?;
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(printed.contains("plugin packetcapture") && output.status.code() != Some(64), "{check}: {output:?}");
    Ok(())
}

/// The pages of the repository, relative to its root.
fn pages() -> Result<Vec<String>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names = fs::read_dir(repository.join("docs"))?.collect::<Result<Vec<_>, _>>()?;
    let pages = names.iter().map(|page| format!("docs/{}", page.file_name().to_string_lossy()));
    let pages = pages.filter(|page| page.ends_with(".md"));
    Ok(pages.chain(["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned)).collect())
}

/// A page without its blocks of code, where `#` begins a comment.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    text.split("```").step_by(2)
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let lines = prose(text).flat_map(str::lines).filter(|line| line.starts_with('#'));
    let headings = lines.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    headings.map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// The targets of a page's links, outside code.
fn links(text: &str) -> impl Iterator<Item = &str> {
    prose(text).flat_map(|prose| prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)))
}

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut checked, mut broken) = (0, Vec::new());
    for page in pages()? {
        let text = document(&page)?;
        let directory = Path::new(&page).parent().context("a page is in a directory")?;
        for link in links(&text).filter(|link| !link.contains("://")) {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { repository.join(&page) } else { repository.join(directory).join(path) };
            let leads = if anchor.is_empty() {
                target.exists()
            } else {
                fs::read_to_string(&target).is_ok_and(|text| anchors(&text).iter().any(|found| found == anchor))
            };
            if !leads {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    ensure!(broken.is_empty(), "these links lead nowhere: {broken:#?}");
    ensure!(checked >= 100, "only {checked} links were found");
    Ok(())
}

fn objects() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects")
}

/// What the page says to type, with a directory and a netdev of the scene's. The objects are committed, so nothing is compiled.
#[test]
fn the_page_on_object_services_works_line_by_line() -> Result<()> {
    let page = document("docs/object-services.md")?;
    let blocks: Vec<&str> =
        page.split("```sh\n").skip(1).filter_map(|block| Some(block.split_once("```")?.0)).collect();
    let [install, compile, reload] = blocks[..] else { bail!("{} blocks", blocks.len()) };
    let directory = plugin_dir(&[])?;
    let argument = directory.path().display().to_string();
    let scene = Scene::set_up().peers(1).arguments(["--plugin-dir", &argument]).start()?;
    for lines in [install, reload] {
        let lines = lines.replace("/usr/lib/polycube/plugins/", &format!("{}/", directory.path().display()));
        let mut shell = scene.lab.host().command(Path::new("sh"));
        shell.args(["-euc", &lines]).current_dir(objects());
        shell.env("POLYCUBECTL_URL", format!("unix://{}", scene.daemon.socket().display()));
        shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", binary_dir()?.display()));
        let output = shell.output()?;
        ensure!(output.status.success(), "{lines}{}", String::from_utf8_lossy(&output.stderr));
    }
    let rules = scene.get("g1/rules")?;
    ensure!(rules == json!([{ "port": 9999, "action": "drop" }]), "{rules}");
    let built = fs::read_to_string(objects().join("build.sh"))?;
    let flags = "-target bpf -mcpu=v3 -O2 -g";
    ensure!(built.contains(flags) && compile.contains(flags), "{flags}: {compile}");
    let fields = page.split("```c\n").last().and_then(|block| Some(block.split_once("```")?.0)).context("a map")?;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plain: String =
        fields.lines().map(|line| format!("{} ", line.split("/*").next().unwrap_or_default())).collect();
    let patch = fs::read_to_string(objects().join("patch.bpf.c"))?;
    ensure!(words(&patch).contains(&words(&plain)), "no such map in patch.bpf.c: {plain}");
    Ok(())
}

/// The objects are committed, so that tests need no clang: `build.sh` there records what they were built from.
#[test]
fn objects_and_documentation_are_those_of_the_sources() -> Result<()> {
    let output =
        Command::new("sha256sum").args(["--check", "--strict", "--quiet", "DIGEST"]).current_dir(objects()).output()?;
    ensure!(output.status.success(), "run build.sh: {}", String::from_utf8_lossy(&output.stdout));
    let digests: BTreeMap<String, String> = fs::read_to_string(objects().join("DIGEST"))?
        .lines()
        .filter_map(|line| line.split_once("  ").map(|(digest, name)| (name.to_owned(), digest.to_owned())))
        .collect();
    for file in fs::read_dir(objects())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        assert_eq!(digests.contains_key(&name), !["DIGEST", "build.sh"].contains(&name.as_str()), "{name}");
    }
    let page = document("docs/object-services.md")?;
    for (language, file) in [("c", "guard.bpf.c"), ("json", "guard.json")] {
        let block = format!("```{language}\n{}```\n", fs::read_to_string(objects().join(file))?);
        assert!(page.contains(&block), "docs/object-services.md does not have {file} as it is");
    }
    Ok(())
}
