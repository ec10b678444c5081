//! `config`: the whole configuration saved, applied and compared.

mod report;

use std::fs;
use std::io;

use polycube_document::Document;
use serde_json::Value;

use crate::failure::Failure;
use crate::grammar::{Configuration, Source};
use crate::input::{self, InputError};
use crate::output::print;
use crate::refusal::Refusal;
use crate::session::Session;
use crate::show;
use crate::terminal::width;

/// Does what is asked for.
///
/// # Errors
///
/// The configuration cannot be read, or the daemon refuses.
pub(crate) fn run(asked: &Configuration, session: impl FnOnce() -> Result<Session, Failure>) -> Result<(), Failure> {
    let mut request = asked.request();
    let applying = match asked {
        Configuration::Save(view) => {
            let answer = session()?.accepted(&request)?;
            let saved = serde_json::from_slice(&answer.body).map_err(|_| Failure::NotJson)?;
            return print(&show::render(view, &saved, show::Schema::default(), width()));
        }
        Configuration::Apply(applying) => applying,
    };
    let (name, document) = read(&applying.from)?;
    request.body = Some(document.value.clone());
    let answer = session()?.ask(&request)?;
    if !answer.status.is_success() {
        return Err(Refusal::of_document(&answer, |path| place(&name, &document, path)).into());
    }
    let changes: Value = serde_json::from_slice(&answer.body).map_err(|_| Failure::NotJson)?;
    print(&report::render(applying, &changes, width()))
}

/// Reads a configuration. Answers with what it is called, too.
fn read(from: &Source) -> Result<(String, Document), InputError> {
    let (name, text) = match from {
        Source::File(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path);
            (name.clone(), text.map_err(|source| InputError::File { name, source })?)
        }
        Source::Input if io::IsTerminal::is_terminal(&io::stdin()) => return Err(InputError::Terminal),
        Source::Input | Source::Dash => (input::NAME.to_owned(), input::text()?),
    };
    let document = Document::parse(&text).map_err(|source| InputError::Document { name: name.clone(), source })?;
    match document.value {
        // To remove everything, say so: an empty file is a mistake more often.
        Value::Null => Err(InputError::Empty { name }),
        _ => Ok((name, document)),
    }
}

/// Where the node that a refusal is about was written.
fn place(name: &str, document: &Document, path: &str) -> Option<String> {
    let path = match path.strip_prefix("config") {
        Some(path) => path.trim_start_matches('/').to_owned(),
        // What a plugin refuses is about its cube.
        None => {
            let cube = path.split('/').next()?;
            let cubes = document.value["cubes"].as_array()?;
            cubes.iter().any(|one| one["name"] == cube).then(|| format!("cubes/{path}"))?
        }
    };
    let place = document.place(&path)?;
    Some(format!("{name}:{}:{}", place.line, place.column))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_placed_where_the_document_has_their_paths() {
        let document = Document::parse("cubes:\n- name: br1\n  size: 10\nchains: {veth9: [a]}\n").unwrap();
        for (path, expected) in [
            ("config/cubes/br1/size", Some("f.yaml:3:3")),
            ("br1/size", Some("f.yaml:3:3")),
            ("config/cubes/0", Some("f.yaml:2:3")),
            ("config/chains/veth9", Some("f.yaml:4:10")),
            ("config", Some("f.yaml:1:1")),
            ("attach", None),
            ("br2/size", None),
        ] {
            assert_eq!(place("f.yaml", &document, path).as_deref(), expected, "{path}");
        }
    }
}
