//! What `help TOPIC` explains: each topic declared once, with its text. Manual pages are made of them, too.
//!
//! A text is paragraphs, headings (`# `) and lines that stay as they are, indented by two spaces.

use std::ffi::OsString;

use super::error::UsageError;
use super::forms::{FORMS, Topic};
use super::words::utf8;

/// A text that explains something.
#[derive(Debug, PartialEq)]
pub(crate) struct Page {
    pub(crate) name: &'static str,
    /// Other words for the same.
    also: &'static [&'static str],
    pub(crate) about: &'static str,
    pub(crate) text: &'static str,
    /// The manual page, in section 7.
    pub(crate) manual: &'static str,
}

pub(crate) static PAGES: [Page; 7] = [
    Page {
        name: "capture",
        also: &["captures", "sniffer"],
        about: "getting packets: in one line, or with a capture that stays",
        text: include_str!("manual/capture.txt"),
        manual: "polycube-capture",
    },
    Page {
        name: "filters",
        also: &["filter", "expressions", "expression"],
        about: "which packets are taken: expressions and fields",
        text: include_str!("manual/filters.txt"),
        manual: "polycube-filter",
    },
    Page {
        name: "places",
        also: &["place", "ports", "netdevs"],
        about: "where packets are taken: netdevs, ports, order in a chain",
        text: include_str!("manual/places.txt"),
        manual: "polycube-places",
    },
    Page {
        name: "configuration",
        also: &["conf.d"],
        about: "configuration of the daemon, and all of its cubes as one text",
        text: include_str!("manual/configuration.txt"),
        manual: "polycube-configuration",
    },
    Page {
        name: "remote",
        also: &["tls", "tokens"],
        about: "a daemon on another machine: URL, token, certificates",
        text: include_str!("manual/remote.txt"),
        manual: "polycube-remote",
    },
    Page {
        name: "scripts",
        also: &["output", "status"],
        about: "what programs can rely on: output, exit status, standard input",
        text: include_str!("manual/scripts.txt"),
        manual: "polycube-scripts",
    },
    Page {
        name: "plugins",
        also: &["services"],
        about: "services that polycubed loads, and writing one",
        text: include_str!("manual/plugins.txt"),
        manual: "polycube-plugin",
    },
];

/// What `help` is to explain.
#[derive(Debug, PartialEq)]
pub(crate) enum Explanation {
    /// Which topics there are.
    Topics,
    Page(&'static Page),
    /// A command's form, as `COMMAND --help` shows it.
    Form(Topic),
}

/// The word that begins such a command line.
const HELP: &str = "help";

impl Explanation {
    /// `None` if the command line is about something else. A cube that is called `help` is reached as in `show help`.
    pub(super) fn asked(args: &[OsString]) -> Result<Option<Self>, UsageError> {
        let Some((first, rest)) = args.split_first() else { return Ok(None) };
        if first != HELP {
            return Ok(None);
        }
        match rest {
            [] => Ok(Some(Self::Topics)),
            [word] => Self::of(&utf8(word.clone())?).map(Some),
            [..] => Err(UsageError::Form { topic: Topic::Help }),
        }
    }

    fn of(word: &str) -> Result<Self, UsageError> {
        if ["?", "-h", "--help", HELP].contains(&word) {
            return Ok(Self::Topics);
        }
        let page = PAGES.iter().find(|page| page.name == word || page.also.contains(&word));
        let form = FORMS.iter().find(|form| form.is_named(word));
        match (page, form) {
            (Some(page), _) => Ok(Self::Page(page)),
            (None, Some(form)) => Ok(Self::Form(form.topic)),
            (None, None) => Err(UsageError::NoTopic { word: word.to_owned(), near: near(word) }),
        }
    }
}

/// Topics and commands that may have been meant: the nearest ones.
fn near(word: &str) -> Vec<&'static str> {
    let word = word.to_lowercase();
    let of_pages = PAGES.iter().flat_map(|page| page.also.iter().chain([&page.name]).map(|name| (*name, page.name)));
    let of_forms = FORMS.iter().map(|form| (form.name(), form.name()));
    let found = of_pages.chain(of_forms).map(|(name, meant)| (strsim::damerau_levenshtein(&word, name), name, meant));
    let found: Vec<_> = found.filter(|(distance, name, _)| *distance <= 2.min(name.len() / 2)).collect();
    let least = found.iter().map(|(distance, ..)| *distance).min();
    let mut near: Vec<_> =
        found.iter().filter(|(distance, ..)| Some(*distance) == least).map(|(.., meant)| *meant).collect();
    near.dedup();
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Option<Explanation>, UsageError> {
        Explanation::asked(&line.split_whitespace().map(Into::into).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let found = match asked(line) {
            Ok(None) => "-".to_owned(),
            Ok(Some(Explanation::Topics)) => "topics".to_owned(),
            Ok(Some(Explanation::Page(page))) => format!("page {}", page.name),
            Ok(Some(Explanation::Form(topic))) => format!("form {}", topic.name()),
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_topic_or_a_command_is_explained() {
        check("help", "topics");
        check("help ?", "topics");
        check("help --help", "topics");
        check("help filters", "page filters");
        check("help expressions", "page filters");
        check("help plugins", "page plugins");
        check("help plugin", "form plugin");
        check("help attach", "form attach");
        check("help show", "form show");
        check("show help", "-");
        check("sniffer help", "-");
        check("", "-");
    }

    #[test]
    fn an_unknown_topic_is_refused_with_those_that_are_near() {
        check("help filtrs", "there is no topic 'filtrs': did you mean filters?");
        check("help Place", "there is no topic 'Place': did you mean places?");
        check("help atach", "there is no topic 'atach': did you mean attach?");
        check("help br1", "there is no topic 'br1': polycubectl help lists them");
        check("help a b", "wrong number of words for help");
    }

    #[test]
    fn a_word_means_one_topic() {
        let mut words: Vec<_> = PAGES.iter().flat_map(|page| page.also.iter().chain([&page.name])).collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count, "{words:?}");
    }
}
