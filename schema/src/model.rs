//! A service's data model: its schema made strict, and changes of a configuration checked against it.

use std::collections::BTreeMap;

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use polycube_api::Limits;
use polycube_plugin_api::{ServiceKind, ServiceSchema, keyword};
use serde_json::{Map, Value, json};

use super::check::{self, Fault};
use super::coerce::{Aliased, Findings, StateMembers, coerce};
use super::document::{
    Operation, defaults, drop_nulls, drop_shadowed, fill_aliases, lay_over, overlay, set, shadowed, show_unset, sparse,
};
use super::format::{IP, IP_PREFIX, is_ip, is_ip_prefix};
use super::metric::{self, Metric, MetricError};
use super::node::{Node, locate};
use super::port::{self, PORTS, PortSchemas};
use super::scalar::unit_of;
use super::strict::{drop_aliases, drop_required, make_strict, mark_read_only};
use super::summary::{self, Summary};
use crate::problem::{ErrorTag, Problem, Problems};

/// A schema that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("service `{service}` cannot be used: {reason}")]
pub struct ModelError {
    service: String,
    reason: Box<Reason>,
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error("the JSON Schema of its {part} is not valid{}: {why}", .place.as_ref().map(|place| format!(", at `{place}`")).unwrap_or_default())]
    Schema { part: &'static str, place: Option<String>, why: String },
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Where a body that describes something as a whole comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Somebody wrote it: what cannot be set is a mistake.
    Written,
    /// It was shown: it has state, too.
    Shown,
}

/// What becomes of leaves that are fixed at creation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fixed {
    /// They get their value now.
    Set,
    Kept,
}

/// The data model of a service.
pub struct Model {
    pub service: ServiceSchema,
    /// Schema of what can be read: configuration and state together.
    pub tree: Value,
    pub metrics: Vec<Metric>,
    /// What the list of all cubes shows of the state.
    pub summary: Vec<Summary>,
    /// Input of the actions that take some, by their paths.
    pub inputs: BTreeMap<String, Self>,
    /// What checks the output of the actions that describe it, by their paths.
    pub(super) outputs: BTreeMap<String, Validator>,
    /// What each port of its cubes has, the host's members and the service's; `None` if its cubes have no ports.
    pub port: Option<Box<Self>>,
    /// Whether the service defines something that can be set at a port.
    pub has_port_settings: bool,
    config: Value,
    validator: Validator,
    /// What is created and deleted as a whole, for messages.
    thing: &'static str,
}

impl ModelError {
    /// Whether the service could be used under another name.
    #[must_use]
    pub fn is_of_name(&self) -> bool {
        matches!(*self.reason, Reason::Fault(Fault::Reserved | Fault::Name))
    }
}

/// The place in a document of what is at `pointer` in its schema: `/properties/a/items/properties/b/pattern` is `a/b/pattern`.
fn place_in_schema(pointer: &str) -> Option<String> {
    let (mut place, mut words) = (Vec::new(), pointer.split('/').skip(1));
    while let Some(word) = words.next() {
        match word {
            "properties" => place.extend(words.next()),
            "items" => {}
            keyword => place.push(keyword),
        }
    }
    (!place.is_empty()).then(|| place.join("/"))
}

impl Model {
    /// The model of something other than a service.
    ///
    /// # Errors
    /// A schema cannot be used.
    pub fn of(name: &str, config: Value, state: Value) -> Result<Self, ModelError> {
        Self::new(ServiceSchema::new(name, ServiceKind::Transparent, config, state))
    }

    /// The model of a service, of whose cubes the host itself defines the members `words`.
    ///
    /// # Errors
    /// The service cannot be used.
    pub fn of_service(service: ServiceSchema, words: &[String]) -> Result<Self, ModelError> {
        check::check(&service, words)
            .map_err(|fault| ModelError { service: service.name.clone(), reason: Box::new(fault.into()) })?;
        Self::new(service)
    }

