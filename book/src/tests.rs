//! Is every page in the book, and does each link in it lead somewhere?

use std::collections::BTreeMap;

use super::*;

/// What stands between quotation marks after `name=`, as in `href="…"`.
fn values<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}=\"");
    html.split(begin.as_str()).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn each_page_of_the_documentation_is_a_chapter() -> Result<()> {
    let summary = Summary::parse(&fs::read_to_string(root().join("docs/SUMMARY.md"))?)?;
    for page in fs::read_dir(root().join("docs"))? {
        let name = page?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "SUMMARY.md" {
            assert!(summary.of(&format!("docs/{name}")).is_some(), "docs/SUMMARY.md does not have {name}");
        }
    }
    assert!(summary.parts.len() >= 5, "{:?}", summary.parts);
    Ok(())
}

#[test]
fn every_link_of_the_book_leads_somewhere() -> Result<()> {
    let out = tempfile::tempdir()?;
    write(&root(), out.path())?;
    let mut pages = BTreeMap::new();
    for file in fs::read_dir(out.path())? {
        let name = file?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".html") {
            pages.insert(name.clone(), fs::read_to_string(out.path().join(&name))?);
        }
    }
    let (mut broken, mut checked) = (Vec::new(), 0);
    for (name, html) in &pages {
        for link in [values(html, "href"), values(html, "src")].concat().iter().filter(|link| !link.contains("://")) {
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let leads = match pages.get(if path.is_empty() { name.as_str() } else { path }) {
                Some(page) => anchor.is_empty() || values(page, "id").contains(&anchor),
                None => out.path().join(path).exists(),
            };
            if !leads {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere: {broken:#?}");
    assert!(checked > 500, "only {checked} links");
    let whole = &pages["all.html"];
    let ids = values(whole, "id");
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "an anchor stands twice in all.html");
    Ok(())
}
