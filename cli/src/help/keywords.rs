//! The daemon's answer to a question, as text: what can follow a path.

use std::fmt::Write;

use polycube_api::{Form, Help, Keyword, KeywordKind, Unit, Verb};
use serde_json::Value;

use crate::grammar::{Question, Topic, about};
use crate::show::Table;
use crate::terminal::escape;

/// Names that exist are listed up to this many: completion has them all.
const MOST_NAMES: usize = 8;

/// Whether the path leads to something with packets, for `dump` and `watch`.
pub(crate) fn has_packets(help: &Help) -> bool {
    help.params.iter().any(|keyword| keyword.name == "stream" && keyword.kind == KeywordKind::Stream)
}

/// The help text. Tables keep to `width` where it is given.
pub(crate) fn text(help: &Help, question: &Question, width: Option<usize>) -> String {
    let mut text = String::new();
    if !help.description.is_empty() && help.leaf.is_none() {
        let _ = writeln!(text, "{}\n", escape(&help.description));
    }
    let mut rows: Vec<Row> = help.leaf.iter().map(Row::of).collect();
    rows.extend(help.commands.iter().map(|verb| Row::command(verb.as_str(), about(*verb))));
    rows.extend(Topic::packet_commands().filter(|_| has_packets(help)).map(|(word, about)| Row::command(word, about)));
    rows.extend(help.params.iter().map(Row::of));
    let example = example(help, question);
    let says_more = !help.optional.is_empty() || !help.answer.is_empty() || example.is_some();
    if rows.is_empty() && !says_more {
        text.push_str("Nothing follows.\n");
    }
    table(&rows, width, &mut text);
    if !help.optional.is_empty() {
        let start = if rows.is_empty() { "Parameters:\n" } else { "\nOther parameters:\n" };
        text.push_str(start);
        table(&help.optional.iter().map(Row::of).collect::<Vec<_>>(), width, &mut text);
    }
    if !help.answer.is_empty() {
        text.push_str(if rows.is_empty() && help.optional.is_empty() { "Answer:\n" } else { "\nAnswer:\n" });
        table(&help.answer.iter().map(Row::of).collect::<Vec<_>>(), width, &mut text);
    }
    if let Some(example) = example {
        let gap = if rows.is_empty() && help.optional.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{gap}Example:\n polycubectl {example}");
    }
    text
}

/// The names that exist, below a text of our own.
pub(crate) fn names(help: &Help, question: &Question, width: Option<usize>) -> String {
    let fits = |keyword: &Keyword| !question.path.is_empty() || keyword.kind != KeywordKind::Command;
    let rows: Vec<Row> =
        help.params.iter().chain(&help.optional).filter(|keyword| fits(keyword)).map(Row::of).collect();
    let mut text = String::new();
    table(&rows, width, &mut text);
    text
}

/// A command line that could be meant.
fn example(help: &Help, question: &Question) -> Option<String> {
    let command = question.command.filter(|command| *command != Verb::Show)?;
    let path = question.path.iter().map(|word| escape(word));
    let mut words: Vec<String> = path.chain([command.as_str().to_owned()]).collect();
    let known = words.len();
    // The keyword with an example of its own, or else the first.
    let best = |keywords: &[&Keyword]| {
        let with_example = keywords.iter().find(|keyword| !keyword.example.is_empty());
        with_example.or(keywords.first().filter(|_| command != Verb::Add)).map(|keyword| typed(keyword))
    };
    let pairs: Vec<&Keyword> = help.params.iter().filter(|keyword| keyword.pair).collect();
    match command {
        Verb::Add if question.path == ["cubes"] => words.push("< cubes.yaml".to_owned()),
        Verb::Add => {
            let needed = help.params.iter().filter(|param| param.pair || param.kind == KeywordKind::Key);
            words.extend(needed.map(typed).chain(best(&help.optional.iter().collect::<Vec<_>>())));
        }
        Verb::Set => words.extend(best(&pairs)),
        Verb::Del => words.extend(best(&help.params.iter().collect::<Vec<_>>())),
        Verb::Show => {}
    }
    (words.len() > known).then(|| words.join(" "))
}