    /// # Errors
    /// The schema cannot be used.
    pub fn new(mut service: ServiceSchema) -> Result<Self, ModelError> {
        let name = service.name.clone();
        let error = |reason: Reason| ModelError { service: name.clone(), reason: Box::new(reason) };
        let metrics = metric::declared(&service).map_err(|failure| error(failure.into()))?;
        let ports = port::take(&mut service);
        let has_port_settings = ports.as_ref().is_some_and(|port| port.has_settings);
        let of_port = |PortSchemas { config, state, .. }| {
            Ok::<_, ModelError>(Box::new(Self { thing: "port", ..Self::of(&name, config, state)? }))
        };
        let port = ports.map(of_port).transpose()?;
        let mut config = service.config.clone();
        make_strict(&mut config);
        let mut enforced = config.clone();
        drop_aliases(&mut enforced);
        let options = jsonschema::options()
            .should_validate_formats(true)
            .with_format(IP_PREFIX, is_ip_prefix)
            .with_format(IP, is_ip);
        let build = |part: &'static str, schema: &Value| {
            options.build(schema).map_err(|failure| {
                let place = place_in_schema(&failure.instance_path().to_string());
                error(Reason::Schema { part, place, why: failure.to_string() })
            })
        };
        let validator = build("configuration", &enforced)?;
        let described =
            service.actions.iter().filter_map(|action| Some((action.path.clone(), action.output.as_ref()?)));
        let outputs = described
            .map(|(path, schema)| Ok((path, build("actions' output", schema)?)))
            .collect::<Result<_, ModelError>>()?;
        let taking = service.actions.iter().filter_map(|action| Some((&action.path, action.input.clone()?)));
        let input = |(path, schema): (&String, Value)| Ok((path.clone(), Self::of(&service.name, schema, json!({}))?));
        let inputs = taking.map(input).collect::<Result<_, ModelError>>()?;
        let summary = summary::declared(&service.state);
        make_strict(&mut service.state);
        let mut tree = config.clone();
        mark_read_only(&mut service.state, &config);
        overlay(&mut tree, service.state.clone());
        Ok(Self {
            service,
            tree,
            metrics,
            summary,
            inputs,
            outputs,
            port,
            has_port_settings,
            config,
            validator,
            thing: "cube",
        })
    }

    /// Schema of what can be set, aliases included.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The tree as clients see it: `required` is what must be given, not what is always shown.
    pub fn asked(&self) -> Value {
        let mut tree = self.tree.clone();
        drop_required(&mut tree);
        overlay(&mut tree, self.config.clone());
        tree
    }

    /// The configuration of a new cube: defaults, and what `body` says.
    ///
    /// # Errors
    /// Everything that is wrong with `body`.
    pub fn create(&self, body: Value) -> Result<Value, Problems> {
        self.create_from(Source::Written, body)
    }

    /// As [`Model::create`], from a body that may have been shown.
    ///
    /// # Errors
    /// Everything that is wrong with `body`.
    pub fn create_from(&self, source: Source, body: Value) -> Result<Value, Problems> {
        self.apply(&self.defaults(), &[], Operation::Merge, body, (source, Fixed::Set))
    }

    /// The configuration of a cube that has `config` and is to be as `body` says, with defaults for all else.
    ///
    /// # Errors
    /// Everything that is wrong with `body`.
    pub fn describe(&self, config: &Value, source: Source, body: Value) -> Result<Value, Problems> {
        self.apply(config, &[], Operation::Replace, body, (source, Fixed::Kept))
    }

    /// What of a configuration is not as it would be by default: from this, [`Model::create`] makes it again.
    pub fn sparse(&self, config: &Value) -> Value {
        sparse(&self.config, config).unwrap_or_else(|| json!({}))
    }

    /// `config` after `operation` on the node at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with the path or with `value`.
    pub fn change(
        &self,
        config: &Value,
        path: &[String],
        operation: Operation,
        value: Value,
    ) -> Result<Value, Problems> {
        self.apply(config, path, operation, value, (Source::Written, Fixed::Kept))
    }

    /// What of [`Model::sparse`] cannot be seen in [`Model::present`], because the state is shown at the same paths.
    pub fn unseen(&self, config: &Value) -> Option<Value> {
        shadowed(&self.config, &self.service.state, &self.sparse(config))
    }

    /// The settings in `shown`, which is what [`Model::present`] made, with those that could not be seen there.
    pub fn settings(&self, mut shown: Value, unseen: Value) -> Value {
        drop_shadowed(&self.config, &self.service.state, &mut shown);
        overlay(&mut shown, unseen);
        shown
    }

    /// Configuration and state as one document: aliases filled in, entries of a list that both have joined by their key;
    /// settings that are unset are null, and other members without a value are left out.
    pub fn present(&self, config: &Value, state: Value) -> Value {
        let mut document = config.clone();
        fill_aliases(&self.config, &mut document, config);
        lay_over((&self.config, &self.service.state), &mut document, state);
        drop_nulls(&mut document);
        show_unset(&self.config, &mut document);
        document
    }

    /// A configuration as the plugin gets it: if the service has settings for its ports, with those of `ports`.
    pub fn with_ports<'a>(&self, config: &Value, ports: impl Iterator<Item = (&'a str, &'a Value)>) -> Value {
        let mut config = config.clone();
        if self.has_port_settings {
            let port = |(name, settings): (&str, &Value)| {
                let mut port = Map::from_iter([(port::NAME.to_owned(), name.into())]);
                port.extend(settings.as_object().cloned().unwrap_or_default());
                Value::Object(port)
            };
            config[PORTS] = ports.map(port).collect();
        }
        config
    }

    fn defaults(&self) -> Value {
        defaults(&self.config)
    }

    fn apply(
        &self,
        config: &Value,
        path: &[String],
        operation: Operation,
        value: Value,
        (source, fixed_leaves): (Source, Fixed),
    ) -> Result<Value, Problems> {
        let node = locate(&self.config, path).map_err(|(node, word)| self.nowhere(path, node, word))?;
        let place = path.join("/");
        if let Node::Part { key, given, .. } = node {
            return Err(key.incomplete(given).at(place).into());
        }
        let mut findings = Findings::default();
        let is_state = |path: &str| self.is_state(path);
        let state = match source {
            Source::Shown => StateMembers::Dropped(&is_state),
            Source::Written => StateMembers::Refused(&is_state),
        };
        let value = coerce(node.schema(), value, &place, &state, &mut findings);
        if path.is_empty() {
            let twice = findings
                .aliased
                .iter()
                .filter(|Aliased { target, value: alias }| value.pointer(target).is_some_and(|given| given != alias));
            findings.problems.extend(twice.map(|Aliased { target, .. }| {
                let target = target.trim_start_matches('/');
                Problem::bad(target, format!("`{target}` is given two values, one of them under an alias: give one"))
            }));
        }
        let Findings { mut problems, aliased } = findings;
        let mut changed = config.clone();
        let mut set = |path: &[String], operation, value| {
            problems.extend(set(&self.config, &mut changed, path, operation, value).err());
        };
        if matches!(operation, Operation::Replace | Operation::Remove) && !path.is_empty() {
            // What is shown there under an alias is part of it.
            aliases(node.schema()).iter().for_each(|target| set(target, Operation::Remove, Value::Null));
        }
        match node.schema().get(keyword::ALIAS).and_then(Value::as_str) {
            Some(target) => set(&words(target), operation, value),
            None => set(path, operation, value),
        }
        for Aliased { target, value } in aliased {
            set(&words(&target), Operation::Merge, value);
        }
        let violations = self.validator.iter_errors(&changed);
        problems.extend(violations.filter_map(|error| problem(&self.config, &changed, &error)));
        if fixed_leaves == Fixed::Kept {
            fixed((&self.config, self.thing), config, &changed, "", &mut problems);
        }
        if problems.is_empty() { Ok(changed) } else { Err(Problems(problems)) }
    }

    fn is_state(&self, path: &str) -> bool {
        let words: Vec<String> = path.split('/').map(str::to_owned).collect();
        locate(&self.service.state, &words).is_ok()
    }

    fn nowhere(&self, path: &[String], node: Node<'_>, word: &str) -> Problem {
        let place = path.join("/");
        if locate(&self.service.state, path).is_ok() {
            return Problem::invalid(place, format!("`{}` is read-only", path.join(" ")));
        }
        let message = format!("there is no `{word}`");
        Problem::new(ErrorTag::UnknownElement, place, message).knowing(word, node.children())
    }
}

