//! Is what is wrong with an object, its manifest or the service's name one line that says where?

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};
use polycube_tests::daemon::plugin_dir;
use polycube_tests::scene::Scene;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Plugins, and some objects with their manifests.
fn directory() -> Result<TempDir> {
    let directory = plugin_dir(&["marker"])?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/objects");
    for file in ["guard.o", "guard.json", "ring.o"] {
        fs::copy(fixtures.join(file), directory.path().join(file))?;
    }
    Ok(directory)
}

fn start(directory: &TempDir) -> Result<Scene> {
    let argument = directory.path().display().to_string();
    Scene::set_up().arguments(["--plugin-dir", &argument]).bridge().start()
}

/// Puts objects and manifests into a plugin directory that no service can be made of, each for a reason of its own.
fn spoil(place: &Path) -> Result<()> {
    let object = fs::read(place.join("guard.o"))?;
    let manifest: Value = serde_json::from_slice(&fs::read(place.join("guard.json"))?)?;
    let write = |name: &str, object: &[u8], manifest: &str| -> Result<()> {
        fs::write(place.join(format!("{name}.o")), object)?;
        Ok(fs::write(place.join(format!("{name}.json")), manifest)?)
    };
    write("text", b"not an object", "{}")?;
    write("half", &object, "{\n  \"description\": \"x\",\n  \"kind\": transparent }")?;
    write("name", &object, &{
        let mut manifest = manifest.clone();
        manifest["name"] = json!("guard");
        manifest.to_string()
    })?;
    write("leaf", &object, &manifest.to_string().replace("\"min_ttl\"", "\"max_ttl\""))?;
    write("wide", &object, &manifest.to_string().replace("\"x-global\"", "\"maximum\":300,\"x-global\""))?;
    write("words", &object, &manifest.to_string().replace("\"min-ttl\"", "\"loglevel\""))?;
    write("metric", &object, &manifest.to_string().replace("rule_packets_total", "packets_total"))?;
    write(
        "ring",
        &fs::read(place.join("ring.o"))?,
        r#"{"description":"","kind":"transparent","hooks":[{"program":"report"}]}"#,
    )?;
    write("cut", &object[..object.len() / 2], &manifest.to_string())?;
    fs::write(place.join("alone.o"), &object)?;
    fs::write(place.parent().context("a parent")?.join("outside.o"), &object)?;
    symlink("../outside.o", place.join("out.o"))?;
    Ok(())
}

#[test]
fn what_is_wrong_with_a_file_is_one_line_that_names_it() -> Result<()> {
    let directory = directory()?;
    let place = directory.path();
    spoil(place)?;
    let scene = start(&directory)?;
    let show = |file: &str| place.join(file).display().to_string();
    for (uri, expected) in [
        ("none.o", "there is no file `none.o` in ".to_owned()),
        ("../outside.o", "there is no file `../outside.o` in ".to_owned()),
        ("out.o", format!("{} leads out of its directory", show("out.o"))),
        ("text.o", format!("{}: it is not an ELF object", show("text.o"))),
        ("half.o", format!("{}:3:11: it is not valid JSON: expected value", show("half.json"))),
        ("name.o", format!("{}:1:", show("name.json"))),
        ("alone.o", format!("{}: it has no manifest: write {}", show("alone.o"), show("alone.json"))),
        (
            "leaf.o",
            format!(
                "{}: `min-ttl` of the configuration: the object has no global variable `max_ttl`",
                show("leaf.json")
            ),
        ),
        (
            "wide.o",
            format!(
                "{}: `min-ttl` of the configuration: its `maximum` is 300, and the object's type goes from 0 to 255",
                show("wide.json")
            ),
        ),
        (
            "words.o",
            format!(
                "{}: service `bad` cannot be used: `loglevel` of its configuration is a word of the host's own",
                show("words.json")
            ),
        ),
        (
            "metric.o",
            format!(
                "{}: service `bad` cannot be used: `hits/packets` of its state is the metric `bad_packets_total`, and so is \
                 `seen`: give each a name of its own",
                show("metric.json")
            ),
        ),
        ("cut.o", format!("{}: it ends early: copy or compile it again", show("cut.o"))),
        ("ring.o", format!("{}: the map `events` is a RINGBUF", show("ring.o"))),
    ] {
        let line = scene.daemon.ctl(&format!("services add type=object uri={uri} name=bad")).one_line(2);
        assert!(line.contains(&expected), "{uri}: {line}");
    }
    fs::remove_file(place.parent().context("a parent")?.join("outside.o"))?;
    Ok(())
}

#[test]
fn a_name_that_a_service_cannot_have_is_one_line_that_says_why() -> Result<()> {
    let directory = directory()?;
    let scene = start(&directory)?;
    for (name, words) in [
        ("simplebridge", "service `simplebridge` is already loaded"),
        ("cubes", "its name is a word of the API or of the command line"),
        ("br1", "`br1` is the name of a cube"),
    ] {
        let line = scene.daemon.ctl(&format!("services add type=object uri=guard.o name={name}")).one_line(2);
        assert!(line.contains(words), "{name}: {line}");
    }
    Ok(())
}
