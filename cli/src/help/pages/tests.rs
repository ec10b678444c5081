//! Do topics fit a terminal, and do they and the documentation have commands that exist?

use std::fs;
use std::path::Path;

use super::super::{STATUSES, WIDTH};
use super::*;
use crate::grammar;

/// The words that a shell makes of a command, up to what ends it.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in command.chars() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('|' | '<' | '>' | '#' | ';' | '&' | ')', None) => break,
            (' ', None) => words.push(String::new()),
            (letter, _) => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[track_caller]
fn check(place: &str, command: &str) {
    let order = grammar::parse(words(command).into_iter().map(Into::into));
    assert!(order.is_ok(), "{place}: polycubectl {command}: {}", order.unwrap_err());
}

#[test]
fn every_line_fits_a_narrow_terminal() {
    for page in &PAGES {
        let found = text(page, WIDTH);
        assert!(found.lines().all(|line| line.len() <= WIDTH), "{found}");
    }
}

#[test]
fn every_command_of_a_topic_is_one() {
    let mut checked = 0;
    for page in &PAGES {
        for line in lines(page) {
            let Line::Fixed(line) = line else { continue };
            let Some(command) = line.trim_start().strip_prefix("polycubectl ") else { continue };
            check(page.name, command.trim_end_matches('\\'));
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// The table is declared once, and the topic repeats it.
#[test]
fn the_topic_on_scripts_has_the_exit_statuses() {
    let page = PAGES.iter().find(|page| page.name == "scripts").unwrap();
    for (status, about) in STATUSES {
        let line = format!("  {status:<4} {about}");
        assert!(page.text.lines().any(|found| found == line), "{line:?} is not in the topic");
    }
}

/// The lines of a page's blocks of shell commands, where `\\` joins lines.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn every_command_of_the_documentation_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|page| page.unwrap().path());
    let mut checked = 0;
    for path in
        pages.filter(|path| path.extension().is_some_and(|ending| ending == "md")).chain([root.join("README.md")])
    {
        for line in commands(&fs::read_to_string(&path).unwrap()) {
            for command in line.split("polycubectl ").skip(1).filter(|command| !command.starts_with('>')) {
                check(&path.display().to_string(), command);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}
