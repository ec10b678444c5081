//! Completion: the words that can follow those that are typed already. A shell's script asks for them with
//! `polycubectl --complete WORD...`, whose last word is the one that is being typed.

use std::collections::HashSet;
use std::env;

use polycube_api::{Help, Keyword, KeywordKind};
use serde_json::Value;

use crate::grammar::{
    CAPTURES_WORDS, CONFIG_WORDS, FORMAT_FLAG, FORMATS, PAGES, PLUGIN_WORDS, Partial, Shell, Topic, about,
};
use crate::help::has_packets;

/// Places that stand for netdevs, or what they begin with.
const PLACES: [(&str, &str); 5] = [
    ("any", "all netdevs"),
    ("netns:", "the netdevs of a network namespace"),
    ("pid:", "the netdevs of a process"),
    ("container:", "the netdevs of a container"),
    ("pod:", "the netdevs of a pod"),
];

/// What a shell runs when it starts.
pub(crate) fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("complete/polycubectl.bash"),
        Shell::Zsh => include_str!("complete/polycubectl.zsh"),
        Shell::Fish => include_str!("complete/polycubectl.fish"),
    }
}

/// A word, and one line about it.
#[derive(Debug, PartialEq)]
struct Candidate {
    word: String,
    about: String,
}

/// The words of a command line that is being typed, when `--complete` asks for what can follow.
pub(crate) fn asked() -> Option<Vec<String>> {
    let mut words = env::args_os().skip(1);
    (words.next()? == "--complete").then(|| words.map(|word| word.to_string_lossy().into_owned()).collect())
}

/// One line for each word that can follow: the word, a tab, and what it is. Whatever goes wrong, nothing is
/// printed: this runs while the user is typing.
pub(crate) fn lines(words: &[String], ask: impl FnOnce(&Partial) -> Option<Help>) -> String {
    let Some((current, before)) = words.split_last() else { return String::new() };
    if before.last().is_some_and(|flag| flag == FORMAT_FLAG) {
        return matching(current, &FORMATS.map(|format| Candidate::new((format, ""))));
    }
    let Some(partial) = Partial::parse(before) else { return String::new() };
    let candidates = match current.split_once('=') {
        Some((flag, _)) if flag == FORMAT_FLAG => {
            FORMATS.map(|format| Candidate::new((format!("{flag}={format}"), ""))).into()
        }
        _ if current.starts_with('-') => flags(&partial),
        Some((name, _)) => values(name, &ask(&partial).unwrap_or_default()),
        None => following(&partial, ask(&partial).as_ref()),
    };
    matching(current, &candidates)
}

/// What an answer says can follow; the names of a list's entries, if it is one.
pub(crate) fn help(body: &[u8]) -> Option<Help> {
    let entries = match serde_json::from_slice(body).ok()? {
        Value::Array(entries) => entries,
        help => return serde_json::from_value(help).ok(),
    };
    let values = entries.iter().filter_map(|entry| entry["name"].as_str()).map(str::to_owned).collect();
    let names = Keyword { values, ..Keyword::new("name", KeywordKind::Key, "") };
    Some(Help { params: vec![names], ..Help::default() })
}

/// The lines of those that begin with `current`.
fn matching(current: &str, candidates: &[Candidate]) -> String {
    let mut lines = String::new();
    for Candidate { word, about } in candidates.iter().filter(|candidate| candidate.word.starts_with(current)) {
        let is_odd = |text: &str| text.contains(|c: char| c.is_control());
        if !is_odd(word) {
            let about = if is_odd(about) { "" } else { about };
            lines.extend([word, "\t", about, "\n"]);
        }
    }
    lines
}

impl Candidate {
    fn new((word, about): (impl Into<String>, impl Into<String>)) -> Self {
        Self { word: word.into(), about: about.into() }
    }
}

fn flags(partial: &Partial) -> Vec<Candidate> {
    partial.flags().into_iter().map(|flag| Candidate::new((flag, ""))).collect()
}

fn keywords(help: &Help) -> impl Iterator<Item = &Keyword> {
    help.params.iter().chain(&help.optional)
}

/// The values of the pair that is being typed.
fn values(name: &str, answer: &Help) -> Vec<Candidate> {
    let pairs = keywords(answer).filter(|keyword| keyword.pair && keyword.name == name);
    let values = pairs.flat_map(|keyword| match keyword.simpletype.as_str() {
        "boolean" => ["true", "false"].map(str::to_owned).into(),
        _ => keyword.values.clone(),
    });
    values.map(|value| Candidate::new((format!("{name}={value}"), ""))).collect()
}

/// The words that can follow, the grammar's before the daemon's.
fn following(partial: &Partial, answer: Option<&Help>) -> Vec<Candidate> {
    let question = &partial.question;
    let mut found: Vec<Candidate> = match (question.topic, question.path.as_slice(), question.command) {
        (Topic::Completion, [_], _) => {
            return Shell::ALL.iter().map(|shell| Candidate::new((shell.name(), "Its completion script"))).collect();
        }
        (Topic::Config, [_], None) => return CONFIG_WORDS.map(Candidate::new).into(),
        (Topic::Help, [_], None) => {
            return PAGES.iter().map(|page| Candidate::new((page.name, page.about))).collect();
        }
        (Topic::Captures, [_], None) => return CAPTURES_WORDS.map(Candidate::new).into(),
        (Topic::Plugin, [_], None) => return PLUGIN_WORDS.map(Candidate::new).into(),
        _ if partial.takes_place => PLACES.map(Candidate::new).into(),
        (_, [], None) => Topic::words().map(Candidate::new).collect(),
        _ => Vec::new(),
    };
    let Some(answer) = answer else { return found };
    if question.command.is_none() && partial.given.is_empty() {
        found.extend(answer.commands.iter().map(|verb| Candidate::new((verb.as_str(), about(*verb)))));
        found.extend(Topic::packet_commands().filter(|_| has_packets(answer)).map(Candidate::new));
    }
    found.extend(keywords(answer).flat_map(|keyword| words_of(keyword, &partial.given)));
    let mut seen = HashSet::new();
    found.retain(|candidate| seen.insert(candidate.word.clone()));
    found
}

/// The words of a keyword, after the `given` pairs.
fn words_of(keyword: &Keyword, given: &[String]) -> Vec<Candidate> {
    let Keyword { name, kind, values, description, pair, .. } = keyword;
    let words = match kind {
        _ if *pair && given.contains(name) => Vec::new(),
        _ if *pair => vec![format!("{name}=")],
        KeywordKind::Key => values.clone(),
        // It can only be dumped and watched.
        KeywordKind::Stream => Vec::new(),
        _ if given.is_empty() => vec![name.clone()],
        _ => Vec::new(),
    };
    words.into_iter().map(|word| Candidate::new((word, description.as_str()))).collect()
}

#[cfg(test)]
mod tests;
