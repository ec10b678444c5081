//! Printing of the daemon's answers.

mod paper;
mod schema;
mod table;
mod topology;
mod yaml;

use std::collections::HashSet;
use std::fmt::Write;
use std::slice;

use polycube_api::{EPHEMERAL, Unit, without_numbers};
use serde_json::{Map, Value};

pub(crate) use self::paper::Paper;
pub(crate) use self::schema::Schema;
pub(crate) use self::table::{Table, paragraph};
use crate::grammar::{Detail, View};
use crate::terminal::{escape, escape_json, escape_text};

/// Renders an answer, of which `schema` says more; unless it is empty, it ends with one newline.
pub(crate) fn render(view: &View, value: &Value, schema: Schema<'_>, paper: impl Into<Paper>) -> String {
    let paper = paper.into();
    match view {
        View::Json => escape_json(&format!("{value:#}\n")),
        View::Yaml => yaml::print(value),
        View::Names => names(value),
        View::Topology => topology::draw(value).unwrap_or_else(|| render(&View::plain(), value, schema, paper)),
        View::Text { detail, all, hide } => {
            let all = *all || *detail == Detail::Verbose;
            let printer = Printer { detail: *detail, all, hide, schema, paper };
            let mut out = String::new();
            printer.answer(value, &mut out);
            out
        }
    }
}

/// What the entries of a list are called, one a line: their names, or what comes first in each. Cubes come by service.
fn names(value: &Value) -> String {
    let name = |entry: &Value| match entry {
        Value::Object(members) => {
            let first = || members.values().find(|value| !is_tree(value));
            members.get("name").or_else(first).map_or_else(String::new, |name| leaf(name) + "\n")
        }
        entry => leaf(entry) + "\n",
    };
    match value {
        Value::Array(entries) => entries.iter().map(name).collect(),
        Value::Object(services) if services.values().all(Value::is_array) => services.values().map(names).collect(),
        value => name(value),
    }
}

/// Where a transparent cube is attached.
const PLACES: &str = "parents";

struct Printer<'a> {
    detail: Detail,
    /// Whether to show what few people want to see, too.
    all: bool,
    hide: &'a [String],
    schema: Schema<'a>,
    paper: Paper,
}

