//! `config save`, `config apply` and `config diff`: the whole configuration as text.

use std::path::PathBuf;

use hyper::Method;
use polycube_api::{Verb, Word};

use super::error::UsageError;
use super::forms::Topic;
use super::request::Request;
use super::view::View;
use super::words::{Style, Words};

/// What to do with the whole configuration.
#[derive(Debug, PartialEq)]
pub(crate) enum Configuration {
    Save(View),
    Apply(Applying),
}

/// A configuration to apply or to compare with.
#[derive(Debug, PartialEq)]
pub(crate) struct Applying {
    pub(crate) from: Source,
    /// Whether what it does not mention goes.
    pub(crate) prune: bool,
    /// Whether only what would change is wanted.
    pub(crate) compare: bool,
    pub(crate) view: View,
}

/// Where a configuration comes from.
#[derive(Debug, PartialEq)]
pub(crate) enum Source {
    /// Standard input, which must be redirected.
    Input,
    /// Standard input, whatever it is.
    Dash,
    File(PathBuf),
}

impl Configuration {
    /// `None` when the words ask for something else.
    pub(super) fn parse(words: &Words) -> Result<Option<Self>, UsageError> {
        let Some((Some(Word::Config), rest)) = words.path.split_first().map(|(first, rest)| (Word::parse(first), rest))
        else {
            return if words.prune { Err(UsageError::WordWithoutConfig { word: "--prune" }) } else { Ok(None) };
        };
        if let Some(flag) = words.packets.any() {
            return Err(UsageError::FlagWithoutDump { flag });
        }
        if words.hide.is_some() {
            return Err(UsageError::ViewWithoutShow { flag: "-hide" });
        }
        let form = || UsageError::Form { topic: Topic::Config };
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        let (compare, file) = match (rest.as_slice(), words.command) {
            ([], Some(Verb::Show)) | (["save"], None) => return Self::save(words).map(Some),
            (["apply", file @ ..], None) => (false, file),
            (["diff", file @ ..], None) => (true, file),
            _ => return Err(form()),
        };
        if !words.pairs.is_empty() {
            return Err(form());
        }
        let from = match (file, words.dash) {
            ([], false) => Source::Input,
            ([], true) => Source::Dash,
            ([file], false) => Source::File(file.into()),
            ([_], true) => return Err(UsageError::TwoConfigurations),
            _ => return Err(form()),
        };
        let view = match words.style {
            Some(Style::Json) => View::Json,
            Some(Style::Yaml) => View::Yaml,
            Some(style @ (Style::Text(_) | Style::Names)) => {
                return Err(UsageError::ViewWithoutShow { flag: style.flag() });
            }
            None => View::plain(),
        };
        Ok(Some(Self::Apply(Applying { from, prune: words.prune, compare, view })))
    }

    fn save(words: &Words) -> Result<Self, UsageError> {
        if words.prune || words.dash {
            return Err(UsageError::WordWithoutConfig { word: if words.prune { "--prune" } else { "-" } });
        }
        match words.style {
            _ if !words.pairs.is_empty() => Err(UsageError::Form { topic: Topic::Config }),
            Some(Style::Json) => Ok(Self::Save(View::Json)),
            Some(Style::Yaml) | None => Ok(Self::Save(View::Yaml)),
            Some(style @ (Style::Text(_) | Style::Names)) => Err(UsageError::ViewWithoutShow { flag: style.flag() }),
        }
    }

    /// The request, but for the configuration itself.
    pub(crate) fn request(&self) -> Request {
        let (method, path) = match self {
            Self::Save(_) => (Method::GET, "config/"),
            Self::Apply(Applying { prune, compare, .. }) => {
                let method = if *prune { Method::PUT } else { Method::PATCH };
                (method, if *compare { "config/diff/" } else { "config/" })
            }
        };
        Request { method, path: path.to_owned(), body: None }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Order, parse};
    use super::*;

    #[track_caller]
    fn asked(line: &str) -> Configuration {
        match parse(line.split(' ').map(Into::into)).unwrap().order {
            Order::Configuration(asked) => asked,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[track_caller]
    fn check_refused(line: &str, expected: &UsageError) {
        let refused = parse(line.split(' ').map(Into::into)).map(|line| line.order);
        assert_eq!(refused.as_ref().err().map(|mistake| &mistake.error), Some(expected), "{line}");
    }

    fn applying(from: Source, prune: bool, compare: bool) -> Configuration {
        Configuration::Apply(Applying { from, prune, compare, view: View::plain() })
    }

    #[test]
    fn a_configuration_comes_from_where_the_words_say() {
        assert_eq!(asked("config save"), Configuration::Save(View::Yaml));
        assert_eq!(asked("config show -json"), Configuration::Save(View::Json));
        assert_eq!(asked("config apply"), applying(Source::Input, false, false));
        assert_eq!(asked("config apply - --prune"), applying(Source::Dash, true, false));
        assert_eq!(asked("config diff site.yaml"), applying(Source::File("site.yaml".into()), false, true));
        let Configuration::Apply(found) = asked("config diff -json") else { panic!("it is not saved") };
        assert_eq!(found.view, View::Json);
    }

    #[test]
    fn the_request_says_what_becomes_of_the_rest() {
        for (line, method, path) in [
            ("config save", "GET", "config/"),
            ("config apply", "PATCH", "config/"),
            ("config apply --prune", "PUT", "config/"),
            ("config diff", "PATCH", "config/diff/"),
            ("config diff --prune", "PUT", "config/diff/"),
        ] {
            let request = asked(line).request();
            assert_eq!((request.method.as_str(), request.path.as_str()), (method, path), "{line}");
        }
    }

    #[test]
    fn words_that_make_no_sense_are_refused() {
        let form = UsageError::Form { topic: Topic::Config };
        for line in ["config", "config apply a b", "config load", "config save a", "config add", "config apply a=b"] {
            check_refused(line, &form);
        }
        check_refused("config apply - a", &UsageError::TwoConfigurations);
        check_refused("config save --prune", &UsageError::WordWithoutConfig { word: "--prune" });
        check_refused("br1 show --prune", &UsageError::WordWithoutConfig { word: "--prune" });
        check_refused("config save -brief", &UsageError::ViewWithoutShow { flag: "-brief" });
        check_refused("config apply -hide=a", &UsageError::ViewWithoutShow { flag: "-hide" });
        check_refused("config apply --force", &UsageError::FlagWithoutDump { flag: "--force" });
    }

    #[test]
    fn standard_input_is_asked_for_where_something_is_sent() {
        for line in ["br1 show -", "br1 dump -", "attach a veth1 -", "br1 set a=1 -", "br1 del -", "completion bash -"]
        {
            check_refused(line, &UsageError::Dash);
        }
    }
}
