//! Completion: the words that can follow those that are typed already. A shell's script asks for them with
//! `polycubectl --complete WORD...`, whose last word is the one that is being typed.

use std::collections::HashSet;
use std::env;

use crate::grammar::{FORMAT_FLAG, FORMATS, Partial};
use crate::help::{Answer, Keyword, Topic};

/// A shell that there is a script for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

impl Shell {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        SHELLS.iter().find(|(known, _)| *known == name).map(|(_, shell)| *shell)
    }

    /// What the shell is to run when it starts.
    pub(crate) fn script(self) -> &'static str {
        match self {
            Self::Bash => include_str!("complete/polycubectl.bash"),
            Self::Zsh => include_str!("complete/polycubectl.zsh"),
            Self::Fish => include_str!("complete/polycubectl.fish"),
        }
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

/// One line for each word that can follow: the word, a tab, and what it is. Whatever goes wrong, nothing is said: this
/// runs while somebody is typing.
pub(crate) fn lines(words: &[String], ask: impl FnOnce(&Partial) -> Option<Answer>) -> String {
    let Some((current, before)) = words.split_last() else { return String::new() };
    if before.last().is_some_and(|flag| flag == FORMAT_FLAG) {
        return told(current, &FORMATS.map(|format| Candidate::new((format, ""))));
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
    told(current, &candidates)
}

/// The lines of those that begin with `current`.
fn told(current: &str, candidates: &[Candidate]) -> String {
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

/// The values of the pair that is being typed.
fn values(name: &str, answer: &Answer) -> Vec<Candidate> {
    let pairs = answer.keywords().into_iter().filter(|keyword| keyword.pair && keyword.name == name);
    let values = pairs.flat_map(|keyword| match keyword.simpletype.as_str() {
        "boolean" => ["true", "false"].map(str::to_owned).into(),
        _ => keyword.values,
    });
    values.map(|value| Candidate::new((format!("{name}={value}"), ""))).collect()
}

/// The words that can follow, those of the grammar before those of the daemon.
fn following(partial: &Partial, answer: Option<&Answer>) -> Vec<Candidate> {
    let question = &partial.question;
    let mut found: Vec<Candidate> = match (question.topic, question.path.as_slice(), question.command) {
        (Topic::Completion, [_], _) => {
            return SHELLS.iter().map(|(name, _)| Candidate::new((*name, "Its completion script"))).collect();
        }
        (_, [], None) => Topic::words().map(Candidate::new).collect(),
        _ => Vec::new(),
    };
    let Some(answer) = answer else { return found };
    if question.command.is_none() && partial.given.is_empty() {
        found.extend(answer.commands().map(|command| Candidate::new((command.word(), command.about()))));
        found.extend(Topic::taps().filter(|_| answer.has_packets()).map(Candidate::new));
    }
    found.extend(answer.keywords().into_iter().flat_map(|keyword| words_of(keyword, &partial.given)));
    let mut seen = HashSet::new();
    found.retain(|candidate| seen.insert(candidate.word.clone()));
    found
}

/// The words of a keyword, behind the `given` pairs.
fn words_of(keyword: Keyword, given: &[String]) -> Vec<Candidate> {
    let Keyword { name, kind, values, description, pair, .. } = keyword;
    let words = match kind.as_str() {
        _ if pair && given.contains(&name) => Vec::new(),
        _ if pair => vec![format!("{name}=")],
        "key" => values,
        // It can only be dumped and watched.
        "stream" => Vec::new(),
        _ if given.is_empty() => vec![name],
        _ => Vec::new(),
    };
    words.into_iter().map(|word| Candidate::new((word, description.as_str()))).collect()
}

#[cfg(test)]
mod tests;
