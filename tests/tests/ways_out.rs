//! Does each refusal of a service, a manifest and a datapath say where, and what to do? Its text is a template beside the variant
//! that it is for, so a new variant is looked at here, too.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Where the reasons are, and how many there are at least.
const REASONS: [(&str, usize); 6] = [
    ("schema/src/check.rs", 25),
    ("schema/src/check/leaf.rs", 5),
    ("schema/src/metric.rs", 5),
    ("loader/src/described.rs", 18),
    ("host/src/plugins/object/fault.rs", 38),
    ("host/src/plugins/object/fit.rs", 8),
];

/// What advice begins with.
const ADVICE: [&str; 26] = [
    "add", "change", "choose", "compile", "copy", "correct", "declare", "delete", "describe", "define", "do not",
    "give", "leave", "make", "name", "number", "put", "remove", "rename", "say", "take", "use", "write", "build",
    "known", "set",
];

/// The templates of a source: each attribute `#[error(…)]` in one line.
fn templates(source: &str) -> impl Iterator<Item = String> {
    source.split("#[error(").skip(1).filter_map(|rest| {
        let template = rest.split_once(")]\n")?.0;
        Some(template.replace("\\\n", "").split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// Whether it ends with a reason that is a template of its own, or what a library says.
fn is_wrapper(template: &str) -> bool {
    template == "transparent"
        || ["{0}\"", "{what}\"", "{why}\"", "{source}\"", "{wanted}\""].iter().any(|end| template.contains(end))
}

fn gives_advice(template: &str) -> bool {
    let clauses = template.match_indices(['"', ':', ';', ',']).map(|(at, _)| template[at + 1..].trim_start());
    template.contains("known(")
        || clauses.into_iter().any(|clause| {
            ADVICE.iter().any(|word| clause.strip_prefix(word).is_some_and(|rest| rest.starts_with([' ', ':', ','])))
        })
}

/// Whether it names a thing, as a field or in words; what it is part of is said before it.
fn names_a_place(template: &str) -> bool {
    template.contains('{')
        || ["`", "it ", "its ", "the ", "another ", "a ", "give it "].iter().any(|word| template[1..].starts_with(word))
}

#[test]
fn every_refusal_says_where_and_what_to_do() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut wrong = Vec::new();
    for (file, least) in REASONS {
        let source = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        let templates: Vec<String> = templates(&source).collect();
        ensure!(templates.len() >= least, "{file}: {} reasons", templates.len());
        for template in templates.into_iter().filter(|template| !is_wrapper(template)) {
            if !gives_advice(&template) || !names_a_place(&template) {
                wrong.push(format!("{file}: {template}"));
            }
        }
    }
    ensure!(wrong.is_empty(), "these say no place or no way out:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_reason_without_a_way_out_is_found() {
    let source = "#[error(\"the map `{map}` is of \\\n         another kind\")]\nA,\n#[error(\"it is cut: copy it again\")]\nB,\n";
    let found: Vec<String> = templates(source).collect();
    assert_eq!(found, ["\"the map `{map}` is of another kind\"", "\"it is cut: copy it again\""]);
    assert_eq!(found.iter().map(|template| gives_advice(template)).collect::<Vec<_>>(), [false, true]);
}
