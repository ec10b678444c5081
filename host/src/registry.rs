//! The loaded services, and what the host adds to each one's data model.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use imbl::OrdMap;
use polycube_plugin_api::{ServiceKind, ServiceSchema};
use serde_json::{Value, json};

use crate::file_type::FileType;
use crate::plugins::Plugin;
use crate::problem::Problem;
use crate::schema::host::{CUBE, PORT, STANDARD, TRANSPARENT, parse, words};
use crate::schema::{Model, ModelError, take_read_only};

/// A service.
pub(crate) struct Service {
    pub plugin: Plugin,
    pub model: Model,
    /// Schema of everything its cubes have: the host's members, then the service's own.
    pub whole: Value,
}

impl Service {
    /// What each port of its cubes has.
    ///
    /// # Errors
    /// Its cubes have no ports.
    pub(crate) fn port(&self) -> Result<&Model, Problem> {
        self.model.port.as_deref().ok_or_else(|| {
            let name = &self.model.service.name;
            Problem::bad("ports", format!("service `{name}` is transparent: its cubes have no ports"))
        })
    }

    /// # Errors
    /// The plugin's schema is not valid, or describes what no request could reach.
    pub(crate) fn new(plugin: Plugin) -> Result<Self, Unusable> {
        let model = Model::of_service(ServiceSchema::clone(&plugin.service), &words());
        let model = model.map_err(|reason| Unusable { file: plugin.described_in().display().to_string(), reason })?;
        let whole = whole(&model);
        Ok(Self { plugin, model, whole })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin.fmt(f)
    }
}

/// A service that is stored and could not be loaded.
#[derive(Debug)]
pub(crate) struct Missing {
    pub uri: PathBuf,
    pub file_type: FileType,
    pub why: String,
}

/// All services, and the models of what the host itself defines. Copies share their services.
#[derive(Clone)]
pub(crate) struct Registry {
    services: OrdMap<String, Arc<Service>>,
    /// None of these is loaded.
    missing: OrdMap<String, Arc<Missing>>,
    /// What every cube has.
    pub cube: Arc<Model>,
    /// What every port has, whatever its cube's service.
    pub port: Arc<Model>,
}

/// What the names of the daemon's own metrics begin with.
const OWN_METRICS: &str = "polycube_";

/// A service whose data model cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub(crate) struct Unusable {
    file: String,
    pub reason: ModelError,
}

/// A service with a name that another one has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Taken {
    #[error("{file}: service `{name}` is already loaded, from {first}: reload or delete that one first")]
    Service { file: String, name: String, first: String },
    /// All services' metrics stand beside each other in `/metrics`.
    #[error("{file}: metric `{metric}` of service `{name}` is also one of service `{other}`: rename one of them")]
    Metric { file: String, name: String, metric: String, other: String },
    #[error("{file}: metric `{metric}` of service `{name}` has a name of the daemon's own metrics: rename it")]
    OwnMetric { file: String, name: String, metric: String },
}

impl Registry {
    /// # Errors
    /// One of the host's own schemas is not valid.
    pub(crate) fn new() -> Result<Self, ModelError> {
        let own = |name: &str, text: &str| {
            let mut config = parse(text);
            let state = take_read_only(&mut config);
            Model::of(name, config, state)
        };
        let (services, missing) = (OrdMap::new(), OrdMap::new());
        Ok(Self { services, missing, cube: own("cube", CUBE)?.into(), port: own("port", PORT)?.into() })
    }

    /// Adds a service.
    ///
    /// # Errors
    /// Its name, or that of a metric, is taken.
    pub(crate) fn add(&mut self, service: Arc<Service>) -> Result<(), Taken> {
        let name = service.plugin.service.name.clone();
        if let Some(other) = self.services.get(&name) {
            let [file, first] = [&service.plugin, &other.plugin].map(|plugin| plugin.path.display().to_string());
            return Err(Taken::Service { file, name, first });
        }
        self.check_metrics(&service)?;
        self.missing.remove(&name);
        self.services.insert(name, service);
        Ok(())
    }

    /// Remembers why a stored service is not loaded.
    pub(crate) fn miss(&mut self, name: &str, missing: Missing) {
        self.missing.insert(name.to_owned(), Arc::new(missing));
    }

    /// Takes a service that could not be loaded for one that is not wanted any more. Answers whether it was one.
    pub(crate) fn forget(&mut self, name: &str) -> bool {
        self.missing.remove(name).is_some()
    }

