//! `./x tidy`: the house rules that no compiler knows.
//!
//! ARCHITECTURE.md says what keeps the modules apart, as floors and as absences; each is looked for here. Every file is
//! read once into tokens. A rule is a function from a file, or from all of them, to findings. Findings
//! from before their rule was introduced are on the list in `known`, which only gets shorter.

mod absences;
mod files;
mod finding;
mod floors;
mod functions;
mod known;
mod lexer;
mod manifests;
mod modules;
mod paths;
mod safety;
mod shape;
mod source;
mod voice;

use anyhow::{Result, bail};

use self::finding::Finding;

pub(crate) fn run() -> Result<()> {
    eprintln!("./x: tidy");
    let findings = known::unknown(findings()?);
    if findings.is_empty() {
        return Ok(());
    }
    let lines = findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    bail!("tidy found {}:\n{}", lines.len(), lines.join("\n"))
}

fn findings() -> Result<Vec<Finding>> {
    let (mut manifests, mut pages, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for file in files::collect(crate::root())? {
        match file.path.rsplit('.').next() {
            Some("rs") => sources.push(file),
            Some("md") => pages.push(file),
            _ => manifests.push(file),
        }
    }
    let sources = source::read_all(&sources);
    let mut findings = manifests.iter().flat_map(manifests::check).collect::<Vec<_>>();
    findings.extend(pages.iter().flat_map(voice::check_page));
    findings.extend(floors::check(&sources));
    for source in &sources {
        findings.extend(absences::check(source));
        findings.extend(safety::check(source));
        findings.extend(shape::check(source));
        findings.extend(voice::check(source));
    }
    findings.sort();
    Ok(findings)
}
