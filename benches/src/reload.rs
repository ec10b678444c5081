//! What it costs to load a plugin into a daemon that runs, and to exchange its code under traffic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use polycube_tests::daemon::{binary_dir, plugin_dir};
use polycube_tests::scene::{Scene, Watched};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::create;
use crate::figures::Samples;
use crate::report::{Cell, Row, Table};

const SERVICE: &str = "simplebridge";

/// What the plugin's file has, and each other build has something else instead of.
const TEXT: &str = "Learning switch";

/// What a build id follows: the lengths of its owner's name and its own, its type, and the name (gABI, "Note Section").
const BUILD_ID: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// Cubes whose code is exchanged.
const CUBES: usize = 100;

/// A daemon with plugins of its own, and how long a change takes that loads nothing.
struct Subject {
    scene: Scene,
    plugins: TempDir,
    plain: Samples,
    builds: usize,
}

pub(crate) fn run(rounds: usize) -> Result<Table> {
    let mut subject = Subject::start()?;
    for _ in 0..rounds {
        subject.settle()?;
    }
    let mut rows = vec![subject.row("a change that loads nothing: a log level, ms", &subject.plain)];
    rows.extend(loaded(&mut subject, rounds)?);
    rows.extend(reloaded(&mut subject, rounds)?);
    Ok(Table {
        bench: "reload",
        what: String::from("Plugins in a daemon that runs, over REST; the ratio is to a change that loads nothing"),
        columns: vec!["figure", "ratio"],
        rows,
    })
}

impl Subject {
    fn start() -> Result<Self> {
        let plugins = plugin_dir(&[])?;
        let objects = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/objects");
        for file in ["guard.o", "guard.json"] {
            fs::copy(objects.join(file), plugins.path().join(file))?;
        }
        let argument = plugins.path().display().to_string();
        let scene = Scene::set_up().peers(2).arguments(["--plugin-dir", &argument]).bridge().start()?;
        Ok(Self { scene, plugins, plain: Samples::default(), builds: 0 })
    }

    /// How long a request takes, in ms.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<f64> {
        let began = Instant::now();
        let answer = self.scene.daemon.http(method, &format!("/polycube/v1/{path}/"), body)?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        ensure!((200..300).contains(&answer.status), "{method} {path}: {}: {}", answer.status, answer.text());
        Ok(took)
    }

    fn settle(&mut self) -> Result<()> {
        let level = if self.plain.all().len().is_multiple_of(2) { "DEBUG" } else { "INFO" };
        let took = self.request("PATCH", "br1/loglevel", Some(&json!(level)))?;
        self.plain.push(took);
        Ok(())
    }

    fn row(&self, name: &str, took: &Samples) -> Row {
        let ratio = took.median() / self.plain.median();
        Row { name: name.to_owned(), cells: vec![Cell::of(took, 1), Cell::number(ratio, 2)] }
    }

    /// Another build of the plugin, as far as the daemon can tell.
    fn build(&mut self, name: &str) -> Result<PathBuf> {
        self.builds += 1;
        let mut code = fs::read(binary_dir()?.join(format!("libpcn_{SERVICE}.so")))?;
        let place = |bytes: &[u8]| code.windows(bytes.len()).position(|found| found == bytes);
        let at = place(TEXT.as_bytes()).context("the description")?;
        let id = place(BUILD_ID).context("the build id")? + BUILD_ID.len();
        code[id..id + 4].copy_from_slice(&(self.builds as u32).to_ne_bytes());
        code[at..at + TEXT.len()].copy_from_slice(format!("{:0width$}", self.builds, width = TEXT.len()).as_bytes());
        let path = self.plugins.path().join(name);
        if path.exists() {
            fs::remove_file(&path)?;
        }
        fs::write(&path, code)?;
        Ok(path)
    }
}

/// `services add`: of a library that the process does not have yet, and of an object.
fn loaded(subject: &mut Subject, rounds: usize) -> Result<Vec<Row>> {
    subject.request("DELETE", "br1", None)?;
    let (mut library, mut object) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        subject.request("DELETE", &format!("services/{SERVICE}"), None)?;
        subject.build("bench.so")?;
        let body = json!({ "type": "lib", "uri": "bench.so", "name": SERVICE });
        library.push(subject.request("POST", "services", Some(&body))?);
        let body = json!({ "type": "object", "uri": "guard.o", "name": "guard" });
        object.push(subject.request("POST", "services", Some(&body))?);
        subject.request("DELETE", "services/guard", None)?;
    }
    Ok(vec![
        subject.row("`services add` of a plugin, another file each time, ms", &library),
        subject.row("`services add` of an object and its manifest, ms", &object),
    ])
}

fn reloaded(subject: &mut Subject, rounds: usize) -> Result<Vec<Row>> {
    let body = |port: &str| json!({ "name": port, "peer": port.replace("to", "") });
    let ports = json!({ "ports": [body("toveth1"), body("toveth2")] });
    subject.request("POST", &format!("{SERVICE}/br1"), Some(&ports))?;
    let mut rows = Vec::new();
    for cubes in [1, CUBES] {
        for number in 1..cubes {
            create(&subject.scene.daemon, &format!("b{number}"))?;
        }
        let watched = Watched::start(&subject.scene)?;
        let mut took = Samples::default();
        for _ in 0..rounds {
            subject.build("bench.so")?;
            took.push(subject.request("POST", &format!("services/{SERVICE}/reload"), Some(&json!({})))?);
        }
        let sent = watched.stop()?;
        let what = format!("`services reload`, {cubes} {}", if cubes == 1 { "bridge" } else { "bridges" });
        rows.push(subject.row(&format!("{what}, {sent} frames, none lost, ms"), &took));
    }
    Ok(rows)
}
