//! Metrics that a service declares in the schema of its state: found once, then read from each cube's state. Pure.

use polycube_plugin_api::{ServiceSchema, keyword};
use serde::Deserialize;
use serde_json::Value;

use super::node::Node;
use super::port::PORTS;

/// What a metric's value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    Counter,
    Gauge,
}

/// A metric of a service.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    pub help: String,
    pub kind: MetricKind,
    /// The metric of the daemon's own that is the sum of this one over all cubes, if the daemon has it.
    pub total: Option<String>,
    path: Vec<Step>,
}

/// One step from a state to a leaf.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Member(String),
    /// Into each entry of a list: the members of its key, and the labels that they are.
    Each(Vec<(String, String)>),
}

/// A value of a metric, with the labels that distinguish it from others of its cube.
#[derive(Debug, PartialEq)]
pub struct Sample<'a> {
    pub labels: Vec<(&'a str, String)>,
    pub value: String,
}

/// The keyword's value.
#[derive(Deserialize)]
struct Declared {
    name: String,
    r#type: MetricKind,
    total: Option<String>,
}

/// A declaration that cannot be used, by its place in the state.
#[derive(Debug, thiserror::Error)]
pub enum MetricError {
    #[error(
        "`{place}` of its state is the metric {name:?}: give it a name that begins with `{prefix}`, of ASCII letters, digits \
         and `_`"
    )]
    Name { place: String, name: String, prefix: String },
    #[error("`{place}` of its state is the metric `{name}`, and so is `{first}`: give each a name of its own")]
    Twice { place: String, name: String, first: String },
    #[error(
        "`{place}` of its state is the metric `{name}`, and the lists `{outer}` and `{inner}` on its path both make the label \
         `{label}` of their keys: rename the key of one list"
    )]
    Labels { place: String, name: String, label: String, outer: String, inner: String },
    #[error(
        "`{place}` of its state has the `{}` {given}, which is not a name and a type: make it {{\"name\": \"…\", \"type\": \
         \"counter\"}}, or `gauge`: {source}",
        keyword::METRIC
    )]
    Keyword { place: String, given: Value, source: serde_json::Error },
    #[error(
        "`{place}` of its state is the metric `{name}` and of type {given}: make it a number or a boolean, or remove `{}`",
        keyword::METRIC
    )]
    Type { place: String, name: String, given: Value },
}

/// The metrics of a service.
///
/// # Errors
/// What is wrong with one of them.
pub fn declared(service: &ServiceSchema) -> Result<Vec<Metric>, MetricError> {
    let mut found = Vec::new();
    find(&service.state, &mut Vec::new(), &mut found)?;
    let prefix = format!("{}_", label(&service.name));
    for (index, metric) in found.iter().enumerate() {
        let name = &metric.name;
        let (place, known) = (|| place(&metric.path), |c: char| c.is_ascii_alphanumeric() || c == '_');
        if !name.starts_with(&prefix) || !name.chars().all(known) {
            return Err(MetricError::Name { place: place(), name: name.clone(), prefix });
        }
        if let Some(first) = found[..index].iter().find(|other| other.name == *name) {
            let first = self::place(&first.path);
            return Err(MetricError::Twice { place: place(), name: name.clone(), first });
        }
        if let Some((label, [outer, inner])) = metric.same_label() {
            let name = name.clone();
            return Err(MetricError::Labels { place: place(), name, label, outer, inner });
        }
    }
    Ok(found)
}

fn find(schema: &Value, path: &mut Vec<Step>, found: &mut Vec<Metric>) -> Result<(), MetricError> {
    let (step, below): (_, Vec<_>) = match Node::of(schema) {
        Node::List { key, schema } => {
            // A port is known by its name, which says little beside names of other things.
            let is_of_ports = matches!(path.as_slice(), [Step::Member(name)] if name == PORTS);
            let of = |name: &str| if is_of_ports { "port".to_owned() } else { label(name) };
            let step = Step::Each(key.names().map(|name| (name.to_owned(), of(name))).collect());
            (Some(step), schema["items"]["properties"].as_object().into_iter().flatten().collect())
        }
        _ => (None, schema["properties"].as_object().into_iter().flatten().collect()),
    };
    let depth = path.len();
    path.extend(step);
    for (name, member) in below {
        path.push(Step::Member(name.clone()));
        if let Some(keyword) = member.get(keyword::METRIC) {
            found.push(metric(member, keyword, path)?);
        }
        find(member, path, found)?;
        path.pop();
    }
    path.truncate(depth);
    Ok(())
}

