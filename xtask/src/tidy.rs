//! `./x tidy`: the house rules that no compiler knows.
//!
//! What keeps the crates apart is stated in ARCHITECTURE.md as absences; here each absence is looked for.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Past this a file holds more than one subject.
const MOST_LINES: usize = 600;

/// A file of the repository.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

/// A rule that a file breaks; line 0 is the file as a whole.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Words that may not stand in the code of some files.
struct Absence {
    /// Where they may not stand.
    within: &'static str,
    /// Where they may stand all the same.
    except: Option<&'static str>,
    words: &'static [&'static str],
    why: &'static str,
}

const ABSENCES: [Absence; 3] = [
    Absence {
        within: "plugin-api/src/",
        except: None,
        words: &["std::fs", "std::net", "std::process"],
        why: "plugin-api does no I/O",
    },
    Absence {
        within: "host/src/",
        except: Some("host/src/sys/"),
        words: &["libc::syscall", "bpf("],
        why: "only host/src/sys makes raw system calls",
    },
    Absence {
        within: "host/src/",
        except: Some("host/src/rest/"),
        words: &["axum::", "hyper::", "hyper_util::", "http::", "http_body_util::"],
        why: "only host/src/rest knows HTTP",
    },
];

/// Roots of crates in which no unsafe code may be.
const SAFE: [&str; 5] =
    ["api/src/lib.rs", "cli/src/lib.rs", "cli/src/main.rs", "cli/src/bin/polycube-extcap.rs", "xtask/src/main.rs"];

/// Marks of work left undone, put together so that this file does not hold them.
const UNDONE: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!(")];

pub(crate) fn run() -> Result<()> {
    eprintln!("./x: tidy");
    let mut files = Vec::new();
    collect(crate::root(), &mut files)?;
    let findings = files.iter().flat_map(check).map(|finding| finding.to_string()).collect::<Vec<_>>();
    if findings.is_empty() {
        return Ok(());
    }
    bail!("tidy: {} found\n{}", findings.len(), findings.join("\n"))
}

/// Reads every Rust source and manifest below `directory`, build products aside.
fn collect(directory: &Path, files: &mut Vec<File>) -> Result<()> {
    let unreadable = || format!("cannot read {}", directory.display());
    let entries = fs::read_dir(directory).with_context(unreadable)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>().with_context(unreadable)?;
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            if name != "target" && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let path = path.strip_prefix(crate::root())?.to_string_lossy().into_owned();
            files.push(File { path, text });
        }
    }
    Ok(())
}

fn check(file: &File) -> Vec<Finding> {
    if file.path.ends_with("Cargo.toml") { manifest(file) } else { source(file) }
}

fn manifest(file: &File) -> Vec<Finding> {
    if !file.path.starts_with("plugins/") {
        return Vec::new();
    }
    let names_host = |line: &str| line.starts_with("polycubed") || line.contains("../host\"");
    let lines = file.text.lines().enumerate().filter(|(_, line)| names_host(line.trim_start()));
    lines.map(|(at, _)| file.finding(at + 1, "a plugin never depends on the host")).collect()
}

fn source(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        findings.push(file.finding(0, &format!("{lines} lines, and {MOST_LINES} is the most: take a subject out")));
    }
    if SAFE.contains(&file.path.as_str()) && !file.text.lines().any(|line| line == "#![forbid(unsafe_code)]") {
        findings.push(file.finding(0, "#![forbid(unsafe_code)] is gone"));
    }
    for (at, line) in file.text.lines().enumerate() {
        for mark in UNDONE.iter().filter(|mark| line.contains(**mark)) {
            findings.push(file.finding(at + 1, &format!("`{mark}` belongs into an issue")));
        }
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        for absence in ABSENCES.iter().filter(|absence| absence.rules(&file.path)) {
            for word in absence.words.iter().filter(|word| has_word(code, word)) {
                findings.push(file.finding(at + 1, &format!("`{word}`, but {}", absence.why)));
            }
        }
    }
    findings
}

impl File {
    fn finding(&self, line: usize, what: &str) -> Finding {
        Finding { path: self.path.clone(), line, what: what.to_owned() }
    }
}

impl Absence {
    fn rules(&self, path: &str) -> bool {
        path.starts_with(self.within) && self.except.is_none_or(|except| !path.starts_with(except))
    }
}

