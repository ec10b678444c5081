//! The daemon's answer to a question: what can follow a path.

use std::fmt::Write;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Topic;
use crate::grammar::{Command, Question};
use crate::show::{Table, escape};

/// Names that exist are told up to this many: completion has them all.
const MOST_NAMES: usize = 8;

/// What can follow.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    description: String,
    leaf: Option<Keyword>,
    commands: Vec<String>,
    params: Map<String, Value>,
    #[serde(rename = "optional-params")]
    optional: Map<String, Value>,
}

/// A word that can follow.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Keyword {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) simpletype: String,
    pub(crate) description: String,
    example: String,
    #[serde(rename = "default")]
    initial: Value,
    minimum: Value,
    maximum: Value,
    pub(crate) values: Vec<String>,
    pub(crate) pair: bool,
    read_only: bool,
    create_only: bool,
}

impl Answer {
    /// Reads the body of an answer; `None` when it is not of the expected form.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    pub(crate) fn commands(&self) -> impl Iterator<Item = Command> {
        self.commands.iter().filter_map(|word| Command::parse(word))
    }

    /// What has to follow, or can.
    fn params(&self) -> Vec<Keyword> {
        keywords(&self.params)
    }

    fn optional(&self) -> Vec<Keyword> {
        keywords(&self.optional)
    }

    /// Whether the path leads to something with packets to give, to `dump` and `watch`.
    pub(crate) fn has_packets(&self) -> bool {
        self.params.get("stream").is_some_and(|keyword| keyword["type"] == "stream")
    }

    pub(crate) fn keywords(&self) -> Vec<Keyword> {
        [self.params(), self.optional()].into_iter().flatten().collect()
    }

    /// The help text. Tables keep to `width` where it is given.
    pub(crate) fn text(&self, question: &Question, width: Option<usize>) -> String {
        let mut text = String::new();
        if !self.description.is_empty() && self.leaf.is_none() {
            let _ = writeln!(text, "{}\n", escape(&self.description));
        }
        let mut rows: Vec<Row> = self.leaf.iter().map(Row::of).collect();
        rows.extend(self.commands().map(|command| Row::command(command.word(), command.about())));
        rows.extend(Topic::taps().filter(|_| self.has_packets()).map(|(word, about)| Row::command(word, about)));
        rows.extend(self.params().iter().map(Row::of));
        let example = self.example(question);
        if rows.is_empty() && self.optional.is_empty() && example.is_none() {
            text.push_str("Nothing follows.\n");
        }
        table(&rows, width, &mut text);
        if !self.optional.is_empty() {
            let start = if rows.is_empty() { "Parameters:\n" } else { "\nOther parameters:\n" };
            text.push_str(start);
            table(&self.optional().iter().map(Row::of).collect::<Vec<_>>(), width, &mut text);
        }
        if let Some(example) = example {
            let gap = if rows.is_empty() && self.optional.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}Example:\n polycubectl {example}");
        }
        text
    }

    /// The names that exist, below a text of our own.
    pub(crate) fn names(&self, question: &Question, width: Option<usize>) -> String {
        let fits = |keyword: &Keyword| !question.path.is_empty() || keyword.kind != "command";
        let rows: Vec<Row> = self.keywords().iter().filter(|keyword| fits(keyword)).map(Row::of).collect();
        let mut text = String::new();
        table(&rows, width, &mut text);
        text
    }

    /// A command line that could be meant.
    fn example(&self, question: &Question) -> Option<String> {
        let command =
            question.command.filter(|command| matches!(command, Command::Add | Command::Set | Command::Del))?;
        let path = question.path.iter().map(|word| escape(word));
        let mut words: Vec<String> = path.chain([command.word().to_owned()]).collect();
        let (params, optional) = (self.params(), self.optional());
        let known = words.len();
        let example = |keywords: &[Keyword]| {
            let best = keywords.iter().find(|keyword| !keyword.example.is_empty());
            best.or(keywords.first().filter(|_| command != Command::Add)).map(Keyword::typed)
        };
        match command {
            Command::Add if question.path == ["cubes"] => words.push("< cubes.yaml".to_owned()),
            Command::Add => {
                let needed = params.iter().filter(|param| param.pair || param.kind == "key");
                words.extend(needed.map(Keyword::typed).chain(example(&optional)));
            }
            Command::Set => words.extend(example(&keywords_where(&self.params, |keyword| keyword.pair))),
            Command::Del => words.extend(example(&params)),
            Command::Show => {}
        }
        (words.len() > known).then(|| words.join(" "))
    }
}

impl Keyword {
    /// As it could be typed.
    fn typed(&self) -> String {
        let value = [&self.example].into_iter().chain(self.values.last()).find(|text| !text.is_empty());
        let number = [&self.initial, &self.maximum].into_iter().find(|value| !value.is_null()).map(Value::to_string);
        match (self.pair, value) {
            (true, Some(value)) if value.contains(' ') => format!("{}='{}'", escape(&self.name), escape(value)),
            (true, Some(value)) => format!("{}={}", escape(&self.name), escape(value)),
            (true, None) => format!("{}={}", escape(&self.name), number.unwrap_or_else(|| "VALUE".to_owned())),
            // Only a name that the user gives is typed as its example has it.
            (false, Some(value)) if self.kind == "key" => escape(value),
            (false, _) => escape(&self.name),
        }
    }
}

fn keywords(params: &Map<String, Value>) -> Vec<Keyword> {
    keywords_where(params, |_| true)
}

fn keywords_where(params: &Map<String, Value>, fits: impl Fn(&Keyword) -> bool) -> Vec<Keyword> {
    params.values().filter_map(|value| serde_json::from_value(value.clone()).ok()).filter(fits).collect()
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
            "" => keyword.kind.clone(),
            "enum" => keyword.values.join("|"),
            simple => match (&keyword.minimum, &keyword.maximum) {
                (Value::Null, Value::Null) => simple.to_owned(),
                (minimum, Value::Null) => format!("{simple} {minimum}.."),
                (Value::Null, maximum) => format!("{simple} ..{maximum}"),
                (minimum, maximum) => format!("{simple} {minimum}..{maximum}"),
            },
        };
        let mut remarks = Vec::new();
        match &keyword.initial {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => remarks.push(format!("default {text}")),
            value => remarks.push(format!("default {value}")),
        }
        if keyword.read_only {
            remarks.push("read-only".to_owned());
        }
        if keyword.create_only {
            remarks.push("at creation only".to_owned());
        }
        if keyword.kind == "key" && !keyword.values.is_empty() {
            let more = if keyword.values.len() > MOST_NAMES { ", …" } else { "" };
            let names: Vec<&str> = keyword.values.iter().take(MOST_NAMES).map(String::as_str).collect();
            remarks.push(format!("now: {}{more}", names.join(", ")));
        }
        let about = match remarks.as_slice() {
            [] => keyword.description.clone(),
            _ => format!("{} ({})", keyword.description, remarks.join("; ")).trim_start().to_owned(),
        };
        let is_typed = matches!(keyword.kind.as_str(), "key" | "leaf") && !keyword.read_only;
        let example = if is_typed { keyword.example.clone() } else { String::new() };
        Self { name: keyword.name.clone(), kind, about, example }
    }
}

/// Examples get a column where there is room for it, or else stand behind the descriptions.
fn table(rows: &[Row], width: Option<usize>, text: &mut String) {
    let has_example = rows.iter().any(|row| !row.example.is_empty());
    let whole = columns(rows, has_example);
    if whole.fits(width) { whole } else { columns(rows, false) }.print(0, width, text);
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
