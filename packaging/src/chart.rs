//! The Helm chart, and the manifest for those who do not use Helm, rendered from the chart's own template.
//!
//! The template has plain placeholders and `toJson` alone, so that a few lines here render it as Helm does; `./x packagetest`
//! compares with Helm.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use polycube_document::Document;
use serde_json::{Value, json};

use crate::contents;
use crate::tree::Tree;

const PLACE: &str = "packaging/helm/polycube";
const FILES: [&str; 4] = ["Chart.yaml", "values.yaml", "values.schema.json", "templates/daemonset.yaml"];

/// The chart, as the directory that `helm install` takes.
pub(crate) fn chart(root: &Path) -> Result<Tree> {
    let mut tree = Tree::default();
    for file in FILES {
        tree.file(&format!("polycube/{file}"), 0o644, contents::read(&root.join(PLACE).join(file))?);
    }
    Ok(tree)
}

/// The manifest with the chart's own values, for `kubectl apply`.
pub(crate) fn manifest(root: &Path) -> Result<String> {
    let text = |file: &str| -> Result<String> { Ok(String::from_utf8(contents::read(&root.join(PLACE).join(file))?)?) };
    let values = Document::parse(&text("values.yaml")?)?.value;
    render(&text("templates/daemonset.yaml")?, &json!({ "Values": values, "Release": { "Namespace": "kube-system" } }))
}

fn render(template: &str, values: &Value) -> Result<String> {
    let mut pieces = template.split("{{");
    let mut rendered = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (placeholder, rest) = piece.split_once("}}").context("a placeholder of the chart has no end")?;
        let (name, function) = placeholder.split_once('|').unwrap_or((placeholder, ""));
        match (values.pointer(&name.trim().replace('.', "/")), function.trim()) {
            (Some(Value::String(text)), "") => rendered.push_str(text),
            (Some(Value::Number(number)), "") => rendered.push_str(&number.to_string()),
            (Some(value), "toJson") => rendered.push_str(&value.to_string()),
            _ => bail!("the chart's values have no text or number {}", placeholder.trim()),
        }
        rendered.push_str(rest);
    }
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn placeholders_are_replaced_and_unknown_ones_are_refused() {
        let values = json!({ "Values": { "a": { "b": "text", "n": 5 } } });
        assert_eq!(render("x: {{ .Values.a.b }} {{.Values.a.n}}!", &values).unwrap(), "x: text 5!");
        assert_eq!(render("{{ .Values.a | toJson }}", &values).unwrap(), r#"{"b":"text","n":5}"#);
        for wrong in ["{{ .Values.c }}", "{{ .Values.a }}", "{{ .Values.a.b", "{{ .Values.a.b | quote }}"] {
            assert!(render(wrong, &values).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_pods_have_three_capabilities_and_a_root_that_cannot_be_written() {
        let manifest = Document::parse(&manifest(root()).unwrap()).unwrap().value;
        let container = &manifest["spec"]["template"]["spec"]["containers"][0];
        let context = &container["securityContext"];
        let expected = json!({ "drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"] });
        assert_eq!(context["capabilities"], expected);
        assert_eq!(
            (&context["readOnlyRootFilesystem"], &context["allowPrivilegeEscalation"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(container["image"], format!("polycube:{}", env!("CARGO_PKG_VERSION")));
        let mounts = container["volumeMounts"].as_array().unwrap().iter().map(|mount| &mount["name"]);
        let volumes = manifest["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        assert!(mounts.eq(volumes.iter().map(|volume| &volume["name"])), "each volume is mounted");
    }

    fn text(file: &str) -> String {
        String::from_utf8(contents::read(&root().join(PLACE).join(file)).unwrap()).unwrap()
    }

    #[test]
    fn the_schema_has_the_charts_values_and_no_wrong_ones() {
        let schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let values = Document::parse(&text("values.yaml")).unwrap().value;
        assert!(validator.is_valid(&values), "{:?}", validator.iter_errors(&values).collect::<Vec<_>>());
        let check = |pointer: &str, value: Value, is_right: bool| {
            let mut changed = values.clone();
            *changed.pointer_mut(pointer).unwrap() = value.clone();
            assert_eq!(validator.is_valid(&changed), is_right, "{pointer}: {value}");
        };
        let toleration = json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }]);
        check("/tolerations", toleration, true);
        check("/tolerations", json!([{ "effect": "Never" }]), false);
        check("/nodeSelector", json!({ "captures": "yes" }), true);
        check("/nodeSelector", json!({ "captures": true }), false);
        check("/image/pullPolicy", json!("Sometimes"), false);
        check("/captures", json!("captures"), false);
        check("/captureMemory", json!(0), false);
        check("/captureMemory", json!("512"), false);
        check("/resources/memoryLimit", json!("1.5Gi"), true);
        check("/resources/memoryLimit", json!("1 GB"), false);
        check("/resources", json!({}), false);
        check("", json!({ "images": {} }), false);
    }

    #[test]
    fn the_chart_has_the_version_of_the_workspace() {
        let chart = Document::parse(&text("Chart.yaml")).unwrap().value;
        assert_eq!(
            (&chart["version"], &chart["appVersion"]),
            (&env!("CARGO_PKG_VERSION").into(), &env!("CARGO_PKG_VERSION").into())
        );
    }
}
