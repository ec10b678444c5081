//! Can people who have no clone of this repository write, build, test and load a plugin? With the SDK as `./x sdk` packs it, and
//! the lines and files of docs/first-plugin.md.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::scene::Scene;
use polycube_tests::traffic::reachable;

/// Cargo's builds share a directory, and one at a time is fast enough.
static WORKSHOP: Mutex<()> = Mutex::new(());

/// From a project to a packet that is counted, once the dependencies are built.
const BUDGET: Duration = Duration::from_secs(60);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn script(path: &Path, lines: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{lines}\n"))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

/// A directory to work in, and an SDK.
struct Workshop {
    directory: PathBuf,
    sdk: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Workshop {
    fn open() -> Result<Self> {
        let turn = WORKSHOP.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
        let directory = place.join("work");
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(directory.join("bin"))?;
        // Root runs the tests.
        script(&directory.join("bin/sudo"), "exec \"$@\"")?;
        // Without a registry, only the versions that this repository uses are sure to be there.
        let lock = repository().join("Cargo.lock");
        let cargo = format!("test -e Cargo.lock || cp {} .\nexec {} \"$@\"", lock.display(), env!("CARGO"));
        script(&directory.join("bin/cargo"), &cargo)?;
        let sdk = place.join(format!("sdk/polycube-sdk-{}", env!("CARGO_PKG_VERSION")));
        let workshop = Self { directory, sdk, _turn: turn };
        let mut xtask = workshop.command(binary_dir()?.join("xtask"));
        run(xtask.args(["sdk", "--out"]).arg(place.join("sdk")).current_dir(repository()))?;
        Ok(workshop)
    }

    /// A command that finds our programs, and no registry.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let own = [self.directory.join("bin"), binary_dir().unwrap_or_default()];
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&inherited)));
        // What cargo sets for this test is about another workspace.
        for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
            command.env_remove(name);
        }
        command
            .current_dir(&self.directory)
            .env("PATH", path.unwrap_or_default())
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_BUILD_BUILD_DIR", self.directory.with_file_name("build"));
        command
    }

    /// Runs lines of a shell; answers with what they print.
    fn shell(&self, lines: &str) -> Result<String> {
        run(self.command("sh").args(["-ec", lines]))
    }

    fn new_project(&self, flags: &str) -> Result<PathBuf> {
        self.shell(&format!("polycubectl plugin new guard {flags} --sdk={}", self.sdk.display()))?;
        Ok(self.directory.join("guard"))
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    ensure!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    Ok(out)
}

