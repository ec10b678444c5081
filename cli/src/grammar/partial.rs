//! A command line that is still being typed.

use super::words::{Style, Way, Words};
use super::{Command, Question, tap, topic};
use crate::help::Topic;
use crate::show::Detail;

/// The words before the cursor, understood.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) question: Question,
    /// Names of the `key=value` that are there already.
    pub(crate) given: Vec<String>,
    pub(crate) way: Way,
}

const FLAGS: [&str; 7] = ["--url", "--token-file", "--cacert", "--cert", "--key", "--help", "--version"];

impl Partial {
    /// `None` when nothing sensible can follow these words.
    pub(crate) fn parse(words: &[String]) -> Option<Self> {
        let mut words = Words::classify(words.iter().map(Into::into)).ok().filter(|words| !words.help)?;
        Some(Self {
            way: std::mem::take(&mut words.way),
            given: words.pairs.iter().map(|pair| pair.name.clone()).collect(),
            question: Question { topic: topic(&words), path: words.path, command: words.command },
        })
    }

    /// The flags that can follow.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let details = [Detail::Brief, Detail::Normal, Detail::Verbose].map(Style::Text);
        let styles = [Style::Json, Style::Yaml].into_iter().chain(details).map(Style::flag).chain(["-hide="]);
        let shows = self.question.command == Some(Command::Show);
        let dumps = self.question.topic == Topic::Dump;
        FLAGS.into_iter().chain(styles.filter(|_| shows)).chain(tap::FLAGS.into_iter().filter(|_| dumps)).collect()
    }
}
