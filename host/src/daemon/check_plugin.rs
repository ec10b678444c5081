//! `polycubed check-plugin`: a plugin as a daemon would see it. A plugin is code, so this is a process of its own: one that
//! crashes takes nothing with it.

use std::path::Path;

use anyhow::{Context as _, Result};
use polycube_loader::object::Facts;
use polycube_plugin_api::{Code, Direction, Program, ServiceKind};
use serde_json::{Value, json};

use crate::file_type::FileType;
use crate::plugins::{ABI_MAJOR, ABI_MINOR, Plugin, load_service, trial};
use crate::problem::Problems;
use crate::registry::Service;
use crate::wiring::CubeDatapath;

/// Loads a plugin as a daemon does, with all its checks, asks it for the datapath of a cube that has its defaults, and
/// prints what it found, as JSON.
///
/// # Errors
/// A daemon would refuse it, or its first cube.
pub(crate) fn check_plugin(file: &Path) -> Result<()> {
    let place = || file.display().to_string();
    let service = Service::new(loaded(file)?)?;
    let plugin = &service.plugin;
    let config = service.model.create(json!({}));
    // A plugin may need a setting from its user, which only the user knows.
    let datapath = match config {
        Ok(config) => described(&trial(plugin, &config).with_context(place)?),
        Err(Problems(problems)) => {
            let whys: Vec<String> = problems.iter().map(ToString::to_string).collect();
            json!({ "programs": format!("not known: a cube needs settings: {}", whys.join("; ")) })
        }
    };
    let described = &plugin.service;
    let kind = match described.kind {
        ServiceKind::Standard => "standard",
        ServiceKind::Transparent => "transparent",
    };
    let mut found = json!({
        "service": described.name,
        "version": described.version,
        "description": described.description,
        "kind": kind,
        "file": file,
        "sdk-version": plugin.sdk,
        "abi": plugin.abi,
        "loads-in": plugin.abi.as_ref().map(|_| loads_in()),
        "configuration": leaves(&described.config),
        "state": leaves(&described.state),
        "actions": described.actions.iter().map(|action| named(&action.path, &action.description)).collect::<Value>(),
        "streams": described.streams.iter().map(|stream| named(&stream.path, &stream.description)).collect::<Value>(),
    });
    if let (Value::Object(found), Value::Object(datapath)) = (&mut found, datapath) {
        found.extend(datapath);
        // Nothing is said of what there is none of.
        found.retain(|_, member| member.as_array().is_none_or(|members| !members.is_empty()) && !member.is_null());
    }
    println!("{found}");
    Ok(())
}

/// A service from a library, or from an object with its manifest.
fn loaded(file: &Path) -> Result<Plugin> {
    let file = file.canonicalize().with_context(|| file.display().to_string())?;
    let directory = file.parent().map(Path::to_owned).into_iter().collect::<Vec<_>>();
    let [name, stem] = [file.file_name(), file.file_stem()].map(|name| name.unwrap_or_default().to_string_lossy());
    let is_object = file.extension().is_some_and(|extension| extension == "o");
    let file_type = if is_object { FileType::Object } else { FileType::Lib };
    Ok(load_service(&directory, file_type, &name, &stem)?)
}

/// Which daemons load a library. An object is not bound to an ABI.
fn loads_in() -> String {
    format!("daemons with ABI {ABI_MAJOR}.x; this one has {ABI_MAJOR}.{ABI_MINOR}")
}

fn named(path: &str, about: &str) -> Value {
    json!({ "path": path, "about": about })
}

/// Programs and maps of a datapath.
fn described(datapath: &CubeDatapath) -> Value {
    let programs: Vec<Value> = datapath.programs.iter().map(|program| program_of(program, datapath)).collect();
    let maps: Vec<&str> = datapath.maps.iter().map(|map| map.name.as_str()).collect();
    json!({ "programs": programs, "maps": maps })
}

fn program_of(program: &Program, datapath: &CubeDatapath) -> Value {
    let direction = match program.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let object = datapath.objects.get(program.object);
    match &program.code {
        Code::Elf { entry, constants } => {
            let section = object.and_then(|object| Facts::of(object)?.programs.get(entry).cloned());
            let constants: Vec<&str> = constants.iter().map(|(name, _)| name.as_str()).collect();
            json!({
                "name": entry, "direction": direction, "stage": program.stage, "section": section, "constants": constants,
            })
        }
        Code::Instructions { .. } => {
            let instructions = object.map_or(0, |object| object.len() / 8);
            json!({ "name": "generated", "direction": direction, "stage": program.stage, "instructions": instructions })
        }
    }
}

/// The members of a schema: those of objects and of the entries of lists below their names.
fn leaves(schema: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    collect(schema, "", &mut found);
    found
}

fn collect(schema: &Value, at: &str, found: &mut Vec<Value>) {
    let members = schema["properties"].as_object();
    for (name, member) in members.into_iter().flatten() {
        let name = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let below = found.len();
        collect(member, &name, found);
        collect(&member["items"], &name, found);
        if found.len() == below {
            found.push(leaf(&name, member));
        }
    }
}

fn leaf(name: &str, schema: &Value) -> Value {
    let kind = match (&schema["enum"], &schema["type"]) {
        (Value::Array(words), _) => words.iter().map(word).collect::<Vec<_>>().join("|"),
        (_, Value::Array(types)) => types.iter().map(word).filter(|word| word != "null").collect::<Vec<_>>().join("|"),
        (_, kind) => word(kind),
    };
    let mut leaf = json!({ "name": name, "type": kind, "about": schema["description"].as_str().unwrap_or_default() });
    if !schema["default"].is_null() {
        leaf["default"] = schema["default"].clone();
    }
    leaf
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_the_names_that_people_set() {
        let schema = json!({ "type": "object", "properties": {
            "cut": { "type": "boolean", "default": false, "description": "Drop every packet" },
            "fdb": { "type": "object", "properties": { "entry": { "type": "array", "items": {
                "type": "object", "properties": { "port": { "type": ["string", "null"] } },
            } } } },
            "mode": { "enum": ["slow", "fast"] },
        } });
        assert_eq!(
            Value::from(leaves(&schema)),
            json!([
                { "name": "cut", "type": "boolean", "default": false, "about": "Drop every packet" },
                { "name": "fdb.entry.port", "type": "string", "about": "" },
                { "name": "mode", "type": "slow|fast", "about": "" },
            ])
        );
    }
}
