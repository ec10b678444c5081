//! What stands around a chapter: the contents on the left, and the way to its neighbours.

use std::fmt::Write as _;

use crate::summary::{Chapter, Summary};

/// The page of a chapter.
pub(crate) fn page(html: &str, number: usize, summary: &Summary) -> String {
    let chapters: Vec<&Chapter> = summary.chapters().collect();
    let link = |at: Option<usize>, class: &str| {
        let chapter = at.and_then(|at| chapters.get(at));
        chapter.map(|chapter| format!("<a class=\"{class}\" href=\"{}\">{}</a>", chapter.target, chapter.title))
    };
    let back = link(number.checked_sub(1), "back").unwrap_or_default();
    let on = link(Some(number + 1), "on").unwrap_or_default();
    let body = format!("{html}<footer>{back}{on}</footer>\n");
    frame(&chapters[number].title, &body, &contents(summary, |chapter| chapter.target.clone(), Some(number)))
}

/// All chapters on one page.
pub(crate) fn whole(html: &str, summary: &Summary) -> String {
    frame("All pages", html, &contents(summary, |chapter| format!("#{}", chapter.id()), None))
}

fn contents(summary: &Summary, target: impl Fn(&Chapter) -> String, current: Option<usize>) -> String {
    let mut out = String::new();
    let mut number = 0;
    for (title, chapters) in &summary.parts {
        if !title.is_empty() {
            let _ = writeln!(out, "<h2>{title}</h2>");
        }
        for chapter in chapters {
            let mark = if current == Some(number) { " aria-current=\"page\"" } else { "" };
            let _ = writeln!(out, "<a href=\"{}\"{mark}>{}</a>", target(chapter), chapter.title);
            number += 1;
        }
    }
    out.push_str("<h2>Search</h2>\n<a href=\"all.html\">All pages as one</a>\n");
    out
}

fn frame(title: &str, body: &str, contents: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} – polycube</title>\n\
         <link rel=\"stylesheet\" href=\"book.css\">\n</head>\n<body>\n<nav>\n{contents}</nav>\n<main>\n{body}</main>\n</body>\n\
         </html>\n"
    )
}