impl Printer<'_> {
    fn answer(&self, value: &Value, out: &mut String) {
        match value {
            // A sentence of the daemon's, such as where the dump is, may have its own newline.
            Value::String(text) => out.extend([escape_text(text.trim_end_matches('\n')).as_str(), "\n"]),
            Value::Object(object) => self.whole(object, out),
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) if self.detail == Detail::Brief => {
                let _ = writeln!(out, "{}", count(items));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => self.table(items, "", 0, out),
            Value::Array(items) => out.extend(items.iter().map(|item| self.leaf("", item) + "\n")),
            // Scripts read a single value.
            _ if self.paper.width.is_none() => out.extend([leaf(value).as_str(), "\n"]),
            _ => out.extend([self.leaf("", value).as_str(), "\n"]),
        }
    }

    /// An object, and below it the names of what is left out.
    fn whole(&self, object: &Map<String, Value>, out: &mut String) {
        self.object(object, "", 0, out);
        let is_hidden = |key: &&String| self.hides(key) || key.as_str() == "_links";
        let keys = object.keys().filter(|key| !is_hidden(key) && self.leaves_out(key, &object[key.as_str()]));
        let keys: Vec<String> = keys.map(|key| escape(key)).collect();
        if !keys.is_empty() {
            let _ = writeln!(out, "\nnot shown, because they are defaults or details: {} (--all)", keys.join(", "));
        }
    }

    /// Whether few people want to see the value at a path: it is a detail, or a group of defaults of the whole answer.
    fn leaves_out(&self, path: &str, value: &Value) -> bool {
        !self.all && (self.schema.is_minor(path, value) || !path.contains('.') && self.schema.is_default(path, value))
    }

    fn leaf(&self, path: &str, value: &Value) -> String {
        let time = || self.paper.clock.shows(value.as_str()?);
        self.schema.with_unit(path, value).or_else(time).unwrap_or_else(|| leaf(value))
    }

    /// Leaves first, then objects, then tables: what is short is not lost below what is long.
    fn object(&self, object: &Map<String, Value>, path: &str, indent: usize, out: &mut String) {
        let fields = || self.fields(object, path);
        for (key, value, path) in fields().filter(|(_, value, _)| !is_tree(value)) {
            let shown = match value {
                Value::Array(items) if self.detail == Detail::Brief => count(items),
                _ => self.leaf(&path, value),
            };
            let shown = self.paper.cell(key, &shown);
            let _ = writeln!(out, "{:indent$}{}: {shown}", "", escape(key));
        }
        let mut gap = "";
        for (key, value, path) in fields() {
            if let Value::Object(inner) = value {
                let _ = writeln!(out, "{gap}{:indent$}{}", "", self.paper.title(&format!("{}:", escape(key))));
                let begin = out.len() - 1;
                self.object(inner, &path, indent + 1, out);
                // What follows a table is not a row of it.
                gap = if out[begin..].contains("\n\n") { "\n" } else { "" };
            }
        }
        for (key, value, path) in fields() {
            match value {
                Value::Array(items) if is_tree(value) && self.detail > Detail::Brief => {
                    let gap = if out.is_empty() { "" } else { "\n" };
                    let _ = writeln!(out, "{gap}{:indent$}{}", "", self.paper.title(&format!("{}:", escape(key))));
                    self.table(items, &path, indent + 1, out);
                }
                Value::Array(items) if is_tree(value) => {
                    let _ = writeln!(out, "{:indent$}{}: {}", "", escape(key), count(items));
                }
                _ => {}
            }
        }
    }

    fn table(&self, items: &[Value], path: &str, indent: usize, out: &mut String) {
        let mut table = Table::default();
        self.entries(&mut table, 0, items, path, &Title::default());
        table.print(indent, &self.paper, out);
    }

    /// Writes a list's entries into the table, from `row` down; returns how many rows they took.
    fn entries(&self, table: &mut Table, row: usize, items: &[Value], path: &str, title: &Title) -> usize {
        let fields = items.iter().filter_map(Value::as_object).flatten();
        let objects: HashSet<&str> =
            fields.filter(|(_, value)| value.is_object()).map(|(key, _)| key.as_str()).collect();
        items.iter().fold(0, |taken, item| taken + self.rows(table, row + taken, item, path, title, &objects))
    }

    /// Writes one entry of a list, other entries of which have `objects`, into the table, from `row` down; returns how
    /// many rows it took.
    fn rows(
        &self,
        table: &mut Table,
        row: usize,
        item: &Value,
        path: &str,
        title: &Title,
        objects: &HashSet<&str>,
    ) -> usize {
        let Value::Object(object) = item else {
            table.put(row, &title.of("value"), self.leaf(path, item));
            return 1;
        };
        let open = self.detail == Detail::Verbose && title.depth == 0;
        for (key, value, path) in self.fields(object, path).filter(|(key, ..)| !self.is_minor_column(object, key)) {
            match value {
                Value::Array(items) if is_tree(value) && !open => table.put(row, &title.of(key), count(items)),
                Value::Object(whose) if key == EPHEMERAL && !open => {
                    ephemeral(whose, |key, cell| table.put(row, &title.of(key), cell));
                }
                Value::Array(_) if key == PLACES && is_cube(object) => table.put(row, &title.of("place"), leaf(value)),
                _ if is_tree(value) => {}
                // Objects have no cell, and so their absence has none.
                Value::Null if objects.contains(key) => {}
                _ => table.put(row, &title.of(key), self.leaf(&path, value)),
            }
        }
        let mut taken = 1;
        for (key, value, path) in self.fields(object, path).filter(|(_, value, _)| open && is_tree(value)) {
            match value {
                Value::Array(items) => taken = taken.max(self.entries(table, row, items, &path, &title.list(key))),
                _ => taken = taken.max(self.entries(table, row, slice::from_ref(value), &path, &title.object(key))),
            }
        }
        taken
    }

    /// Whether a list of cubes has no column for this: what takes much room and few people want, and what another says.
    fn is_minor_column(&self, object: &Map<String, Value>, key: &str) -> bool {
        let is_said_twice = key == "parent" && object.get(PLACES).is_some_and(Value::is_array);
        !self.all && is_cube(object) && (is_said_twice || ["uuid", "type", "loglevel"].contains(&key))
    }

    /// Whether `path` is, or ends with, a name to hide: `uuid` hides `ports.uuid`, and not `ports.my-uuid`.
    fn hides(&self, path: &str) -> bool {
        self.hide.iter().any(|name| path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    }

    /// The fields of an object that are shown, each with its own dotted path.
    fn fields<'v>(
        &self,
        object: &'v Map<String, Value>,
        path: &str,
    ) -> impl Iterator<Item = (&'v str, &'v Value, String)> {
        // What cannot be seen otherwise is for reading it back: for people, state is shown in its place.
        let is_cube = is_cube(object);
        let is_for_programs =
            move |key: &str, value: &Value| key == "_links" || (is_cube && key == "config" && value.is_object());
        object.iter().filter(move |(key, value)| !is_for_programs(key, value)).filter_map(move |(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            (!self.hides(&path) && !self.leaves_out(&path, value)).then_some((key.as_str(), value, path))
        })
    }
}

/// The name of a column: `name (ports)` for a list in a list, `filters.src` for an object in a list.
#[derive(Default)]
struct Title {
    prefix: String,
    suffix: String,
    depth: usize,
}

impl Title {
    fn of(&self, key: &str) -> String {
        escape(&format!("{}{key}{}", self.prefix, self.suffix))
    }

    fn list(&self, key: &str) -> Self {
        Self { prefix: String::new(), suffix: format!(" ({}{key})", self.prefix), depth: self.depth + 1 }
    }

    fn object(&self, key: &str) -> Self {
        Self { prefix: format!("{}{key}.", self.prefix), suffix: self.suffix.clone(), depth: self.depth + 1 }
    }
}

/// Whether a value needs separate lines; a list of plain values does not.
fn is_tree(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().any(|item| item.is_object() || item.is_array()),
        _ => false,
    }
}

fn leaf(value: &Value) -> String {
    match value {
        Value::String(text) => escape(&without_numbers(text)),
        Value::Null => "unset".to_owned(),
        Value::Array(items) if items.is_empty() => count(items),
        Value::Array(items) if !is_tree(value) => items.iter().map(leaf).collect::<Vec<_>>().join(", "),
        _ => escape(&value.to_string()),
    }
}

/// Puts whose a cube is that goes with its stream, and how long it has been there.
fn ephemeral(whose: &Map<String, Value>, mut put: impl FnMut(&str, String)) {
    for (key, value) in whose {
        let age = (key == "age").then(|| value.as_u64()).flatten();
        put(key, age.map_or_else(|| leaf(value), |age| Unit::Seconds.write(&age.into())));
    }
}

fn is_cube(object: &Map<String, Value>) -> bool {
    object.contains_key("service-name")
}

fn count(items: &[Value]) -> String {
    if items.len() == 1 { "[1 item]".to_owned() } else { format!("[{} items]", items.len()) }
}

#[cfg(test)]
mod tests;
