//! Completion: the words that can follow those that are typed already. A shell's script asks for them with
//! `polycubectl --complete WORD...`, whose last word is the one that is being typed.

use std::env;

use crate::grammar::Partial;
use crate::help::{Answer, Topic};

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
    let Some(partial) = Partial::parse(before) else { return String::new() };
    let candidates = match current.split_once('=') {
        _ if current.starts_with('-') => flags(&partial),
        Some((name, _)) => values(name, &ask(&partial).unwrap_or_default()),
        None => following(&partial, ask(&partial).as_ref()),
    };
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

fn flags(partial: &Partial) -> Vec<Candidate> {
    partial.flags().into_iter().map(|flag| Candidate { word: flag.to_owned(), about: String::new() }).collect()
}

/// The values of the pair that is being typed.
fn values(name: &str, answer: &Answer) -> Vec<Candidate> {
    let pairs = answer.keywords().into_iter().filter(|keyword| keyword.pair && keyword.name == name);
    let values = pairs.flat_map(|keyword| keyword.values);
    values.map(|value| Candidate { word: format!("{name}={value}"), about: String::new() }).collect()
}

fn following(partial: &Partial, answer: Option<&Answer>) -> Vec<Candidate> {
    let question = &partial.question;
    let mut found = Vec::new();
    match (question.topic, question.path.as_slice()) {
        (Topic::Completion, [_]) => {
            let about = |shell: &str| format!("Completion script of {shell}");
            return SHELLS.iter().map(|(name, _)| Candidate { word: (*name).to_owned(), about: about(name) }).collect();
        }
        (_, []) if question.command.is_none() => {
            let words =
                Topic::words().map(|(word, about)| Candidate { word: word.to_owned(), about: about.to_owned() });
            found.extend(words);
        }
        _ => {}
    }
    let Some(answer) = answer else { return found };
    let is_first = partial.given.is_empty();
    if question.command.is_none() && is_first {
        let commands = answer.commands().map(|command| (command.word(), command.about()));
        let taps = Topic::taps().filter(|_| answer.has_packets());
        let words = commands.chain(taps);
        found.extend(words.map(|(word, about)| Candidate { word: word.to_owned(), about: about.to_owned() }));
    }
    for keyword in answer.keywords() {
        let about = keyword.description;
        if keyword.pair {
            if !partial.given.contains(&keyword.name) {
                found.push(Candidate { word: format!("{}=", keyword.name), about });
            }
        } else if keyword.kind == "key" {
            found.extend(keyword.values.into_iter().map(|word| Candidate { word, about: about.clone() }));
        } else if is_first && keyword.kind != "stream" {
            found.push(Candidate { word: keyword.name, about });
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|candidate| seen.insert(candidate.word.clone()));
    found
}

#[cfg(test)]
mod tests;
