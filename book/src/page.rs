//! A chapter as HTML: its links lead to other chapters, or to copies of files of the repository.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::summary::{Chapter, Summary};

/// Where a chapter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    OwnPage,
    /// Among all others, so that its anchors need its name.
    Whole,
}

/// The HTML of a chapter's text. `link_file` hears of each file of the repository that the chapter needs.
pub(crate) fn render(
    text: &str,
    chapter: &Chapter,
    summary: &Summary,
    place: Place,
    link_file: &mut dyn FnMut(String),
) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, options).collect();
    let ids = heading_ids(&events);
    let mut ids = ids.into_iter();
    for event in &mut events {
        match event {
            Event::Start(Tag::Heading { level, id, .. }) => {
                let own = ids.next().unwrap_or_default();
                *id = match place {
                    Place::OwnPage => Some(own.into()),
                    // The section has the chapter's name.
                    Place::Whole if *level == HeadingLevel::H1 => None,
                    Place::Whole => Some(format!("{}--{own}", chapter.id()).into()),
                };
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                *dest_url = CowStr::from(target(dest_url, chapter, summary, place, link_file));
            }
            _ => {}
        }
    }
    let mut out = String::new();
    html::push_html(&mut out, events.into_iter());
    out
}

/// The anchors of headings, as GitHub makes them.
fn heading_ids(events: &[Event<'_>]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let mut current: Option<String> = None;
    for event in events {
        match event {
            Event::Start(Tag::Heading { .. }) => current = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => ids.extend(current.take()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(id) = &mut current {
                    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
                    id.extend(text.to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }));
                }
            }
            _ => {}
        }
    }
    ids
}

/// Where a link of a chapter leads in the book.
fn target(link: &str, chapter: &Chapter, summary: &Summary, place: Place, link_file: &mut dyn FnMut(String)) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if path.is_empty() { chapter.path() } else { resolve(&chapter.path(), path) };
    match (summary.of(&path), place, anchor) {
        (Some(other), Place::OwnPage, "") => other.target.clone(),
        (Some(other), Place::OwnPage, anchor) => format!("{}#{anchor}", other.target),
        (Some(other), Place::Whole, "") => format!("#{}", other.id()),
        (Some(other), Place::Whole, anchor) => format!("#{}--{anchor}", other.id()),
        (None, ..) => {
            // Of a directory, its contents cannot be shown: the link leads to the page that says where things are.
            if crate::root().join(&path).is_dir() {
                return match place {
                    Place::OwnPage => "tree.html".to_owned(),
                    Place::Whole => "#tree".to_owned(),
                };
            }
            let copy = copied(&path);
            link_file(path);
            copy
        }
    }
}

/// Where the book has a file of the repository.
pub(crate) fn copied(path: &str) -> String {
    path.strip_prefix("docs/").map_or_else(|| format!("files/{path}"), str::to_owned)
}

/// A path relative to the directory of a page, relative to the repository.
fn resolve(page: &str, link: &str) -> String {
    let directory = page.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, place: Place) -> (String, Vec<String>) {
        let summary = "# S\n[Home](../README.md)\n- [A](a.md)\n- [Tree](tree.md)\n";
        let summary = Summary::parse(summary).expect("a summary");
        let mut files = Vec::new();
        let chapter = summary.of("docs/a.md").expect("a chapter");
        (render(text, chapter, &summary, place, &mut |file| files.push(file)), files)
    }

    #[test]
    fn links_lead_to_chapters_and_copies() {
        let text =
            "[1](../README.md#status) [2](#part-1) [3](../x) [4](https://x.y/z.md) [5](../plugins/span) ![6](p/c.svg)";
        let (html, files) = rendered(text, Place::OwnPage);
        let links: Vec<&str> = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["index.html#status", "a.html#part-1", "files/x", "https://x.y/z.md", "tree.html"]);
        assert!(html.contains("src=\"p/c.svg\""), "{html}");
        assert_eq!(files, ["x", "docs/p/c.svg"]);
        let (html, _) = rendered(text, Place::Whole);
        let links: Vec<&str> = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["#index--status", "#a--part-1", "files/x", "https://x.y/z.md", "#tree"]);
    }

    #[test]
    fn headings_have_the_anchors_that_github_gives_them() {
        let (html, _) = rendered("# Title\n## `sniffer set`, and more\n", Place::OwnPage);
        assert!(html.contains("<h1 id=\"title\">") && html.contains("<h2 id=\"sniffer-set-and-more\">"), "{html}");
        let (html, _) = rendered("# Title\n## More\n", Place::Whole);
        assert!(html.contains("<h1>") && html.contains("<h2 id=\"a--more\">"), "{html}");
    }
}