/// The blocks of code in a language, of a page's part.
fn blocks(part: &str, language: &str) -> Vec<String> {
    let begin = format!("```{language}\n");
    let blocks = part.split(begin.as_str()).skip(1).filter_map(|block| block.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

fn page(name: &str) -> Result<String> {
    let path = repository().join("docs").join(name);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// A part of the page for beginners, by its heading.
fn part(heading: &str) -> Result<String> {
    let page = page("first-plugin.md")?;
    let part = page.split("\n## ").find(|part| part.starts_with(heading)).with_context(|| format!("no {heading}"))?;
    Ok(part.to_owned())
}

/// Does in a scene what the page says to do with a daemon, and drops a packet.
fn use_it(project: &Path, lines: &str) -> Result<Scene> {
    let scene = Scene::set_up().peers(1).fixtures(["panicky"]).start()?;
    let plugins = scene.plugin("panicky")?.parent().context("a directory")?.to_owned();
    let (files, commands): (Vec<&str>, Vec<&str>) = lines.lines().partition(|line| line.starts_with("sudo cp "));
    for words in files {
        let words: Vec<&str> = words.split_whitespace().skip(2).collect();
        let (directory, files) = words.split_last().context("files, and a directory")?;
        ensure!(*directory == "/usr/lib/polycube/plugins/", "{words:?}");
        for file in files {
            let from = project.join(file);
            fs::copy(&from, plugins.join(from.file_name().context("a file")?))?;
        }
    }
    for line in commands {
        let line = line.strip_prefix("polycubectl ").with_context(|| format!("{line:?} is not a command"))?;
        scene.daemon.ctl(&line.replace("eth0", "veth1")).ok();
    }
    scene.peer(1).add_address("10.0.0.1/24")?;
    let address = scene.host(1).add_address("10.0.0.2/24")?;
    let answers =
        || Ok::<_, anyhow::Error>(reachable(scene.namespace(1), scene.host(1).namespace(), address)?.is_some());
    ensure!(!answers()?, "packets are dropped");
    let dropped = counted(&scene)?;
    ensure!(dropped > 0, "they are counted");
    scene.daemon.ctl("g1 set drop=false").ok();
    ensure!(answers()?, "packets pass");
    ensure!(counted(&scene)? > dropped, "the counters go on");
    Ok(scene)
}

fn counted(scene: &Scene) -> Result<u64> {
    let shown = scene.get("g1")?;
    shown["packets"].as_u64().with_context(|| format!("no packets in {shown}"))
}

#[test]
fn a_plugin_in_c_goes_from_nothing_to_a_dropped_packet() -> Result<()> {
    let workshop = Workshop::open()?;
    let part = part("In C and Rust")?;
    let sh = blocks(&part, "sh");
    let first = sh[0].replacen("plugin new guard", &format!("plugin new guard --sdk={}", workshop.sdk.display()), 1);
    let shown = workshop.shell(&first)?;
    for words in ["service: guard", "abi: 1.", "drop", "packets pass, are counted"] {
        ensure!(shown.contains(words), "{words}: {shown}");
    }
    let project = workshop.directory.join("guard");
    for (language, file) in [("c", "src/guard.bpf.c"), ("rust", "src/lib.rs")] {
        let text = fs::read_to_string(project.join(file))?;
        ensure!(blocks(&part, language) == [text.trim_end()], "the page shows another {file}");
    }
    use_it(&project, &sh[1])?;

    // The dependencies are built. How long does the second project take?
    let ports = blocks(&self::part("A function with ports")?, "sh");
    ensure!(ports == ["polycubectl plugin new forwarder --standard"], "{ports:?}");
    fs::remove_dir_all(&project)?;
    let begin = Instant::now();
    let project = workshop.new_project("--standard")?;
    let shown = workshop.shell("cd guard; cargo build --release; tests/packets.sh target/release")?;
    ensure!(shown.contains("are counted") && begin.elapsed() < BUDGET, "{:?}: {shown}", begin.elapsed());
    println!("from `plugin new` to a counted packet: {:?}", begin.elapsed());
    // The tests of the project's own: cargo builds the plugin for them.
    check_tests(&workshop, &project, &[])
}

/// Runs a project's tests, which are those of the kit and one with a daemon, and others. Without optimisation, the kit is built in a
/// third of the time.
fn check_tests(workshop: &Workshop, project: &Path, more: &[&str]) -> Result<()> {
    let shown = run(workshop.command("cargo").args(["test"]).current_dir(project))?;
    let own = ["packets_pass_are_counted_and_dropped", "conformance::creates_and_deletes_without_leaks"];
    let conformance = ["each_example_creates", "changes_under_traffic", "refuses_garbage", "survives_a_panic"];
    for name in own.iter().chain(&conformance).chain(more) {
        ensure!(shown.contains(&format!("{name} ... ok")), "{name}: {shown}");
    }
    ensure!(shown.matches("packets_pass_are_counted_and_dropped ... ok").count() == 2, "with a daemon, too: {shown}");
    Ok(())
}

/// What docs/testing-plugins.md says, in a project that it is about: its tests, its macro, and its lines for other projects.
#[test]
fn the_kit_tests_a_plugin_as_its_page_says() -> Result<()> {
    let workshop = Workshop::open()?;
    let page = page("testing-plugins.md")?;
    let project = workshop.new_project("")?;
    let rust = blocks(&page, "rust");
    fs::write(project.join("tests/page.rs"), format!("{}\n\n{}\n", rust[0], rust[1]))?;
    let toml = blocks(&page, "toml");
    let (manifest, config) = (project.join("Cargo.toml"), project.join(".cargo/config.toml"));
    let written = fs::read_to_string(&manifest)?;
    for lines in toml[0].split("\n\n") {
        let (heading, lines) = lines.split_once('\n').context("a table")?;
        let table = written.split_once(&format!("{heading}\n")).with_context(|| format!("no {heading}"))?.1;
        let table = table.split("\n[").next().unwrap_or_default();
        for line in lines.lines() {
            ensure!(table.contains(&line.replace("\"0.1\"", "\"0.1.0\"")), "{line} is not in {written}");
        }
    }
    let elsewhere = workshop.sdk.display().to_string();
    fs::write(&config, toml[1].replace("/usr/share/polycube/sdk", &elsewhere))?;
    check_tests(&workshop, &project, &["drops_what_it_is_told_to_drop"])
}

/// The line that compiles in docs/kernel-side.md.
#[test]
fn a_program_compiles_as_the_page_on_the_kernel_side_says() -> Result<()> {
    let workshop = Workshop::open()?;
    workshop.new_project("")?;
    let page = page("kernel-side.md")?;
    let line = blocks(&page, "sh").into_iter().find(|block| block.contains("clang -target bpf")).context("no clang")?;
    let (installs, line) = line.split_once('\n').context("two lines")?;
    ensure!(installs == "apt-get install -y clang", "{installs}");
    // Debian also calls it by its version.
    let clang = "clang() { command clang \"$@\" || clang-19 \"$@\" || clang-14 \"$@\"; }";
    workshop.shell(&format!("cd guard; cp src/guard.bpf.c hello.bpf.c; {clang}; {line}; test -s hello.o"))?;
    Ok(())
}

/// A test installs no toolchain: the page has the tools that the committed objects were built with.
#[test]
fn the_page_on_the_kernel_side_installs_what_the_toolchain_asks_for() -> Result<()> {
    let page = page("kernel-side.md")?;
    let sh = blocks(&page, "sh").concat();
    let asked = fs::read_to_string(repository().join("xtask/src/ebpf/toolchain.rs"))?;
    for package in ["rustc-web", "cargo-web", "rust-web-src"] {
        ensure!(sh.contains(package) && asked.contains(package), "{package}");
    }
    let digest = fs::read_to_string(repository().join("ebpf/objects/DIGEST"))?;
    let linker = digest.lines().find_map(|line| line.strip_prefix("tool bpf-linker ")).context("no bpf-linker")?;
    ensure!(sh.contains(&format!("--version {linker} ")), "the objects are built with bpf-linker {linker}: {sh}");
    Ok(())
}

/// The kernel side needs tools that few machines have: `./x ebpf` builds the objects, and keeps what they were built from.
#[test]
fn a_plugin_in_rust_alone_builds_and_passes_packets() -> Result<()> {
    let workshop = Workshop::open()?;
    let part = part("In Rust alone")?;
    for kind in ["standard", "transparent"] {
        let project = workshop.new_project(&format!("--rust --{kind}"))?;
        let main = fs::read_to_string(project.join("ebpf/src/main.rs"))?;
        let built_from = fs::read_to_string(repository().join(format!("ebpf/templates/src/{kind}.rs")))?;
        ensure!(main == built_from, "template-{kind}.o is of other sources: run ./x ebpf");
        if kind == "transparent" {
            ensure!(blocks(&part, "rust") == [main.trim_end()], "the page shows another program");
        }
        let object = repository().join(format!("ebpf/objects/template-{kind}.o"));
        let build = blocks(&part, "sh").concat();
        let (new, build) = build.split_once('\n').context("lines")?;
        ensure!(new == "polycubectl plugin new guard --rust", "{new}");
        let set = format!("export EBPF_OBJECT={}", object.display());
        let shown = workshop.shell(&format!("{set}\n{build}\ntests/packets.sh target/release"))?;
        ensure!(shown.contains("are counted"), "{shown}");
        fs::remove_dir_all(project)?;
    }
    Ok(())
}

#[test]
fn a_plugin_as_an_object_goes_from_nothing_to_a_dropped_packet() -> Result<()> {
    let workshop = Workshop::open()?;
    let part = part("As an object")?;
    let sh = blocks(&part, "sh");
    let shown = workshop.shell(&format!("{}\npolycubectl plugin check guard.o", sh[0]))?;
    for words in ["packets pass, are counted", "service: guard", "drop"] {
        ensure!(shown.contains(words), "{words}: {shown}");
    }
    let project = workshop.directory.join("guard");
    let manifest = fs::read_to_string(project.join("guard.json"))?;
    ensure!(blocks(&part, "json") == [manifest.trim_end()], "the page shows another manifest");
    let scene = use_it(&project, &sh[1])?;
    let before = counted(&scene)?;
    let said = scene.daemon.ctl(&format!("plugin dev {} --once", project.display()));
    ensure!(said.code == Some(0) && said.stderr.contains("service `guard` is reloaded"), "{said:?}");
    ensure!(counted(&scene)? >= before, "a reload keeps the map");
    a_refused_build_replaces_nothing(&workshop, &scene, &project)?;
    fs::remove_dir_all(&project)?;
    workshop.new_project("--object --standard")?;
    let shown = workshop.shell("cd guard; make test")?;
    ensure!(shown.contains("are counted"), "{shown}");
    Ok(())
}

/// `plugin dev` with builds that the daemon does not take, for one reason after another.
fn a_refused_build_replaces_nothing(workshop: &Workshop, scene: &Scene, project: &Path) -> Result<()> {
    let plugins = scene.plugin("panicky")?.parent().context("a directory")?.to_owned();
    let files = || -> Result<Vec<(String, Vec<u8>)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&plugins)? {
            let path = entry?.path();
            files.push((path.display().to_string(), fs::read(&path)?));
        }
        files.sort();
        Ok(files)
    };
    let before = files()?;
    let refused = |flags: &str, expected: &str| -> Result<()> {
        let said = scene.daemon.ctl(&format!("plugin dev {} --once{flags}", project.display()));
        ensure!(said.code != Some(0) && said.stderr.contains(expected), "{expected}: {said:?}");
        ensure!(!said.stderr.contains("is reloaded") && files()? == before, "{expected}: files have changed");
        Ok(())
    };
    // A directory that the daemon does not load from.
    let elsewhere = tempfile::tempdir()?;
    refused(&format!(" --plugin-dir={}", elsewhere.path().display()), "there is no file `")?;
    ensure!(fs::read_dir(elsewhere.path())?.next().is_none(), "nothing stays there");
    // What a look at the files shows.
    let (manifest, source) = (project.join("guard.json"), project.join("guard.bpf.c"));
    let written = [fs::read_to_string(&manifest)?, fs::read_to_string(&source)?];
    fs::write(&manifest, written[0].replace("\"DROP\"", "\"DRUP\""))?;
    refused("", "has no global variable `DRUP`")?;
    fs::write(&manifest, &written[0])?;
    // What only the kernel refuses.
    fs::write(&source, written[1].replace("pcn_next(skb)", "*(volatile int *)(long)(skb->data + 100)"))?;
    refused("", "guard")?;
    fs::write(&source, &written[1])?;
    workshop.shell("cd guard; make")?;
    let said = scene.daemon.ctl(&format!("plugin dev {} --once", project.display()));
    ensure!(said.code == Some(0) && files()? == before, "{said:?}");
    Ok(())
}

/// No change of a file makes a project of it, so that waiting for one would be in vain.
#[test]
fn developing_what_is_not_a_project_ends() -> Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new("timeout");
    command.arg("30").arg(binary_dir()?.join("polycubectl")).args(["plugin", "dev"]).current_dir(place.path());
    let output = command.output().context("timeout of coreutils")?;
    let line = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && line.lines().count() == 1, "{output:?}");
    ensure!(line.contains("has neither Cargo.toml nor Makefile: give the directory of a project"), "{line}");
    Ok(())
}

