//! `GET /metrics`: what the daemon counts of itself, and what services declare as metrics, in Prometheus's text format
//! 0.0.4.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

use crate::engine::View;
use crate::problem::Problem;
use crate::rest::call::Content;
use crate::rest::context::{Context, blocking};
use crate::rest::statistics::{Outcome, Statistics};
use crate::schema::PORTS;
use crate::schema::metric::{Metric, MetricKind, Sample};
use crate::topology::{Cube, CubeName, Role};

/// Media type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Name of the label that identifies a cube, as in Polycube.
const CUBE: &str = "cubeName";

pub(crate) async fn all(context: Context) -> Result<Content, Problem> {
    let text = blocking(move || {
        let (samples, ring_bytes) = samples(&context.view);
        Ok(own(&context.view, &context.statistics, ring_bytes) + &samples)
    })
    .await?;
    Ok(Content::Text { media_type: TEXT, text })
}

/// The memory of all rings: the sum of the metrics that say that they are parts of it.
const RING_BYTES: &str = "polycube_ring_bytes";

/// The daemon's own families.
fn own(view: &View, statistics: &Statistics, ring_bytes: u64) -> String {
    let attachments: usize = view.topology.chains().map(|(_, chain)| chain.len()).sum();
    let (refused, failed) = (statistics.of(Outcome::Refused), statistics.of(Outcome::Failed));
    let version = env!("CARGO_PKG_VERSION");
    let mut text = String::new();
    for (name, kind, help, samples) in [
        (
            "polycube_build_info",
            "gauge",
            "The version of the daemon, as a label",
            vec![(format!("{{version=\"{version}\"}}"), "1".to_owned())],
        ),
        (
            "polycube_uptime_seconds",
            "gauge",
            "Time since the daemon started",
            vec![(String::new(), format!("{:.3}", statistics.uptime().as_secs_f64()))],
        ),
        (
            "polycube_changes_total",
            "counter",
            "Changes that clients asked for and got",
            vec![(String::new(), statistics.of(Outcome::Made).to_string())],
        ),
        (
            "polycube_errors_total",
            "counter",
            "Changes that clients asked for and did not get: refused, or failed in the daemon or a plugin",
            vec![
                ("{kind=\"refused\"}".to_owned(), refused.to_string()),
                ("{kind=\"failed\"}".to_owned(), failed.to_string()),
            ],
        ),
        (
            "polycube_attachments",
            "gauge",
            "Places where transparent cubes are attached",
            vec![(String::new(), attachments.to_string())],
        ),
        (RING_BYTES, "gauge", "What the rings of all cubes may take up", vec![(String::new(), ring_bytes.to_string())]),
    ] {
        // Writing to a string does not fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

/// Asks every cube once, and says how much the rings of all of them are. A cube that does not answer has no samples; its
/// `show` and the log say why.
fn samples(view: &View) -> (String, u64) {
    let (mut text, mut ring_bytes) = (String::new(), 0);
    for (service, found) in view.registry.services() {
        let metrics = &found.model.metrics;
        let cubes = view.topology.cubes().filter(|(_, cube)| !metrics.is_empty() && cube.service == service);
        let state = |(name, cube): (&'_ CubeName, &Arc<Cube>)| {
            let mut state = view.instances[name].state().ok()?;
            keep_ports(&mut state, cube);
            Some(state)
        };
        let states: Vec<_> = cubes.filter_map(|each| Some((each.0.as_str(), state(each)?))).collect();
        for metric in metrics {
            let samples = states.iter().flat_map(|(cube, state)| metric.samples(state).into_iter().map(|s| (*cube, s)));
            let samples: Vec<_> = samples.collect();
            if metric.total.as_deref() == Some(RING_BYTES) {
                ring_bytes += samples.iter().filter_map(|(_, one)| one.value.parse::<u64>().ok()).sum::<u64>();
            }
            family(&mut text, metric, samples.into_iter());
        }
    }
    (text, ring_bytes)
}

/// Removes what a state says of ports that do not exist.
fn keep_ports(state: &mut Value, cube: &Cube) {
    let Role::Standard(there) = &cube.role else { return };
    if let Some(ports) = state.get_mut(PORTS).and_then(Value::as_array_mut) {
        ports.retain(|entry| entry["name"].as_str().is_some_and(|name| there.contains_key(name)));
    }
}

fn family<'a>(text: &mut String, metric: &Metric, samples: impl Iterator<Item = (&'a str, Sample<'a>)>) {
    let mut samples = samples.peekable();
    if samples.peek().is_none() {
        return;
    }
    let Metric { name, help, kind, .. } = metric;
    let kind = match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
    };
    // Writing to a string does not fail.
    let _ = write!(text, "# HELP {name} {}\n# TYPE {name} {kind}\n", help.replace('\\', r"\\").replace('\n', r"\n"));
    for (cube, Sample { labels, value }) in samples {
        let _ = write!(text, "{name}{{{CUBE}=\"{}\"", escaped(cube));
        for (label, value) in labels {
            let _ = write!(text, ",{label}=\"{}\"", escaped(&value));
        }
        let _ = writeln!(text, "}} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::{ServiceKind, ServiceSchema};
    use serde_json::json;

    use super::*;
    use crate::rest::fixture;
    use crate::schema::metric::declared;

    #[test]
    fn the_daemon_counts_changes_errors_and_attachments() {
        let statistics = Statistics::new();
        for outcome in [Outcome::Made, Outcome::Made, Outcome::Refused] {
            statistics.count(outcome);
        }
        let text = own(&View::of(fixture::model(), &fixture::facts()), &statistics, 4096);
        let samples: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.contains("uptime")).collect();
        let version = format!("polycube_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            samples,
            [
                version.as_str(),
                "polycube_changes_total 2",
                "polycube_errors_total{kind=\"refused\"} 1",
                "polycube_errors_total{kind=\"failed\"} 0",
                "polycube_attachments 1",
                "polycube_ring_bytes 4096"
            ]
        );
    }

    #[test]
    fn a_family_is_in_one_piece_and_escaped() {
        let keyword = json!({ "name": "s_n", "type": "gauge" });
        let leaf = json!({ "type": "integer", "description": "One\\two\nthree", "x-metric": keyword });
        let items = json!({ "type": "object", "properties": { "port": {}, "n": leaf } });
        let state = json!({ "properties": { "l": { "type": "array", "x-list-key": "port", "items": items } } });
        let schema = ServiceSchema::new("s", ServiceKind::Standard, json!({}), state);
        let metric = declared(&schema).unwrap().remove(0);
        let state = json!({ "l": [{ "port": "a\"\\\n", "n": 5 }] });
        let mut text = String::new();
        family(
            &mut text,
            &metric,
            [("c1", &state), ("c2", &state)]
                .into_iter()
                .flat_map(|(cube, state)| metric.samples(state).into_iter().map(move |sample| (cube, sample))),
        );
        let expected = "# HELP s_n One\\\\two\\nthree\n# TYPE s_n gauge\n\
            s_n{cubeName=\"c1\",port=\"a\\\"\\\\\\n\"} 5\ns_n{cubeName=\"c2\",port=\"a\\\"\\\\\\n\"} 5\n";
        assert_eq!(text, expected);
        family(&mut text, &metric, std::iter::empty());
        assert_eq!(text, expected, "a family without samples is left out");
    }
}
