//! Loads the services that could not be loaded at start, when their files are there.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::{Handle, View};
use crate::file_type::FileType;
use crate::model::Change;
use crate::problem::Problems;
use crate::registry::Service;

/// How often the files are looked at.
const PAUSE: Duration = Duration::from_secs(5);

/// When each file that a service may be made from was written, and how long it is.
type Stamps = Vec<Option<(SystemTime, u64)>>;

impl Handle {
    /// Looks after services that are missing, as long as the daemon runs: those that were added by hand, and plugins of cubes
    /// that could not be brought back.
    pub(crate) async fn return_services(&self) -> Infallible {
        let mut seen: BTreeMap<String, Stamps> = BTreeMap::new();
        loop {
            tokio::time::sleep(PAUSE).await;
            for (name, (file_type, uri)) in wanted(&self.view()) {
                let (directories, file) = (Arc::clone(&self.plugin_dirs), uri.clone());
                let Ok(stamps) = spawn_blocking(move || stamps(&directories, &file)).await else { continue };
                let is_any = stamps.iter().any(Option::is_some);
                // Files that did not do are not read again before they have changed.
                if seen.insert(name.clone(), stamps.clone()).as_ref() == Some(&stamps) || !is_any {
                    continue;
                }
                let returned = match self.read_service(file_type, &name, &uri).await {
                    // Another change, or a disk that is full, may be in the way.
                    Ok(service) => self.return_service(&name, service).await.inspect_err(|_| drop(seen.remove(&name))),
                    refused => refused.map(drop),
                };
                if let Err(Problems(problems)) = returned {
                    let why = problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>().join("; ");
                    self.report_missing(&name, why).await;
                }
            }
        }
    }

    async fn return_service(&self, name: &str, service: Service) -> Result<(), Problems> {
        self.change(Change::AddService { name: name.to_owned(), service: Arc::new(service) }).await?;
        tracing::info!(service = name, "loaded: its file is there now");
        Ok(())
    }

    async fn report_missing(&self, name: &str, why: String) {
        let shown = self.view().registry.missing().any(|(other, missing)| other == name && missing.why == why);
        if !shown && let Err(problems) = self.change(Change::MissService { name: name.to_owned(), why }).await {
            tracing::error!(service = name, ?problems, "cannot say why it is not loaded");
        }
    }
}

/// The services that are missing, with their files.
fn wanted(view: &View) -> BTreeMap<String, (FileType, String)> {
    let missing = view.registry.missing();
    let stored =
        missing.map(|(name, missing)| (name.to_owned(), (missing.file_type, missing.uri.display().to_string())));
    let mut wanted: BTreeMap<_, _> = stored.collect();
    for service in view.unrestored.values().map(|waiting| &waiting.cube.service) {
        if view.registry.service(service).is_err() {
            wanted.entry(service.clone()).or_insert_with(|| (FileType::Lib, format!("libpcn_{service}.so")));
        }
    }
    wanted
}

/// Of an object, the manifest counts, too.
fn stamps(directories: &[PathBuf], uri: &str) -> Stamps {
    let files = directories.iter().map(|directory| directory.join(uri));
    let files = files.flat_map(|file| [file.with_extension("json"), file]);
    let stamp = |file: PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    files.map(stamp).collect()
}