/// A plugin is code: what it does to the process that loads it is one line.
#[test]
fn a_file_that_is_not_a_plugin_or_crashes_is_one_line() -> Result<()> {
    let place = tempfile::tempdir()?;
    let check = |file: &Path| -> Result<String> {
        let output = Command::new(binary_dir()?.join("polycubectl")).args(["plugin", "check"]).arg(file).output()?;
        ensure!(output.status.code() == Some(2) && output.stdout.is_empty(), "{output:?}");
        Ok(String::from_utf8(output.stderr)?)
    };
    let text = place.path().join("notes.so");
    fs::write(&text, "nothing")?;
    let line = check(&text)?;
    ensure!(line.lines().count() == 1 && line.contains("is not a polycube plugin: it is not an ELF file"), "{line}");

    let object = place.path().join("object.so");
    fs::copy(repository().join("ebpf/objects/root.o"), &object)?;
    let line = check(&object)?;
    ensure!(line.lines().count() == 1 && line.contains("it is an eBPF object: load it with `type=object`"), "{line}");
    let line = check(place.path())?;
    let expected = format!("is a directory: give the file that is built there, such as {}", place.path().display());
    ensure!(line.lines().count() == 1 && line.contains(&expected), "{line}");

    // Past the identity record, every byte of the code is a breakpoint.
    let whole = fs::read(binary_dir()?.join("libpcn_simplebridge.so"))?;
    let crashing = place.path().join("libpcn_crash.so");
    fs::write(&crashing, with_breakpoints(&whole)?)?;
    let line = check(&crashing)?;
    ensure!(line.lines().count() == 1 && line.contains("ended the process, with signal 5"), "{line}");
    Ok(())
}

/// A plugin whose code is nothing but breakpoints.
fn with_breakpoints(plugin: &[u8]) -> Result<Vec<u8>> {
    // `sh_offset` and `sh_size` of `.text`, which is the largest section that is executable (ELF-64).
    let word = |at: usize, bytes: usize| -> Result<usize> {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(plugin.get(at..at + bytes).context("an ELF file")?);
        Ok(usize::try_from(u64::from_le_bytes(word))?)
    };
    let (headers, count) = (word(0x28, 8)?, word(0x3c, 2)?);
    let mut text = (0, 0);
    for header in (0..count).map(|index| headers + index * 64) {
        let (flags, offset, size) = (word(header + 8, 8)?, word(header + 24, 8)?, word(header + 32, 8)?);
        if flags & 4 != 0 && size > text.1 {
            text = (offset, size);
        }
    }
    let mut changed = plugin.to_vec();
    changed[text.0..text.0 + text.1].fill(0xcc);
    Ok(changed)
}
