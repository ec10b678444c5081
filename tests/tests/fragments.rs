//! Is every fragment of code in the documentation compiled, read or run by something?
//!
//! `CHECKS` says by what, for each language of each page. A fragment that is not in it fails here, and so does one more of a kind
//! of which other tests take a certain number.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::binary_dir;
use polycube_tests::scene::Scene;

/// What keeps the fragments of a language in a page true.
enum Check {
    /// Each is an excerpt of a source that is built, in [`SOURCES`].
    Excerpt,
    /// This test, `FILE::NAME`, which takes all of them.
    Whole(&'static str),
    /// These tests, which take so many, each by its place or contents.
    Of(usize, &'static [&'static str]),
    /// Nothing runs so many of them, for this reason. They are at least what bash can parse.
    Parsed(usize, &'static str),
}
use Check::{Excerpt, Of, Parsed, Whole};

/// Shorter names for tests of other files.
const IN_C: &str = "outside.rs::a_plugin_in_c_goes_from_nothing_to_a_dropped_packet";
const IN_RUST: &str = "outside.rs::a_plugin_in_rust_alone_builds_and_passes_packets";
const AN_OBJECT: &str = "outside.rs::a_plugin_as_an_object_goes_from_nothing_to_a_dropped_packet";
const KIT: &str = "outside.rs::the_kit_tests_a_plugin_as_its_page_says";
const LAB: &str = "outsiders_lab.rs::the_page_shows_the_lab_as_it_is";
const BY_CLANG: &str = "outside.rs::a_program_compiles_as_the_page_on_the_kernel_side_says";
const TOOLS: &str = "outside.rs::the_page_on_the_kernel_side_installs_what_the_toolchain_asks_for";
const OBJECTS: &str = "docs.rs::the_page_on_object_services_works_line_by_line";
const SOURCES_OF_OBJECTS: &str = "docs.rs::objects_and_documentation_are_those_of_the_sources";
const TYPED: &str = "book.rs::the_pages_on_configuration_and_the_slow_path_can_be_typed";
const REST: &str = "book.rs::the_examples_of_rest_and_python_print_what_the_page_says";
const RECIPES: &str = "book.rs::the_recipes_work_one_after_the_other";
const START: &str = "book.rs::the_quick_start_is_what_happens";
const FILES: &str = "fragments.rs::the_daemon_takes_the_files_that_pages_show";
const APPLIED: &str = "fragments.rs::the_document_of_the_page_on_configuration_is_applied";

const CHECKS: &[(&str, &str, Check)] = &[
    ("README.md", "sh", Parsed(3, "they build the repository, or are lines of docs/start.md and docs/capture.md")),
    ("docs/capture.md", "sh", Whole("book.rs::the_page_on_captures_can_be_typed")),
    ("docs/configuration.md", "sh", Whole(TYPED)),
    ("docs/configuration.md", "yaml", Of(1, &[APPLIED])),
    ("docs/first-plugin.md", "c", Of(1, &[IN_C])),
    ("docs/first-plugin.md", "json", Of(1, &[AN_OBJECT])),
    ("docs/first-plugin.md", "rust", Of(2, &[IN_C, IN_RUST])),
    ("docs/first-plugin.md", "sh", Of(7, &[IN_C, IN_RUST, AN_OBJECT])),
    ("docs/kernel-side.md", "c", Excerpt),
    ("docs/kernel-side.md", "sh", Of(2, &[BY_CLANG, TOOLS])),
    ("docs/object-services.md", "c", Of(2, &[SOURCES_OF_OBJECTS, OBJECTS])),
    ("docs/object-services.md", "json", Of(1, &[SOURCES_OF_OBJECTS])),
    ("docs/object-services.md", "sh", Whole(OBJECTS)),
    ("docs/operations.md", "sh", Whole("docs.rs::what_operators_are_to_type_works")),
    (
        "docs/places.md",
        "sh",
        Parsed(2, "containers and systemd are the machine's: places.rs has the places without them"),
    ),
    ("docs/plugin-abi.md", "rust", Excerpt),
    ("docs/plugin-abi.md", "toml", Of(1, &["docs.rs::the_example_of_a_plugin_is_a_crate_wherever_it_is"])),
    ("docs/recipes.md", "sh", Whole(RECIPES)),
    ("docs/recipes.md", "text", Whole(RECIPES)),
    ("docs/rest.md", "python", Whole(REST)),
    ("docs/rest.md", "sh", Whole(REST)),
    ("docs/rest.md", "text", Whole(REST)),
    ("docs/running.md", "sh", Parsed(1, "it installs a unit on the machine itself: service.rs runs the unit")),
    ("docs/running.md", "toml", Of(1, &[FILES])),
    ("docs/running.md", "yaml", Of(1, &["prometheus.rs::configure"])),
    ("docs/security.md", "toml", Of(2, &[FILES])),
    ("docs/slow-path.md", "c", Excerpt),
    ("docs/slow-path.md", "rust", Excerpt),
    ("docs/slow-path.md", "sh", Whole(TYPED)),
    ("docs/span.md", "sh", Whole("book.rs::the_page_on_mirroring_can_be_typed")),
    ("docs/start.md", "sh", Whole(START)),
    ("docs/start.md", "text", Whole(START)),
    ("docs/testing-plugins.md", "rust", Of(3, &[KIT, LAB])),
    ("docs/testing-plugins.md", "toml", Of(2, &[KIT])),
    ("docs/two-machines.md", "sh", Parsed(4, "they need two machines with a cable between them")),
];

/// Directories with the sources that excerpts come from: `tests/fixtures/pages` is there for them alone.
const SOURCES: [&str; 3] = ["tests/fixtures/pages", "tests/fixtures/pages/src", "tests/fixtures/hello/src"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(repository().join(path)).with_context(|| format!("cannot read {path}"))
}

/// The files of a directory whose names end so.
fn files(directory: &str, ending: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(repository().join(directory)).with_context(|| format!("cannot list {directory}"))?;
    let names = entries.map(|entry| Ok(format!("{directory}/{}", entry?.file_name().to_string_lossy())));
    let names: Result<Vec<String>> = names.collect();
    Ok(names?.into_iter().filter(|name| name.ends_with(ending)).collect())
}

/// The fragments of a page that have a language.
fn fragments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|fenced| fenced.split_once('\n')).filter(|(language, _)| !language.is_empty())
}

