//! The Helm chart, and the manifest for those who do not use Helm, rendered from the chart's own template.
//!
//! The template has plain placeholders alone, so that a few lines here render it as Helm does.

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
        let (name, rest) = piece.split_once("}}").context("a placeholder of the chart has no end")?;
        let pointer = name.trim().replace('.', "/");
        match values.pointer(&pointer) {
            Some(Value::String(text)) => rendered.push_str(text),
            Some(Value::Number(number)) => rendered.push_str(&number.to_string()),
            _ => bail!("the chart's values have no text or number {}", name.trim()),
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
        for wrong in ["{{ .Values.c }}", "{{ .Values.a }}", "{{ .Values.a.b"] {
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

    #[test]
    fn the_chart_has_the_version_of_the_workspace() {
        let text = String::from_utf8(contents::read(&root().join(PLACE).join("Chart.yaml")).unwrap()).unwrap();
        let chart = Document::parse(&text).unwrap().value;
        assert_eq!(
            (&chart["version"], &chart["appVersion"]),
            (&env!("CARGO_PKG_VERSION").into(), &env!("CARGO_PKG_VERSION").into())
        );
    }
}
