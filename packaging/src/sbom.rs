//! What the programs are made of, as CycloneDX 1.5 (cyclonedx.org/docs/1.5/json), from what cargo says.
//!
//! It is written here, because the tools that write it would take longer to build than all of the packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// The document, with the crates that the packages of `roots` need to be built and to run.
///
/// # Errors
/// Cargo does not answer.
pub(crate) fn write(root: &Path, roots: &[&str], version: &str, created: &str) -> Result<Vec<u8>> {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform];
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).current_dir(root).args(arguments).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata = serde_json::from_slice(&output.stdout)?;
    document(&metadata, roots, version, created)
}

fn document(metadata: &Value, roots: &[&str], version: &str, created: &str) -> Result<Vec<u8>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let needs: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            // What only tests need is of the kind `dev`.
            let is_used = |dep: &&Value| list(&dep["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let used = list(&node["deps"]);
            (text(&node["id"]), used.iter().filter(is_used).map(|dep| text(&dep["pkg"])).collect())
        })
        .collect();
    let is_root = |package: &Value| roots.iter().any(|name| package["name"] == *name);
    let mut waiting: Vec<&String> = packages.iter().filter(|(_, package)| is_root(package)).map(|(id, _)| id).collect();
    ensure!(waiting.len() == roots.len(), "the workspace does not have all of {roots:?}");
    let mut found = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if found.insert(id) {
            waiting.extend(needs.get(id).into_iter().flatten());
        }
    }
    let purl = |id: &String| format!("pkg:cargo/{}@{}", text(&packages[id]["name"]), text(&packages[id]["version"]));
    let components = found.iter().map(|id| {
        let package = &packages[*id];
        json!({
            "type": "library",
            "bom-ref": purl(id),
            "name": package["name"],
            "version": package["version"],
            "licenses": [{ "expression": text(&package["license"]).replace('/', " OR ") }],
            "purl": purl(id),
        })
    });
    let dependencies = found.iter().map(|id| {
        let of = needs.get(*id).into_iter().flatten();
        json!({ "ref": purl(id), "dependsOn": of.map(purl).collect::<BTreeSet<_>>() })
    });
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": { "type": "application", "bom-ref": "polycube", "name": "polycube", "version": version },
        },
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    });
    Ok(serde_json::to_vec_pretty(&document)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_programs_need_is_listed_and_what_tests_need_is_not() {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let dep = |name: &str, kind: &str| {
            let kind = Some(kind).filter(|kind| !kind.is_empty());
            json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] })
        };
        let nodes = json!([
            { "id": "daemon", "deps": [dep("http", ""), dep("proptest", "dev")] },
            { "id": "http", "deps": [dep("cc", "build")] },
        ]);
        let packages = ["daemon", "http", "cc", "proptest", "other"].map(package);
        let metadata = json!({ "packages": packages, "resolve": { "nodes": nodes } });
        let written = document(&metadata, &["daemon"], "0.1.0", "2026-01-01T00:00:00Z").unwrap();
        let sbom: Value = serde_json::from_slice(&written).unwrap();
        let names: Vec<&str> =
            sbom["components"].as_array().unwrap().iter().filter_map(|component| component["name"].as_str()).collect();
        assert_eq!(names, ["cc", "daemon", "http"]);
        assert_eq!(sbom["components"][0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(
            sbom["dependencies"][1],
            json!({ "ref": "pkg:cargo/daemon@1.0.0", "dependsOn": ["pkg:cargo/http@1.0.0"] })
        );
        assert!(document(&metadata, &["absent"], "0.1.0", "").is_err());
    }
}