    /// The stored services that could not be loaded.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&str, &Missing)> {
        self.missing.iter().map(|(name, missing)| (name.as_str(), &**missing))
    }

    /// Puts other code in the place of the service of the same name.
    ///
    /// # Errors
    /// The name of a metric is taken.
    pub(crate) fn replace(&mut self, service: Arc<Service>) -> Result<(), Taken> {
        self.check_metrics(&service)?;
        self.services.insert(service.plugin.service.name.clone(), service);
        Ok(())
    }

    fn check_metrics(&self, service: &Service) -> Result<(), Taken> {
        let (name, file) = (&service.plugin.service.name, service.plugin.path.display().to_string());
        let others = || self.services.iter().filter(|(other, _)| *other != name);
        for metric in &service.model.metrics {
            let (name, metric) = (name.clone(), metric.name.clone());
            if metric.starts_with(OWN_METRICS) {
                return Err(Taken::OwnMetric { file, name, metric });
            }
            let has_it = |other: &Service| other.model.metrics.iter().any(|theirs| theirs.name == metric);
            if let Some((other, _)) = others().find(|(_, other)| has_it(other)) {
                return Err(Taken::Metric { file, name, metric, other: other.clone() });
            }
        }
        Ok(())
    }

    /// The services that have other code in `after`.
    pub(crate) fn replaced<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = &'a str> {
        let is_other = |name: &String, service: &Arc<Service>| {
            after.services.get(name).is_some_and(|other| !Arc::ptr_eq(other, service))
        };
        self.services.iter().filter(move |(name, service)| is_other(name, service)).map(|(name, _)| name.as_str())
    }

    /// Removes the service called `name`, if there is one.
    pub(crate) fn remove(&mut self, name: &str) {
        self.services.remove(name);
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.services.iter().map(|(name, service)| (name.as_str(), &**service))
    }

    /// The service called `name`.
    ///
    /// # Errors
    /// A problem that names it and those that are loaded.
    pub(crate) fn service(&self, name: &str) -> Result<&Service, Problem> {
        self.services.get(name).map(|service| &**service).ok_or_else(|| {
            if let Some(Missing { why, .. }) = self.missing.get(name).map(|missing| &**missing) {
                let message =
                    format!("service `{name}` is not loaded, and is tried again when its files change: {why}");
                return Problem::missing(name, message);
            }
            let known = self.services.keys().map(String::as_str);
            Problem::missing(name, format!("service `{name}` does not exist")).knowing(name, known)
        })
    }
}

