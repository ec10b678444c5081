//! Does a scrape show what the cubes count, and change nothing?

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use polycube_tests::scene::{Scene, eventually};
use polycube_tests::traffic::{Protocol, Sender};

/// The values of a page in Prometheus' text format, by `name{labels}`.
fn scrape(scene: &Scene, path: &str) -> Result<BTreeMap<String, f64>> {
    let response = scene.daemon.http("GET", path, None)?.ok();
    let kind = response.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = response.text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').with_context(|| format!("no sample: {line}"))?;
            Ok((name.to_owned(), value.parse().with_context(|| format!("no value: {line}"))?))
        })
        .collect()
}

#[test]
fn a_scrape_has_the_values_that_show_prints() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    scene.daemon.ctl("packetcapture add idle").ok();
    let frames = scene.flow(1, 2).frames(Protocol::Udp, 100, 10);
    Sender::open(scene.peer(1))?.send(&frames)?;
    eventually("ten packets", || Ok(scene.counter("captured")? >= 10))?;
    // The file follows the counters, and what is shown of it follows the file.
    eventually("the file", || Ok(scene.files()?.first().is_some_and(|file| file.packets == 10)))?;
    let before = scene.daemon.snapshot()?;
    let metrics = scrape(&scene, "/polycube/v1/metrics")?;
    for (counter, metric) in [("seen", "seen_packets"), ("captured", "captured_packets"), ("bytes", "captured_bytes")] {
        let name = format!("packetcapture_{metric}_total{{cubeName=\"sniffer\"}}");
        assert_eq!(metrics.get(&name).copied(), Some(scene.counter(counter)? as f64), "{name} of {metrics:?}");
    }
    assert_eq!(metrics["packetcapture_seen_packets_total{cubeName=\"idle\"}"], 0.0);
    assert!(metrics["simplebridge_port_in_packets_total{cubeName=\"br1\",port=\"toveth1\"}"] >= 10.0, "{metrics:?}");
    assert!(metrics.contains_key("simplebridge_fdb_entries{cubeName=\"br1\"}"), "{metrics:?}");
    assert_eq!(scrape(&scene, "/metrics")?.into_keys().collect::<Vec<_>>(), metrics.into_keys().collect::<Vec<_>>());
    assert_eq!(scene.daemon.snapshot()?, before, "a scrape changed something");
    Ok(())
}

#[test]
fn a_daemon_without_cubes_counts_what_it_is_asked() -> Result<()> {
    let scene = Scene::set_up().start()?;
    let daemon = &scene.daemon;
    let own = |metrics: &BTreeMap<String, f64>| {
        let values = ["polycube_changes_total", "polycube_errors_total{kind=\"refused\"}", "polycube_attachments"]
            .map(|name| metrics[name]);
        assert!(metrics.keys().all(|name| name.starts_with("polycube_")), "{metrics:?}");
        values
    };
    let metrics = scrape(&scene, "/metrics")?;
    assert_eq!(own(&metrics), [0.0; 3]);
    assert!(metrics.iter().any(|(name, value)| name.starts_with("polycube_build_info{version=") && *value == 1.0));
    assert!(metrics["polycube_uptime_seconds"] > 0.0);
    daemon.ctl("simplebridge add br1").ok();
    assert_eq!(daemon.ctl("simplebridge add br1").code, Some(2));
    daemon.ctl("del br1").ok();
    let metrics = scrape(&scene, "/metrics")?;
    assert_eq!(own(&metrics), [2.0, 1.0, 0.0]);
    assert_eq!(daemon.http("POST", "/metrics", None)?.status, 405);
    assert_eq!(daemon.http("GET", "/metrics/more", None)?.status, 404);
    Ok(())
}

/// The metrics that a file speaks of: words that begin with the name of the daemon or of a service.
fn names_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words
        .filter(|word| ["polycube_", "packetcapture_", "simplebridge_"].iter().any(|prefix| word.starts_with(prefix)))
        .collect()
}

/// An alert on a metric that does not exist never fires.
#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() -> Result<()> {
    let scene = Scene::bridge(2)?;
    scene.sniff("capture=ingress");
    let metrics = scene.daemon.http("GET", "/metrics", None)?.ok().text();
    let declared: BTreeSet<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring");
    let read = |name: &str| fs::read_to_string(directory.join(name)).with_context(|| format!("cannot read {name}"));
    let (rules, dashboard) = (read("polycube.rules.yml")?, read("polycube-dashboard.json")?);
    for text in [&rules, &dashboard] {
        let unknown: Vec<_> = names_in(text).into_iter().filter(|name| !declared.contains(name)).collect();
        assert!(unknown.is_empty(), "not in /metrics: {unknown:?}");
        assert!(names_in(text).len() >= 5, "{text}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard)?;
    let panels = dashboard["panels"].as_array().context("panels")?;
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have the same id");
    assert!(panels.iter().all(|panel| panel["targets"][0]["expr"].is_string()), "{dashboard}");
    // What Grafana's schema asks for (jsonschema/dashboard.jsonschema.json in grafana-foundation-sdk).
    assert!(dashboard["annotations"]["list"].is_array());
    let variables = dashboard["templating"]["list"].as_array().context("variables")?;
    assert!(variables.iter().all(|variable| variable["query"].is_string()), "{variables:?}");
    Ok(())
}