/// Whether `word` stands in `code`, or the group of an import (`std::{fs, io}`) that says the same.
fn has_word(code: &str, word: &str) -> bool {
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let ends =
        |at: usize| word.ends_with([':', '(']) || !code[at..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let stands = code.match_indices(word).any(|(at, _)| begins(at) && ends(at + word.len()));
    stands || word.split_once("::").is_some_and(|(package, item)| is_grouped(code, package, item))
}

fn is_grouped(code: &str, package: &str, item: &str) -> bool {
    let Some((_, group)) = code.split_once(&format!("use {package}::{{")) else { return false };
    let mut names = group.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    !item.is_empty() && names.any(|name| name == item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: &str, expected: &[&str]) {
        let found = check(&File { path: path.to_owned(), text: text.to_owned() });
        let found = found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn a_long_file_is_found() {
        check_text("cli/src/show.rs", &"\n".repeat(MOST_LINES), &[]);
        check_text(
            "cli/src/show.rs",
            &"\n".repeat(MOST_LINES + 1),
            &["cli/src/show.rs: 601 lines, and 600 is the most: take a subject out"],
        );
    }

    #[test]
    fn a_plugin_that_depends_on_the_host_is_found() {
        let what = "a plugin never depends on the host";
        let path = "plugins/simplebridge/Cargo.toml";
        check_text(path, "[dependencies]\npolycube-plugin-api.workspace = true\n", &[]);
        check_text(path, "[dependencies]\npolycubed.workspace = true\n", &[&format!("{path}:2: {what}")]);
        check_text(path, "core = { path = \"../../host\" }", &[&format!("{path}:1: {what}")]);
        check_text("tests/Cargo.toml", "polycubed.workspace = true\n", &[]);
    }

    #[test]
    fn input_and_output_in_the_sdk_is_found() {
        let path = "plugin-api/src/cube.rs";
        check_text(path, "use std::os::fd::OwnedFd;\nuse std::path::Path;\n// std::fs is not used", &[]);
        check_text(path, "use std::fs::File;", &["plugin-api/src/cube.rs:1: `std::fs`, but plugin-api does no I/O"]);
        check_text(
            path,
            "use std::{io, process};",
            &["plugin-api/src/cube.rs:1: `std::process`, but plugin-api does no I/O"],
        );
    }

    #[test]
    fn a_raw_system_call_outside_sys_is_found() {
        let why = "only host/src/sys makes raw system calls";
        check_text("host/src/sys/bpf.rs", "libc::syscall(libc::SYS_bpf)", &[]);
        check_text("host/src/execute.rs", "load_bpf(object)? // bpf(2)", &[]);
        check_text(
            "host/src/execute.rs",
            "libc::syscall(n)",
            &[&format!("host/src/execute.rs:1: `libc::syscall`, but {why}")],
        );
        check_text("host/src/execute.rs", " bpf(cmd)", &[&format!("host/src/execute.rs:1: `bpf(`, but {why}")]);
    }

    #[test]
    fn http_outside_rest_is_found() {
        check_text("host/src/rest/listen.rs", "use axum::Router;", &[]);
        check_text("cli/src/client.rs", "use hyper::Request;", &[]);
        check_text(
            "host/src/engine.rs",
            "let code = http::StatusCode::OK;",
            &["host/src/engine.rs:1: `http::`, but only host/src/rest knows HTTP"],
        );
        check_text(
            "host/src/engine.rs",
            "use axum::Router;",
            &["host/src/engine.rs:1: `axum::`, but only host/src/rest knows HTTP"],
        );
    }

    #[test]
    fn unsafe_code_stays_forbidden() {
        check_text("cli/src/main.rs", "//! Doc\n\n#![forbid(unsafe_code)]\n", &[]);
        check_text("cli/src/main.rs", "fn main() {}\n", &["cli/src/main.rs: #![forbid(unsafe_code)] is gone"]);
    }

    #[test]
    fn undone_work_is_found() {
        for mark in UNDONE {
            check_text(
                "tests/src/lab.rs",
                &format!("// {mark} later"),
                &[&format!("tests/src/lab.rs:1: `{mark}` belongs into an issue")],
            );
        }
    }
}