/// What cubes of a service have: see [`Service::whole`].
pub(crate) fn whole(model: &Model) -> Value {
    let mut role = parse(match model.service.kind {
        ServiceKind::Standard => STANDARD,
        ServiceKind::Transparent => TRANSPARENT,
    });
    let members = |schema: &Value| schema["properties"].as_object().cloned().unwrap_or_default();
    if let (Some(entry), Some(model)) = (role.pointer_mut("/properties/ports/items"), &model.port) {
        *entry = parse(PORT);
        let asked = model.asked();
        let own = members(entry);
        if let Some(all) = entry["properties"].as_object_mut() {
            all.extend(members(&asked).into_iter().filter(|(name, _)| !own.contains_key(name)));
        }
        if let Some(required) = asked.get("required") {
            entry["required"] = required.clone();
        }
    }
    let mut properties = members(&parse(CUBE));
    properties.extend(members(&role));
    let tree = model.asked();
    properties.extend(members(&tree));
    let required = tree.get("required").cloned().unwrap_or_else(|| json!([]));
    let description = &model.service.description;
    json!({ "type": "object", "description": description, "properties": properties, "required": required })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::double::plugin;

    fn service(name: &str, kind: ServiceKind) -> Arc<Service> {
        Arc::new(Service::new(plugin(name, kind)).unwrap())
    }

    fn names(registry: &Registry) -> Vec<&str> {
        registry.services().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_service_is_loaded_once() {
        let mut registry = Registry::new().unwrap();
        registry.add(service("tap", ServiceKind::Transparent)).unwrap();
        let mut other = plugin("tap", ServiceKind::Standard);
        other.path = PathBuf::from("/other/tap.so");
        let taken = registry.add(Arc::new(Service::new(other).unwrap())).unwrap_err();
        assert_eq!(
            taken.to_string(),
            "/other/tap.so: service `tap` is already loaded, from libpcn_tap.so: reload or delete that one first"
        );
        let kind = registry.service("tap").unwrap().model.service.kind;
        assert_eq!(kind, ServiceKind::Transparent, "the first one stays");
    }

    #[test]
    fn copies_do_not_see_later_changes() {
        let mut registry = Registry::new().unwrap();
        registry.add(service("tap", ServiceKind::Transparent)).unwrap();
        let before = registry.clone();
        registry.add(service("bridge", ServiceKind::Standard)).unwrap();
        registry.remove("tap");
        registry.remove("not-there");
        assert_eq!((names(&before), names(&registry)), (vec!["tap"], vec!["bridge"]));
        let problem = registry.service("tap").unwrap_err();
        assert!(problem.to_string().contains("service `tap` does not exist"), "{problem}");
    }

    #[test]
    fn other_code_takes_the_place_of_a_service() {
        let mut registry = Registry::new().unwrap();
        registry.add(service("tap", ServiceKind::Transparent)).unwrap();
        registry.add(service("bridge", ServiceKind::Standard)).unwrap();
        let mut after = registry.clone();
        assert_eq!(registry.replaced(&after).count(), 0);
        after.replace(service("tap", ServiceKind::Transparent)).unwrap();
        after.remove("bridge");
        after.add(service("more", ServiceKind::Standard)).unwrap();
        assert_eq!(registry.replaced(&after).collect::<Vec<_>>(), ["tap"]);
    }

    #[test]
    fn a_service_that_is_missing_says_why_until_it_is_there() {
        let mut registry = Registry::new().unwrap();
        let missing = |why: &str| Missing { uri: "/p/tap.o".into(), file_type: FileType::Object, why: why.to_owned() };
        registry.miss("tap", missing("there is no file"));
        let problem = registry.service("tap").err().unwrap().message;
        assert!(problem.contains("service `tap` is not loaded") && problem.ends_with("there is no file"), "{problem}");
        registry.add(service("tap", ServiceKind::Transparent)).unwrap();
        assert!(registry.service("tap").is_ok() && !registry.forget("tap"));
        registry.miss("other", missing("it is malformed"));
        assert!(registry.forget("other") && registry.missing().next().is_none());
    }

    /// A service with one metric.
    fn counting(name: &str, metric: &str) -> Arc<Service> {
        let mut plugin = plugin(name, ServiceKind::Transparent);
        let leaf = json!({ "type": "integer", "x-metric": { "name": metric, "type": "counter" } });
        plugin.service.state = json!({ "type": "object", "properties": { "n": leaf } });
        Arc::new(Service::new(plugin).unwrap())
    }

    #[test]
    fn a_metric_is_of_one_service() {
        let mut registry = Registry::new().unwrap();
        registry.add(counting("g", "g_x_n")).unwrap();
        let refused = registry.add(counting("g-x", "g_x_n")).unwrap_err().to_string();
        assert_eq!(
            refused,
            "libpcn_g-x.so: metric `g_x_n` of service `g-x` is also one of service `g`: rename one of them"
        );
        registry.add(counting("g-x", "g_x_m")).unwrap();
        let refused = registry.replace(counting("g", "g_x_m")).unwrap_err().to_string();
        assert!(refused.contains("metric `g_x_m` of service `g` is also one of service `g-x`"), "{refused}");
        registry.replace(counting("g", "g_x_n")).unwrap();
        let refused = registry.add(counting("polycube", "polycube_uptime_seconds")).unwrap_err().to_string();
        assert!(refused.contains("has a name of the daemon's own metrics"), "{refused}");
    }

    #[test]
    fn cubes_have_the_members_of_the_host_then_those_of_their_service() {
        for (kind, role) in [(ServiceKind::Standard, "ports"), (ServiceKind::Transparent, "parents")] {
            let whole = service("double", kind).whole.clone();
            let members: Vec<&String> = whole["properties"].as_object().unwrap().keys().collect();
            let place = |name: &str| {
                let place = members.iter().position(|member| *member == name);
                place.unwrap_or_else(|| panic!("{kind:?} has no {name}: {members:?}"))
            };
            let (uuid, role, size) = (place("uuid"), place(role), place("size"));
            assert!(uuid < role && role < size, "{members:?}");
            assert_eq!(whole["description"], "A double");
        }
        let standard = service("double", ServiceKind::Standard).whole.clone();
        let port = &standard["properties"]["ports"]["items"]["properties"];
        assert!(port["peer"].is_object() && port["name"].is_object(), "{port}");
    }
}
