//! The table of contents: parts, and the chapters in them.

use anyhow::{Context as _, Result, ensure};

/// A page of the book.
#[derive(Debug, PartialEq)]
pub(crate) struct Chapter {
    pub(crate) title: String,
    /// Its text, relative to `docs`.
    pub(crate) source: String,
    /// Its file in the book.
    pub(crate) target: String,
}

impl Chapter {
    /// What it is called where all chapters are one page.
    pub(crate) fn id(&self) -> &str {
        self.target.trim_end_matches(".html")
    }

    /// Its text, relative to the repository.
    pub(crate) fn path(&self) -> String {
        self.source.strip_prefix("../").map_or_else(|| format!("docs/{}", self.source), str::to_owned)
    }
}

/// Parts with their titles, which are empty before the first one.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) parts: Vec<(String, Vec<Chapter>)>,
}

impl Summary {
    /// Reads mdbook's form: `# Part` and `- [Title](page.md)`; the first heading is the title of the file.
    ///
    /// # Errors
    /// A line is neither, or two chapters would be one file.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut parts = vec![(String::new(), Vec::new())];
        for line in text.lines().skip(1).filter(|line| !line.trim().is_empty()) {
            if let Some(title) = line.strip_prefix("# ") {
                parts.push((title.to_owned(), Vec::new()));
                continue;
            }
            let link = line.trim_start().trim_start_matches("- ").strip_prefix('[');
            let link = link.and_then(|link| link.strip_suffix(')')).and_then(|link| link.split_once("]("));
            let (title, source) = link.with_context(|| format!("`{line}` is neither a part nor a chapter"))?;
            let chapter = Chapter { title: title.to_owned(), source: source.to_owned(), target: target(source)? };
            parts.last_mut().context("there is a part")?.1.push(chapter);
        }
        let summary = Self { parts };
        let mut targets: Vec<_> = summary.chapters().map(|chapter| &chapter.target).collect();
        targets.sort_unstable();
        ensure!(targets.windows(2).all(|pair| pair[0] != pair[1]), "two chapters would be the same file");
        Ok(summary)
    }

    pub(crate) fn chapters(&self) -> impl Iterator<Item = &Chapter> {
        self.parts.iter().flat_map(|(_, chapters)| chapters)
    }

    /// The chapter of a page of the repository, such as `docs/capture.md`.
    pub(crate) fn of(&self, path: &str) -> Option<&Chapter> {
        self.chapters().find(|chapter| chapter.path() == path)
    }
}

/// `capture.md` becomes `capture.html`, and the README the first page.
fn target(source: &str) -> Result<String> {
    let name = source.rsplit('/').next().unwrap_or(source);
    let name = name.strip_suffix(".md").with_context(|| format!("{source} is not a page"))?;
    Ok(if name == "README" { "index.html".to_owned() } else { format!("{}.html", name.to_lowercase()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_chapters() -> Result<()> {
        let text = "# Summary\n\n[First](../README.md)\n\n# Part\n\n- [A page](a.md)\n- [B](../B.md)\n";
        let summary = Summary::parse(text)?;
        let found: Vec<_> = summary.parts.iter().map(|(title, chapters)| (title.as_str(), chapters.len())).collect();
        assert_eq!(found, [("", 1), ("Part", 2)]);
        let paths: Vec<_> = summary.chapters().map(Chapter::path).collect();
        assert_eq!(paths, ["README.md", "docs/a.md", "B.md"]);
        let targets: Vec<_> = summary.chapters().map(|chapter| chapter.target.as_str()).collect();
        assert_eq!(targets, ["index.html", "a.html", "b.html"]);
        Ok(())
    }

    #[test]
    fn a_line_that_is_neither_is_refused() {
        let error = Summary::parse("# Summary\n- page.md\n").expect_err("it has no link");
        assert_eq!(error.to_string(), "`- page.md` is neither a part nor a chapter");
        assert!(Summary::parse("# Summary\n- [A](a.md)\n- [B](../A.md)\n").is_err());
    }
}
