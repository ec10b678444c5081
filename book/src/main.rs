//! `./x book`: the documentation as a book, in HTML.
//!
//! `docs/SUMMARY.md` says which pages there are, in the form of mdbook's. Why not mdbook: two chapters, README and
//! ARCHITECTURE, are not in `docs`, pages link to files of the repository, and a reader searches all pages at once. mdbook leaves
//! such links broken, and is a program to build or to fetch first, where this is one crate more.

#![forbid(unsafe_code)]

mod frame;
mod page;
mod summary;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use page::Place;
use summary::Summary;

#[derive(Parser)]
#[command(name = "./x book", about = "Makes a book of the documentation, in HTML")]
struct Arguments {
    /// Where to write it
    #[arg(long, value_name = "DIR", default_value = "target/book")]
    out: PathBuf,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn main() -> ExitCode {
    let Arguments { out } = Arguments::parse();
    match write(&root(), &out) {
        Ok(()) => {
            println!("{}", out.join("index.html").display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Writes every page, all of them as one, the pictures, and the files that pages link to.
fn write(root: &Path, out: &Path) -> Result<()> {
    let docs = root.join("docs");
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let summary = Summary::parse(&read(&docs.join("SUMMARY.md"))?).context("docs/SUMMARY.md")?;
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut files = BTreeSet::new();
    let mut whole = String::new();
    for (number, chapter) in summary.chapters().enumerate() {
        let text = read(&docs.join(&chapter.source))?;
        for place in [Place::OwnPage, Place::Whole] {
            let html = page::render(&text, chapter, &summary, place, &mut |file| {
                files.insert(file);
            });
            match place {
                Place::OwnPage => fs::write(out.join(&chapter.target), frame::page(&html, number, &summary))?,
                Place::Whole => whole.push_str(&format!("<section id=\"{}\">\n{html}</section>\n", chapter.id())),
            }
        }
    }
    fs::write(out.join("all.html"), frame::whole(&whole, &summary))?;
    fs::write(out.join("book.css"), include_str!("book.css"))?;
    for file in files {
        let to = out.join(page::copied(&file));
        fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        fs::copy(root.join(&file), &to).with_context(|| format!("a page links to {file}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