/// The fragments of all pages, by page and language.
fn all_fragments() -> Result<BTreeMap<(String, String), Vec<String>>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let pages = files("docs", ".md")?.into_iter().chain(["README.md", "sdk/README.md"].map(str::to_owned));
    for page in pages {
        for (language, code) in fragments(&read(&page)?) {
            found.entry((page.clone(), language.to_owned())).or_default().push(code.to_owned());
        }
    }
    Ok(found)
}

/// A line without its indentation and visibility, which depend on what is around the fragment.
fn bare(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix("pub ").unwrap_or(line)
}

/// The paragraphs of code.
fn paragraphs(code: &str) -> Vec<String> {
    let lines: Vec<&str> = code.lines().map(bare).collect();
    lines.split(|line| line.is_empty()).filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")).collect()
}

/// Whether a source has the paragraphs of a fragment, each whole and in their order, perhaps with others between them.
fn is_excerpt(fragment: &str, source: &str) -> bool {
    let source: String = source.lines().map(|line| format!("{}\n", bare(line))).collect();
    let mut rest = source.as_str();
    paragraphs(fragment).iter().all(|paragraph| {
        let Some((_, after)) = rest.split_once(&format!("{paragraph}\n")) else { return false };
        rest = after;
        true
    })
}

fn check(page: &str, check: &Check, found: &[String], sources: &[String]) -> Result<()> {
    let expect = |count: usize| {
        ensure!(found.len() == count, "there are {}, and {count} of them are checked", found.len());
        Ok(())
    };
    let has_test = |test: &&str| {
        let (file, name) = test.split_once("::").context("FILE::NAME")?;
        let text = read(&format!("tests/tests/{file}"))?;
        ensure!(text.contains(&format!("fn {name}(")), "there is no test {test}");
        let name = page.trim_start_matches("docs/");
        ensure!(text.contains(name), "{test} does not read the page");
        Ok(())
    };
    match check {
        Excerpt => found.iter().try_for_each(|fragment| {
            let is_built = sources.iter().any(|source| is_excerpt(fragment, source));
            ensure!(is_built, "this is in no source of {SOURCES:?}:\n{fragment}");
            Ok(())
        }),
        Whole(test) => has_test(test),
        Of(count, tests) => expect(*count).and_then(|()| tests.iter().try_for_each(has_test)),
        Parsed(count, reason) => {
            expect(*count).with_context(|| format!("nothing runs them: {reason}"))?;
            found.iter().try_for_each(|fragment| {
                let output = Command::new("bash").args(["-n", "-c", fragment]).output().context("cannot run bash")?;
                ensure!(output.status.success(), "{}\n{fragment}", String::from_utf8_lossy(&output.stderr));
                Ok(())
            })
        }
    }
}