/// A keyword as it could be typed.
fn typed(keyword: &Keyword) -> String {
    let Keyword { name, kind, initial, maximum, .. } = keyword;
    let value = [&keyword.example].into_iter().chain(keyword.values.last()).find(|text| !text.is_empty());
    let number = [initial, maximum].into_iter().find(|value| !value.is_null()).map(Value::to_string);
    match (keyword.pair, value) {
        (true, Some(value)) if value.contains(' ') => format!("{}='{}'", escape(name), escape(value)),
        (true, Some(value)) => format!("{}={}", escape(name), escape(value)),
        (true, None) => format!("{}={}", escape(name), number.unwrap_or_else(|| "VALUE".to_owned())),
        // Only a name that the user gives is typed as its example has it.
        (false, Some(value)) if *kind == KeywordKind::Key => escape(value),
        (false, _) => escape(name),
    }
}

struct Row {
    name: String,
    kind: String,
    about: String,
    example: String,
}

impl Row {
    fn command(word: &str, about: &str) -> Self {
        let (name, kind) = (word.to_owned(), "command".to_owned());
        Self { name, kind, about: about.to_owned(), example: String::new() }
    }

    fn of(keyword: &Keyword) -> Self {
        let kind = match keyword.simpletype.as_str() {
            "" => keyword.kind.as_str().to_owned(),
            "enum" => keyword.values.join("|"),
            simple => {
                let simple = if keyword.unit.is_empty() { simple } else { &keyword.unit };
                match (&keyword.minimum, &keyword.maximum) {
                    (Value::Null, Value::Null) => simple.to_owned(),
                    (minimum, Value::Null) => format!("{simple} {minimum}.."),
                    (Value::Null, maximum) => format!("{simple} ..{maximum}"),
                    (minimum, maximum) => format!("{simple} {minimum}..{maximum}"),
                }
            }
        };
        let kind = match keyword.form {
            Form::One => kind,
            Form::List => format!("{kind},..."),
            Form::Map => format!("KEY={kind},..."),
        };
        let mut remarks = Vec::new();
        match &keyword.initial {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::Array(values) if values.is_empty() => {}
            Value::Object(members) if members.is_empty() => {}
            Value::String(text) => remarks.push(format!("default {text}")),
            Value::Number(number) if let Some(unit) = Unit::parse(&keyword.unit) => {
                remarks.push(format!("default {}", unit.write(number)));
            }
            value => remarks.push(format!("default {value}")),
        }
        if keyword.read_only {
            remarks.push("read-only".to_owned());
        }
        if keyword.create_only {
            remarks.push("at creation only".to_owned());
        }
        if keyword.kind == KeywordKind::Key && keyword.simpletype != "enum" && !keyword.values.is_empty() {
            let more = if keyword.values.len() > MOST_NAMES { ", …" } else { "" };
            let names: Vec<&str> = keyword.values.iter().take(MOST_NAMES).map(String::as_str).collect();
            remarks.push(format!("now: {}{more}", names.join(", ")));
        }
        let about = match remarks.as_slice() {
            [] => keyword.description.clone(),
            _ => format!("{} ({})", keyword.description, remarks.join("; ")).trim_start().to_owned(),
        };
        let is_typed = matches!(keyword.kind, KeywordKind::Key | KeywordKind::Leaf) && !keyword.read_only;
        let example = if is_typed { keyword.example.clone() } else { String::new() };
        Self { name: keyword.name.clone(), kind, about, example }
    }
}

/// Examples get a column if there is room for it; otherwise they follow the descriptions.
fn table(rows: &[Row], width: Option<usize>, text: &mut String) {
    let has_example = rows.iter().any(|row| !row.example.is_empty());
    let whole = columns(rows, has_example);
    if whole.fits(width) { whole } else { columns(rows, false) }.print(0, &width.into(), text);
}

fn columns(rows: &[Row], has_example: bool) -> Table {
    let mut table = Table::default();
    for (at, Row { name, kind, about, example }) in rows.iter().enumerate() {
        table.put(at, "Keyword", escape(name));
        table.put(at, "Type", escape(kind));
        if has_example || example.is_empty() {
            table.put(at, "Description", escape(about));
        } else {
            table.put(at, "Description", escape(&format!("{about}; for example {example}")));
        }
        if has_example {
            table.put(at, "Example", escape(example));
        }
    }
    table
}

#[cfg(test)]
mod tests;
