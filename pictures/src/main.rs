//! Draws the pictures of the documentation: each text in `docs/pictures` as a drawing, the recording of the demo as a moving
//! one, and the results of the benches as plots. `./x pictures` writes them; a test fails when a source has changed and its
//! picture has not.

#![forbid(unsafe_code)]

mod cast;
mod drawing;
mod plot;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures")
}

fn main() -> Result<()> {
    for (path, picture) in pictures(&directory())? {
        fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Every picture, and the file that it belongs in.
fn pictures(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut pictures = Vec::new();
    for (ending, draw) in [("txt", drawing::draw as fn(&str) -> Result<String>), ("cast", cast::draw)] {
        let sources = paths.iter().filter(|path| path.extension().is_some_and(|found| found == ending));
        let before = pictures.len();
        for path in sources {
            let drawn = draw(&read(path)?).with_context(|| format!("in {}", path.display()))?;
            pictures.push((path.with_extension("svg"), drawn));
        }
        ensure!(pictures.len() > before, "there is no .{ending} to draw in {}", directory.display());
    }
    let results = directory.join("bench.json");
    let plots = plot::all(&read(&results)?).with_context(|| format!("in {}", results.display()))?;
    pictures.extend(plots.into_iter().map(|(name, plot)| (directory.join(format!("{name}.svg")), plot)));
    Ok(pictures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_what_their_sources_say() -> Result<()> {
        for (path, picture) in pictures(&directory())? {
            let found = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            assert!(found == picture, "{} is not what its source says: run ./x pictures", path.display());
        }
        Ok(())
    }
}