#[test]
fn something_checks_each_fragment() -> Result<()> {
    let mut sources = Vec::new();
    for directory in SOURCES {
        for ending in [".rs", ".bpf.c"] {
            for file in files(directory, ending)? {
                sources.push(read(&file)?);
            }
        }
    }
    let fragments = all_fragments()?;
    let mut wrong = Vec::new();
    for ((page, language), found) in &fragments {
        match CHECKS.iter().find(|(of, kind, _)| of == page && kind == language) {
            None => wrong.push(format!("{page}: nothing checks {} fragments of {language}", found.len())),
            Some((_, _, how)) => {
                wrong.extend(
                    check(page, how, found, &sources).err().map(|error| format!("{page}: {language}: {error:#}")),
                );
            }
        }
    }
    for (page, language, _) in CHECKS {
        let is_there = fragments.contains_key(&((*page).to_owned(), (*language).to_owned()));
        wrong.extend((!is_there).then(|| format!("{page} has no {language} to check")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn code_that_nothing_compiles_is_found() {
    let source = "impl A {\n    fn a() {\n        1\n    }\n\n    fn b() {}\n}\n";
    assert!(is_excerpt("fn a() {\n    1\n}\n\nfn b() {}\n", source));
    for other in
        ["fn a() {\n    2\n}\n", "fn b() {}\n\nfn a() {\n    1\n}\n", "fn a() {\n    1\n}\n\nfn c() {}\n", "fn b() {"]
    {
        assert!(!is_excerpt(other, source), "{other}");
    }
    assert!(check("docs/a.md", &Of(1, &[FILES]), &[String::new(), String::new()], &[]).is_err(), "one more");
    assert!(check("docs/a.md", &Parsed(1, "…"), &["if true".to_owned()], &[]).is_err(), "it cannot be parsed");
    assert!(check("docs/running.md", &Whole("fragments.rs::no_such_test"), &[], &[]).is_err(), "no such test");
}

/// The objects of `tests/fixtures/pages` are committed; this is what they were built from.
#[test]
fn clang_takes_the_programs_of_the_pages_without_a_word() -> Result<()> {
    let place = tempfile::tempdir()?;
    let sources = files("tests/fixtures/pages", ".bpf.c")?;
    ensure!(sources.len() >= 3, "{sources:?}");
    for source in sources {
        let lines = "clang() { command clang \"$@\" || clang-19 \"$@\" || clang-14 \"$@\"; }
            clang -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -Isdk/include -c \"$1\" -o \"$2\"";
        let output = Command::new("bash")
            .args(["-euc", lines, "bash", &source])
            .arg(place.path().join("page.o"))
            .current_dir(repository())
            .output()?;
        ensure!(output.status.success(), "{source}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The fragments of a page in a language.
fn of(page: &str, language: &str) -> Result<Vec<String>> {
    all_fragments()?.remove(&(page.to_owned(), language.to_owned())).with_context(|| format!("{page}: no {language}"))
}

/// `running.md` shows the configuration file, and `security.md` tokens and rules, which may be in one file.
#[test]
fn the_daemon_takes_the_files_that_pages_show() -> Result<()> {
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name).display().to_string();
    let secret = |name: &str, text: &str| -> Result<()> {
        fs::write(at(name), text)?;
        Ok(fs::set_permissions(at(name), Permissions::from_mode(0o600))?)
    };
    let made = rcgen::generate_simple_self_signed(["192.0.2.1".to_owned()])?;
    secret("daemon.pem", &made.cert.pem())?;
    secret("daemon.key", &made.signing_key.serialize_pem())?;
    // The page shortens tokens.
    secret("tokens.toml", &of("docs/security.md", "toml")?.concat().replace('…', "0123456789abcdef0123456789abcdef"))?;
    fs::create_dir(at("ours"))?;
    let file = of("docs/running.md", "toml")?.concat().replace("/etc/polycube/", &at(""));
    let plugins = binary_dir()?.display().to_string();
    let file = file.replace("/usr/lib/polycube/plugins", &plugins).replace("/opt/ours", &at("ours"));
    // Rules are for clients with certificates.
    fs::write(at("polycubed.toml"), format!("{file}cacert = {:?}\n", at("daemon.pem")))?;
    let mut check = Command::new(binary_dir()?.join("polycubed"));
    let output = check.args(["check", "--config", &at("polycubed.toml")]).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{file}\n{said}{}", String::from_utf8_lossy(&output.stdout));
    // What is wrong in one of the files is found.
    secret("tokens.toml", "[[token]]\nname = \"a\"\n")?;
    ensure!(!check.output()?.status.success(), "a token without a role is taken");
    Ok(())
}

/// `configuration.md` shows a document.
#[test]
fn the_document_of_the_page_on_configuration_is_applied() -> Result<()> {
    let scene = Scene::set_up().peers(1).start()?;
    let place = tempfile::tempdir()?;
    let file = place.path().join("site.yaml");
    fs::write(&file, of("docs/configuration.md", "yaml")?.concat())?;
    let apply = format!("config apply {}", file.display());
    scene.daemon.ctl(&apply).ok();
    ensure!(scene.get("br1/ports/toveth1/peer")? == "veth1" && scene.get("sniffer/snaplen")? == 96, "{apply}");
    let again = scene.daemon.ctl(&format!("config diff {}", file.display())).ok();
    ensure!(again == "would be: 4 left as they were\n", "{again}");
    Ok(())
}
