//! Does Debian's Prometheus scrape the daemon as docs/running.md says, and can it evaluate our alerts and the dashboard?

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use polycube_tests::http::exchange;
use polycube_tests::lab::Namespace;
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};
use serde_json::Value;
use tempfile::TempDir;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const TOKENS: &str = "[[token]]\nname = \"prometheus\"\nrole = \"read\"\ntoken = \"of-prometheus\"\n";

/// A program of Prometheus': on the `PATH`, or where `./x test` puts it.
fn program(name: &str) -> Result<PathBuf> {
    let fetched = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../tools/prometheus/usr/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain([fetched]).map(|directory| directory.join(name));
    found.into_iter().find(|program| program.exists()).with_context(|| {
        format!("{name} is missing: ./x test fetches it; by hand, apt-get download prometheus and dpkg-deb -x into target/tools/prometheus")
    })
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(REPOSITORY).join(path)).with_context(|| format!("cannot read {path}"))
}

/// Runs `promtool` and returns what it prints, remarks included.
fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program("promtool")?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    // 3 says that there are remarks.
    ensure!(matches!(output.status.code(), Some(0 | 3)), "promtool {arguments:?}: {text}");
    Ok(text)
}

/// The files that the page names, and the daemon's arguments for them.
struct Files(TempDir);

impl Files {
    fn make() -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        files.write("polycube-ca.pem", &made.cert.pem())?;
        files.write("daemon.key", &made.signing_key.serialize_pem())?;
        files.write("tokens.toml", TOKENS)?;
        files.write("polycube.token", "of-prometheus")?;
        Ok(files)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.path(name), text)?;
        Ok(fs::set_permissions(self.path(name), Permissions::from_mode(0o600))?)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn arguments(&self) -> Vec<String> {
        let (cert, key, tokens) = (self.path("polycube-ca.pem"), self.path("daemon.key"), self.path("tokens.toml"));
        ["--addr", "127.0.0.1", "--cert", &cert, "--key", &key, "--token-file", &tokens].map(str::to_owned).into()
    }

    /// The page's configuration, for this daemon, with our alerts.
    fn configure(&self) -> Result<()> {
        let page = read("docs/running.md")?;
        let block =
            page.split("```yaml\n").find(|block| block.starts_with("scrape_configs:")).context("no such block")?;
        let block = block.split("```").next().unwrap_or_default();
        let directory = format!("{}/", self.0.path().display());
        let block = block.replace("/etc/prometheus/", &directory).replace("192.0.2.1", "127.0.0.1");
        let rules = format!("{REPOSITORY}/packaging/monitoring/polycube.rules.yml");
        let global = "global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}";
        self.write("prometheus.yml", &format!("{global}\nrule_files: [{rules:?}]\n{block}"))
    }
}

/// A running Prometheus, which ends with this.
struct Prometheus {
    child: Child,
    host: Namespace,
}

impl Prometheus {
    fn start(host: &Namespace, files: &Files) -> Result<Self> {
        let mut command = host.command(&program("prometheus")?);
        command.arg(format!("--config.file={}", files.path("prometheus.yml")));
        command.arg(format!("--storage.tsdb.path={}", files.path("data")));
        command.arg("--web.listen-address=127.0.0.1:9090");
        let log = fs::File::create(files.path("log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let prometheus = Self { child: child.context("cannot start prometheus")?, host: host.clone() };
        eventually("Prometheus", || Ok(prometheus.get("status/buildinfo").is_ok()))
            .with_context(|| fs::read_to_string(files.path("log")).unwrap_or_default())?;
        Ok(prometheus)
    }

    /// What its API answers.
    fn get(&self, path: &str) -> Result<Value> {
        let stream = self.host.enter(|| TcpStream::connect("127.0.0.1:9090"))?;
        let mut reply = exchange(stream, &[("host", "127.0.0.1:9090")], "GET", &format!("/api/v1/{path}"), None)?;
        let mut text = String::new();
        reply.body.read_to_string(&mut text)?;
        ensure!(reply.status == 200, "{path}: {text}");
        Ok(serde_json::from_str::<Value>(&text)?["data"].take())
    }

    /// The result of an expression.
    fn query(&self, expression: &str) -> Result<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        Ok(self.get(&format!("query?query={encoded}"))?["result"].take())
    }

    /// Our alerts, each with its state and its health.
    fn alerts(&self) -> Result<Vec<(String, String, String)>> {
        let rules = self.get("rules")?;
        let rules = rules["groups"][0]["rules"].as_array().context("no rules")?.clone();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(rules.iter().map(|rule| (text(&rule["name"]), text(&rule["state"]), text(&rule["health"]))).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn debians_prometheus_scrapes_evaluates_and_alerts() -> Result<()> {
    let files = Files::make()?;
    files.configure()?;
    let mut scene = Scene::set_up().peers(2).arguments(files.arguments()).bridge().start()?;
    scene.sniff("capture=ingress");
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 10);
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("ten packets", || Ok(scene.counter("captured")? >= 10))?;
    let prometheus = Prometheus::start(scene.lab.host(), &files)?;
    eventually("a scrape", || Ok(prometheus.query("up{job=\"polycube\"}")?[0]["value"][1] == "1"))?;
    let captured = prometheus.query("packetcapture_captured_packets_total{cubeName=\"sniffer\"}")?;
    let counted = scene.counter("captured")?.to_string();
    assert_eq!(captured[0]["value"][1], counted, "{captured}");
    eventually("eight alerts that are quiet", || {
        let alerts = prometheus.alerts()?;
        Ok(alerts.len() == 8 && alerts.iter().all(|(_, state, health)| state == "inactive" && health == "ok"))
    })?;
    let dashboard: Value = serde_json::from_str(&read("packaging/monitoring/polycube-dashboard.json")?)?;
    let mut asked = 0;
    for target in dashboard["panels"].as_array().context("panels")?.iter().flat_map(|panel| panel["targets"].as_array())
    {
        for target in target {
            let expression = target["expr"].as_str().context("an expression")?;
            let expression = expression.replace("$instance", ".*").replace("$cube", ".*");
            let expression = expression.replace("$__rate_interval", "5s");
            eventually(&expression, || {
                Ok(prometheus.query(&expression)?.as_array().is_some_and(|rows| !rows.is_empty()))
            })?;
            asked += 1;
        }
    }
    assert!(asked >= 20, "{asked} expressions");
    scene.daemon.kill9()?;
    eventually("an alert", || {
        Ok(prometheus.alerts()?.iter().any(|(name, state, _)| name == "PolycubeDown" && state == "pending"))
    })
}

#[test]
fn promtool_accepts_metrics_and_alerts() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    let metrics = scene.daemon.http("GET", "/metrics", None)?.ok().text();
    let remarks = promtool(&["check", "metrics"], &metrics)?;
    // The label `cubeName` is Polycube's.
    let others: Vec<_> =
        remarks.lines().filter(|line| !line.contains("label names should be written in 'snake_case'")).collect();
    ensure!(others.is_empty(), "{others:#?}");
    let rules = Path::new(REPOSITORY).join("packaging/monitoring/polycube.rules.yml");
    let said = promtool(&["check", "rules", rules.to_str().context("UTF-8")?], "")?;
    ensure!(said.contains("SUCCESS: 8 rules found"), "{said}");
    Ok(())
}