fn metric(leaf: &Value, keyword: &Value, path: &[Step]) -> Result<Metric, MetricError> {
    let malformed = |source| MetricError::Keyword { place: place(path), given: keyword.clone(), source };
    let Declared { name, r#type: kind, total } = Declared::deserialize(keyword).map_err(malformed)?;
    let is_number = |kind: &Value| kind == "integer" || kind == "number" || kind == "boolean";
    let kinds = &leaf["type"];
    if !is_number(kinds) && !kinds.as_array().is_some_and(|kinds| kinds.iter().any(is_number)) {
        return Err(MetricError::Type { place: place(path), name, given: kinds.clone() });
    }
    let help = leaf["description"].as_str().unwrap_or_default().to_owned();
    Ok(Metric { name, help, kind, total, path: path.to_vec() })
}

/// The members on a path, as a request would name them.
fn place(path: &[Step]) -> String {
    let members = path.iter().filter_map(|step| match step {
        Step::Member(name) => Some(name.as_str()),
        Step::Each(_) => None,
    });
    members.collect::<Vec<_>>().join("/")
}

/// A label's name cannot have `-` or `.`.
fn label(name: &str) -> String {
    name.replace(['-', '.'], "_")
}

impl Metric {
    /// The first label that two keys on the path would be, and the places of their lists.
    fn same_label(&self) -> Option<(String, [String; 2])> {
        let mut seen: Vec<(&str, usize)> = Vec::new();
        for (depth, step) in self.path.iter().enumerate() {
            let Step::Each(members) = step else { continue };
            for (_, label) in members {
                if let Some((_, first)) = seen.iter().find(|(other, _)| other == label) {
                    return Some((label.clone(), [*first, depth].map(|depth| place(&self.path[..depth]))));
                }
                seen.push((label, depth));
            }
        }
        None
    }

    /// The metric's values in `state`.
    pub fn samples(&self, state: &Value) -> Vec<Sample<'_>> {
        let mut places = vec![(Vec::new(), state)];
        for step in &self.path {
            places = match step {
                Step::Member(name) => places
                    .into_iter()
                    .filter_map(|(labels, value)| value.get(name).map(|value| (labels, value)))
                    .collect(),
                Step::Each(members) => places
                    .into_iter()
                    .flat_map(|(labels, list)| {
                        list.as_array().into_iter().flatten().filter_map(move |entry| {
                            let mut labels = labels.clone();
                            for (member, label) in members {
                                let value = entry.get(member)?;
                                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                                labels.push((label.as_str(), text));
                            }
                            Some((labels, entry))
                        })
                    })
                    .collect(),
            };
        }
        let sample = |(labels, value): (_, &Value)| {
            let value = match value {
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => u8::from(*flag).to_string(),
                _ => return None,
            };
            Some(Sample { labels, value })
        };
        places.into_iter().filter_map(sample).collect()
    }
}

#[cfg(test)]
mod tests {
    use polycube_plugin_api::ServiceKind;
    use serde_json::json;

    use super::*;

    fn service(state: Value) -> ServiceSchema {
        ServiceSchema::new("a-b", ServiceKind::Standard, json!({ "type": "object", "properties": {} }), state)
    }

    fn leaf(name: &str) -> Value {
        json!({ "type": "integer", "description": "Help", "x-metric": { "name": name, "type": "counter" } })
    }

    fn list(key: &str, properties: &Value) -> Value {
        json!({ "type": "array", "x-list-key": key, "items": { "type": "object", "properties": properties } })
    }

    #[test]
    fn values_are_found_wherever_they_are() {
        let each = list("queue-id", &json!({ "queue-id": {}, "n": leaf("a_b_n_total") }));
        let tree = json!({ "properties": { "one": leaf("a_b_one_total"), "box": { "properties": { "each": each } } } });
        let metrics = declared(&service(tree)).unwrap();
        let state = json!({ "one": 18_446_744_073_709_551_615_u64, "box": { "each": [
            { "queue-id": 7, "n": 1 }, { "queue-id": "x", "n": true }, { "queue-id": 9, "n": null }, { "queue-id": 8 },
        ] } });
        let found: Vec<_> = metrics.iter().map(|metric| (metric.name.as_str(), metric.samples(&state))).collect();
        let of = |label: &str, value: &str| Sample { labels: vec![("queue_id", label.into())], value: value.into() };
        let one = Sample { labels: Vec::new(), value: "18446744073709551615".to_owned() };
        assert_eq!(found, [("a_b_one_total", vec![one]), ("a_b_n_total", vec![of("7", "1"), of("x", "1")])]);
        assert_eq!((metrics[0].help.as_str(), metrics[0].kind), ("Help", MetricKind::Counter));
        assert!(metrics.iter().all(|metric| metric.samples(&json!({})).is_empty()), "no state, no samples");
    }