/// The words of a JSON pointer.
fn words(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(str::to_owned).collect()
}

/// What the members of a container, and those below, are aliases of.
fn aliases(schema: &Value) -> Vec<Vec<String>> {
    let members = schema["properties"].as_object().into_iter().flatten();
    let found = members.flat_map(|(_, member)| match member.get(keyword::ALIAS).and_then(Value::as_str) {
        Some(target) => vec![words(target)],
        None => aliases(member),
    });
    found.collect()
}

/// Finds leaves that are fixed at creation and would change.
fn fixed((schema, thing): (&Value, &'static str), old: &Value, new: &Value, path: &str, problems: &mut Vec<Problem>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, member) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let (old, new) = (&old[name], &new[name]);
        if member.get(keyword::CREATE_ONLY).and_then(Value::as_bool) == Some(true) && old != new {
            // Do not advise to give a value at creation that is wrong even then.
            if problems.iter().any(|problem| problem.path == path) {
                continue;
            }
            let message = format!(
                "`{name}` is fixed when the {thing} is created: delete the {thing} and create it with the new value"
            );
            problems.push(Problem::invalid(path, message));
        } else {
            fixed((member, thing), old, new, &path, problems);
        }
    }
}

/// Where a JSON pointer leads to in a document.
struct Place<'a> {
    /// With the names of lists' entries.
    path: String,
    /// The last name in it, which a value of a list does not have.
    name: String,
    schema: &'a Value,
}

