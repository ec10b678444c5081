//! Builds a project with its own tools.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::SystemTime;

use serde_json::Value;

/// Directories of a project that builds write to.
const BUILT: [&str; 2] = ["target", ".git"];

/// Why a project cannot be built, or has no place that the daemon loads from.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("{} has neither Cargo.toml nor Makefile: give the directory of a project that `plugin new` wrote", project.display())]
    NoProject { project: PathBuf },
    #[error("cannot start {tool}: {source}")]
    Start { tool: &'static str, source: io::Error },
    #[error("{tool} failed: {status}")]
    Failed { tool: &'static str, status: ExitStatus },
    #[error("{tool} has built no plugin: {wanted}")]
    NotBuilt { tool: &'static str, wanted: &'static str },
    #[error(
        "the daemon's plugin directory is not known, as it has no other plugins: give --plugin-dir=DIR, as the daemon was \
         given it (/usr/lib/polycube/plugins with the package)"
    )]
    NoDirectory,
}

/// A plugin that was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// Its files; the first one is what is loaded.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) service: String,
    /// As `services add` calls it.
    pub(crate) kind: &'static str,
}

impl Built {
    /// What is loaded.
    pub(crate) fn file(&self) -> &Path {
        self.files.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// When the newest file of a project was written.
pub(crate) fn newest(project: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(project).ok()?.filter_map(Result::ok);
    entries
        .filter(|entry| !BUILT.iter().any(|name| entry.file_name() == *name))
        .filter(|entry| entry.path().extension().is_none_or(|extension| extension != "o" && extension != "lock"))
        .filter_map(|entry| match entry.file_type().ok()?.is_dir() {
            true => newest(&entry.path()),
            false => entry.metadata().ok()?.modified().ok(),
        })
        .max()
}

/// Builds a project.
///
/// # Errors
///
/// There is none, its tool fails, or builds no plugin.
pub(crate) fn build(project: &Path) -> Result<Built, BuildError> {
    if project.join("Cargo.toml").is_file() {
        return build_crate(project);
    }
    if !project.join("Makefile").is_file() {
        return Err(BuildError::NoProject { project: project.to_owned() });
    }
    run_tool("make", Command::new("make").current_dir(project))?;
    let missing = BuildError::NotBuilt { tool: "make", wanted: "there is no NAME.o with a NAME.json" };
    let objects = fs::read_dir(project).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let is_service =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "o") && path.with_extension("json").is_file();
    let object = { objects }.find(is_service).ok_or(missing)?;
    let service = object.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Built { files: vec![object.clone(), object.with_extension("json")], service, kind: "object" })
}

fn build_crate(project: &Path) -> Result<Built, BuildError> {
    let tool = "cargo build";
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--message-format", "json-render-diagnostics"]).current_dir(project);
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|source| BuildError::Start { tool, source })?;
    if !output.status.success() {
        return Err(BuildError::Failed { tool, status: output.status });
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let files = lines.filter(|line: &Value| line["reason"] == "compiler-artifact").flat_map(|artifact| {
        let names = artifact["filenames"].as_array().cloned().unwrap_or_default();
        names.into_iter().filter_map(|name| Some(PathBuf::from(name.as_str()?)))
    });
    let service =
        |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_prefix("libpcn_")?.strip_suffix(".so")?.to_owned());
    let built = files.filter_map(|path| Some((service(&path)?, path))).next_back();
    let (service, file) = built.ok_or(BuildError::NotBuilt { tool, wanted: "there is no libpcn_NAME.so" })?;
    Ok(Built { files: vec![file], service, kind: "lib" })
}

fn run_tool(tool: &'static str, command: &mut Command) -> Result<(), BuildError> {
    let status = command.status().map_err(|source| BuildError::Start { tool, source })?;
    if status.success() { Ok(()) } else { Err(BuildError::Failed { tool, status }) }
}