    #[test]
    fn a_metric_may_count_towards_one_of_the_daemons() {
        let part = json!({ "name": "a_b_n", "type": "gauge", "total": "polycube_ring_bytes" });
        let tree = json!({ "properties": { "m": leaf("a_b_m"), "n": { "type": "integer", "x-metric": part } } });
        let totals = declared(&service(tree)).unwrap().into_iter().map(|metric| metric.total).collect::<Vec<_>>();
        assert_eq!(totals, [None, Some("polycube_ring_bytes".to_owned())]);
    }

    #[test]
    fn declarations_that_cannot_be() {
        let nested = list("k", &json!({ "k": {}, "below": list("k", &json!({ "k": {}, "n": leaf("a_b_n") })) }));
        let typed = |kind: &str| json!({ "type": kind, "x-metric": { "name": "a_b_n", "type": "gauge" } });
        let boxed =
            |keyword: Value| json!({ "box": { "properties": { "n": { "type": "integer", "x-metric": keyword } } } });
        let beside = json!({ "type": "array", "x-list-key": ["a-k", "a.k"], "items": { "type": "object", "properties": {
            "a-k": {}, "a.k": {}, "n": leaf("a_b_n"),
        } } });
        for (properties, reason) in [
            (
                json!({ "n": leaf("other_n") }),
                "`n` of its state is the metric \"other_n\": give it a name that begins with `a_b_`, of ASCII letters, digits \
                 and `_`",
            ),
            (json!({ "n": leaf("a_b_näh") }), "`n` of its state is the metric \"a_b_näh\": give it a name"),
            (
                json!({ "n": leaf("a_b_n"), "box": { "properties": { "m": leaf("a_b_n") } } }),
                "`box/m` of its state is the metric `a_b_n`, and so is `n`: give each a name of its own",
            ),
            (
                json!({ "n": typed("string") }),
                "`n` of its state is the metric `a_b_n` and of type \"string\": make it a number or a boolean, or remove \
                 `x-metric`",
            ),
            (
                boxed(json!({ "name": "a_b_n", "type": "sum" })),
                "`box/n` of its state has the `x-metric` {\"name\":\"a_b_n\",\"type\":\"sum\"}, which is not a name and a \
                 type: make it {\"name\": \"…\", \"type\": \"counter\"}, or `gauge`: unknown variant `sum`",
            ),
            (boxed(json!("a_b_n")), "`box/n` of its state has the `x-metric` \"a_b_n\", which"),
            (
                json!({ "list": nested }),
                "`list/below/n` of its state is the metric `a_b_n`, and the lists `list` and `list/below` on its path both \
                 make the label `k` of their keys: rename the key of one list",
            ),
            (json!({ "list": beside }), "the lists `list` and `list` on its path both make the label `a_k`"),
        ] {
            let found = declared(&service(json!({ "properties": properties }))).unwrap_err().to_string();
            assert!(found.contains(reason), "{found}");
        }
    }

    #[test]
    fn entries_of_lists_in_lists_have_the_labels_of_both() {
        let inner = list("queue", &json!({ "queue": {}, "n": leaf("a_b_n") }));
        let outer = list("port", &json!({ "port": {}, "queues": inner }));
        let metrics = declared(&service(json!({ "properties": { "ports": outer } }))).unwrap();
        let state = json!({ "ports": [
            { "port": "p", "queues": [{ "queue": 0, "n": 1 }, { "queue": 1, "n": 2.5 }] },
            { "port": "q", "queues": [] },
            { "port": "r" },
            { "queues": [{ "queue": 0, "n": 9 }] },
            { "port": "s", "queues": [{ "queue": 0, "n": "9" }] },
        ] });
        let found: Vec<_> = metrics[0]
            .samples(&state)
            .into_iter()
            .map(|Sample { labels, value }| {
                (labels.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" "), value)
            })
            .collect();
        assert_eq!(found, [("p 0".to_owned(), "1".to_owned()), ("p 1".to_owned(), "2.5".to_owned())]);
        let labels = metrics[0].samples(&state)[0].labels.iter().map(|(label, _)| *label).collect::<Vec<_>>();
        assert_eq!(labels, ["port", "queue"]);
    }

    #[test]
    fn what_can_be_null_can_be_a_metric() {
        let leaf = json!({ "type": ["integer", "null"], "x-metric": { "name": "a_b_n", "type": "gauge" } });
        let metrics = declared(&service(json!({ "properties": { "n": leaf } }))).unwrap();
        assert_eq!((metrics[0].kind, metrics[0].help.as_str()), (MetricKind::Gauge, ""));
        assert!(metrics[0].samples(&json!({ "n": null })).is_empty());
        assert_eq!(metrics[0].samples(&json!({ "n": -1 }))[0].value, "-1");
    }
}