fn place<'a>(mut schema: &'a Value, mut document: &Value, pointer: &str) -> Place<'a> {
    let mut path = Vec::new();
    let mut last = String::new();
    for step in words(pointer) {
        let index = step.parse::<usize>().ok().filter(|_| document.is_array());
        document = index.map_or(&document[&step], |index| &document[index]);
        let name = match Node::of(schema) {
            Node::List { key, .. } => key.of_entry(document),
            _ => None,
        };
        let is_value = index.is_some() && name.is_none();
        schema = match schema["properties"].get(&step) {
            _ if index.is_some() => &schema["items"],
            Some(member) => member,
            None => &schema["additionalProperties"],
        };
        path.extend(name.unwrap_or_else(|| vec![step]));
        if !is_value {
            last.clone_from(&path[path.len() - 1]);
        }
    }
    Place { path: path.join("/"), name: last, schema }
}

/// The problem with a violation in `document`; `None` where another problem says the same, and better.
fn problem(schema: &Value, document: &Value, error: &ValidationError<'_>) -> Option<Problem> {
    let Place { path, name: leaf, schema } = place(schema, document, &error.instance_path().to_string());
    let value = error.instance();
    let list = |values: &Value| texts(values).join(", ");
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => {
            let property = property.as_str().unwrap_or_default();
            let message = format!("`{property}` is missing");
            return Some(Problem::new(ErrorTag::MissingAttribute, property, message).under(&path));
        }
        ValidationErrorKind::Type { .. } if !schema["enum"].is_null() => return None,
        ValidationErrorKind::Type { .. } if let Some(message) = not_in_unit(schema, value) => message,
        ValidationErrorKind::Enum { options } => match texts(options).as_slice() {
            [only] => format!("{value} is not {only}, which is the only value"),
            options => format!("{value} is not one of {}", options.join(", ")),
        },
        ValidationErrorKind::Pattern { .. } if !schema["examples"].is_null() => {
            format!("{value} does not have the right form: write it like {}", list(&schema["examples"]))
        }
        ValidationErrorKind::Format { format } if format == IP_PREFIX || format == IP => {
            let message = if format == IP {
                "is not an IP address: give one such as 192.0.2.9 or 2001:db8::9"
            } else {
                "is not a prefix: give an address and its length, such as 10.10.10.0/24"
            };
            let problem = Problem::bad(path, format!("`{}` {message}", text(value)));
            return Some(problem.within(limits(schema)));
        }
        ValidationErrorKind::Minimum { limit } if let Some(message) = below(schema, value, limit) => message,
        _ => error.to_string(),
    };
    let message = if leaf.is_empty() { message } else { format!("{leaf}: {message}") };
    Some(Problem::bad(path, message).within(limits(schema)))
}

/// Why a text is not a number of what the leaf counts.
fn not_in_unit(schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let whole = schema["type"] != "number" && texts(&schema["type"]).iter().all(|kind| kind != "number");
    let error = unit_of(schema)?.read(text, whole).err()?;
    Some(format!("`{text}` {error}"))
}

/// How a fraction of the leaf's unit is less than its minimum: nobody typed it as a fraction.
fn below(schema: &Value, value: &Value, limit: &Value) -> Option<String> {
    let (unit, Value::Number(value), Value::Number(limit)) = (unit_of(schema)?, value, limit) else { return None };
    let is_fraction = value.is_f64() || limit.is_f64();
    is_fraction.then(|| format!("{} is less than the minimum of {}", unit.write(value), unit.write(limit)))
}

/// What a leaf's schema says of its values.
fn limits(schema: &Value) -> Limits {
    let number = |name: &str| schema[name].as_number().cloned();
    Limits {
        minimum: number("minimum"),
        maximum: number("maximum"),
        unit: schema[keyword::UNIT].as_str().unwrap_or_default().to_owned(),
        values: texts(&schema["enum"]),
        examples: texts(&schema["examples"]),
    }
}

/// Values of a list as they are typed.
fn texts(values: &Value) -> Vec<String> {
    values.as_array().into_iter().flatten().map(text).collect()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
