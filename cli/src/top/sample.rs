//! What is counted at one moment, and the rates between two.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use crate::quantity;
use crate::show::{Paper, Table};
use crate::terminal::escape;

/// All captures and ports at one moment.
pub(super) struct Sample {
    at: Instant,
    captures: Vec<Row>,
    ports: Vec<Row>,
    with_ports: Vec<String>,
}

/// A line of a table.
struct Row {
    name: String,
    place: String,
    status: String,
    /// By name, as the daemon has them.
    counters: BTreeMap<&'static str, u64>,
}

/// What the list of cubes has of a capture: a service that counts packets puts it there.
const OF_CAPTURE: [&str; 3] = ["packets", "bytes", "drops"];
/// What every port has.
const OF_PORT: [&str; 4] = ["in-packets", "in-bytes", "out-packets", "out-bytes"];

impl Sample {
    /// Of the list of cubes, by service.
    pub(super) fn new(at: Instant, cubes: &Value) -> Self {
        let cubes = cubes.as_object().into_iter().flat_map(|services| services.values());
        let cubes: Vec<&Value> = cubes.filter_map(Value::as_array).flatten().collect();
        let captures = cubes.iter().filter(|cube| cube["packets"].is_u64());
        let has_ports = |cube: &&&Value| cube["ports"].as_array().is_some_and(|ports| !ports.is_empty());
        Self {
            at,
            captures: captures.map(|cube| Row::new(text(cube, "name"), cube, "parent", &OF_CAPTURE, cube)).collect(),
            ports: Vec::new(),
            with_ports: cubes.iter().filter(has_ports).map(|cube| text(cube, "name")).collect(),
        }
    }

    /// The cubes whose ports are of interest.
    pub(super) fn with_ports(&self) -> Vec<String> {
        self.with_ports.clone()
    }

    pub(super) fn add_ports(&mut self, cube: &str, ports: &Value) {
        let ports = ports.as_array().into_iter().flatten();
        self.ports.extend(
            ports.map(|port| {
                Row::new(format!("{cube}:{}", text(port, "name")), port, "peer", &OF_PORT, &port["counters"])
            }),
        );
    }

    /// Tables of what there is now, with what has changed since `before`.
    pub(super) fn tables(&self, before: &Self, paper: &Paper) -> String {
        let seconds = self.at.saturating_duration_since(before.at).as_secs_f64().max(1e-3);
        let mut out = String::new();
        let captures = self.captures.iter().map(|row| {
            let rate = row.rates(&before.captures, seconds);
            let count = |name| row.counters.get(name).map_or_else(String::new, u64::to_string);
            vec![
                ("packets", count("packets")),
                ("packets/s", rate.packets("packets")),
                ("bytes/s", rate.bytes("bytes")),
                ("drops", count("drops")),
                ("drops/s", rate.packets("drops")),
            ]
        });
        table(["capture", "place"], &self.captures, captures, paper, &mut out);
        let ports = self.ports.iter().map(|row| {
            let rate = row.rates(&before.ports, seconds);
            vec![
                ("in packets/s", rate.packets("in-packets")),
                ("in bytes/s", rate.bytes("in-bytes")),
                ("out packets/s", rate.packets("out-packets")),
                ("out bytes/s", rate.bytes("out-bytes")),
            ]
        });
        if !self.captures.is_empty() && !self.ports.is_empty() {
            out.push('\n');
        }
        table(["port", "peer"], &self.ports, ports, paper, &mut out);
        if out.is_empty() { "neither captures nor ports\n".to_owned() } else { out }
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn table(
    [what, place]: [&str; 2],
    rows: &[Row],
    cells: impl Iterator<Item = Vec<(&'static str, String)>>,
    paper: &Paper,
    out: &mut String,
) {
    let mut table = Table::default();
    for (at, (row, cells)) in rows.iter().zip(cells).enumerate() {
        table.put(at, what, escape(&row.name));
        table.put(at, place, escape(&row.place));
        table.put(at, "status", escape(&row.status));
        cells.into_iter().for_each(|(title, cell)| table.put(at, title, cell));
    }
    table.print(0, paper, out);
}

impl Row {
    fn new(name: String, value: &Value, place: &str, counters: &[&'static str], of: &Value) -> Self {
        let counters = counters.iter().filter_map(|name| Some((*name, of[*name].as_u64()?))).collect();
        Self { name, place: text(value, place), status: text(value, "status"), counters }
    }

    /// What has been counted since `before`.
    fn rates(&self, before: &[Self], seconds: f64) -> Rates {
        let then = before.iter().find(|row| row.name == self.name);
        let change = |(name, now): (&&'static str, &u64)| {
            // Another cube may have got the name since.
            Some((*name, now.checked_sub(*then?.counters.get(name)?)? as f64 / seconds))
        };
        Rates(self.counters.iter().filter_map(change).collect())
    }
}

/// Changes in a second, where they are known.
struct Rates(BTreeMap<&'static str, f64>);

impl Rates {
    fn packets(&self, name: &str) -> String {
        self.0.get(name).map_or_else(String::new, |rate| format!("{rate:.0}"))
    }

    fn bytes(&self, name: &str) -> String {
        self.0.get(name).map_or_else(String::new, |rate| quantity::rate(*rate))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn sample(at: Instant, packets: u64, received: u64) -> Sample {
        let cubes = json!({
            "simplebridge": [{ "name": "br1", "ports": [{ "name": "p" }] }, { "name": "br2", "ports": [] }],
            "packetcapture": [{ "name": "s", "parent": "veth1", "status": "capturing", "packets": packets, "drops": 0 }],
            "span": [{ "name": "m" }],
        });
        let mut sample = Sample::new(at, &cubes);
        assert_eq!(sample.with_ports(), ["br1"]);
        let counters = json!({ "in-packets": received, "in-bytes": received * 1000, "out-packets": 0, "out-bytes": 0 });
        sample.add_ports("br1", &json!([{ "name": "p", "peer": "veth2", "status": "UP", "counters": counters }]));
        sample
    }

    #[test]
    fn rates_are_what_has_changed() {
        let then = Instant::now();
        let before = sample(then, 10, 100);
        let now = sample(then + Duration::from_secs(2), 50, 2_100);
        let expected = "\
capture  place  status     packets  packets/s  bytes/s  drops  drops/s
s        veth1  capturing  50       20                  0      0

port   peer   status  in packets/s  in bytes/s  out packets/s  out bytes/s
br1:p  veth2  UP      1000          1 MB/s      0              0 B/s
";
        assert_eq!(now.tables(&before, &None.into()), expected);
        // A cube that was deleted and made again has counted less.
        assert!(
            before.tables(&now, &None.into()).contains("s        veth1  capturing  10                           0")
        );
        let nothing = Sample::new(then, &json!({}));
        assert_eq!(nothing.tables(&nothing, &None.into()), "neither captures nor ports\n");
    }
}
