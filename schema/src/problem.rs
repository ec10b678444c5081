//! Why a request is refused, as the client reads it.
//!
//! A problem is kept in parts, so that each reader gets it in its own words: a person at a command line reads which
//! command to use, a person with an HTTP client which method, and a program finds both in `error-info`. The message is
//! what is wrong and nothing else; advice is attached to it with [`Problem::knowing`] and its like.

use std::collections::HashSet;
use std::fmt;

pub use polycube_api::ErrorTag;
use polycube_api::{Candidates, Error, ErrorInfo, Instead, Limits, Method, without_numbers};
use polycube_plugin_api::{Refusal, Tag};

/// What to do about a cube whose plugin has panicked.
pub const AFTER_PANIC: &str =
    "fix the plugin and run `services reload SERVICE`, or delete the cube and create it again";

/// One reason and the place that it is about. As text, the reason and the advice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub tag: ErrorTag,
    /// Path below `/polycube/v1/`, without slashes at its ends.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it. Most problems have none, and a `Result` should stay small.
    advice: Option<Box<Advice>>,
}

/// What a client can do about a problem.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Advice {
    /// The name that is not known, and those that are.
    unknown: Option<(String, Candidates)>,
    /// The method that does not work.
    method: Option<Method>,
    allow: Vec<Method>,
    instead: Vec<Instead>,
    limits: Option<Limits>,
    log: Vec<String>,
}

impl Problem {
    pub fn new(tag: ErrorTag, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { tag, path: path.into(), message: without_numbers(&message.into()), advice: None }
    }

    pub fn missing(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::DataMissing, path, message)
    }

    pub fn exists(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::DataExists, path, message)
    }

    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::InvalidValue, path, message)
    }

    pub fn bad(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::BadAttribute, path, message)
    }

    pub fn failed(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorTag::OperationFailed, path, message)
    }

    /// A plugin's refusal, about a node below `cube`.
    pub fn from_plugin(cube: &str, refusal: Refusal) -> Self {
        let tag = match refusal.tag {
            Tag::InvalidValue => ErrorTag::BadAttribute,
            Tag::DataMissing => ErrorTag::DataMissing,
            Tag::DataExists => ErrorTag::DataExists,
            Tag::OperationNotSupported => ErrorTag::OperationNotSupported,
            Tag::OperationFailed | Tag::Panic => ErrorTag::OperationFailed,
        };
        Self::new(tag, join(cube, &refusal.path), refusal.message)
    }

    /// A method that does not work at `path`, where those of `allow` do.
    pub fn method(path: impl Into<String>, method: &str, allow: &[Method]) -> Self {
        let path = path.into();
        let message = format!("{method} does not work on `{path}`");
        let mut problem = Self::new(ErrorTag::OperationNotSupported, path, message);
        let advice = problem.advice_mut();
        advice.method = Method::parse(method);
        advice.allow = allow.to_vec();
        problem
    }

    /// The same problem of another kind.
    #[must_use]
    pub fn tagged(self, tag: ErrorTag) -> Self {
        Self { tag, ..self }
    }

    /// The same problem, about `path`: the caller knows better where the mistake is.
    #[must_use]
    pub fn at(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// The same problem, about `path` unless it is about `cube`.
    #[must_use]
    pub fn unless_about(self, cube: &str, path: &str) -> Self {
        if self.path == cube { self } else { self.at(path) }
    }

    /// The same problem, its path seen from one step further up.
    #[must_use]
    pub fn under(mut self, parent: &str) -> Self {
        self.path = join(parent, &self.path);
        if let Some(advice) = &mut self.advice {
            advice.instead.iter_mut().for_each(|instead| instead.path = join(parent, &instead.path));
        }
        self
    }

    /// The same problem, with the names that are known where `name` is not.
    #[must_use]
    pub fn knowing<'a>(mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.advice_mut().unknown = Some((name.to_owned(), candidates(name, known)));
        self
    }

    /// The same problem, with a request that can be made instead. `path` begins where the problem's own does.
    #[must_use]
    pub fn instead(mut self, method: Method, path: impl Into<String>) -> Self {
        self.advice_mut().instead.push(Instead { method, path: path.into() });
        self
    }

    /// The same problem, with what a value must keep to.
    #[must_use]
    pub fn within(mut self, limits: Limits) -> Self {
        if limits != Limits::default() {
            self.advice_mut().limits = Some(limits);
        }
        self
    }

    /// The same problem, with a log that says more.
    #[must_use]
    pub fn with_log(mut self, log: &str) -> Self {
        self.advice_mut().log = log.trim_end().lines().map(str::to_owned).collect();
        self
    }

    /// The methods that work where this problem's does not.
    pub fn allowed(&self) -> &[Method] {
        self.advice.as_ref().map_or(&[], |advice| &advice.allow)
    }

    fn advice_mut(&mut self) -> &mut Advice {
        self.advice.get_or_insert_default()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let Some(advice) = &self.advice else { return Ok(()) };
        if !advice.allow.is_empty() {
            write!(f, ": it takes {}", list(&advice.allow))?;
        }
        if let Some((_, candidates)) = &advice.unknown {
            candidates.fmt(f)?;
        }
        let requests: Vec<String> = advice.instead.iter().map(|one| format!("{} {}", one.method, one.path)).collect();
        if requests.is_empty() { Ok(()) } else { write!(f, "; use {}", requests.join(" or ")) }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let message = problem.to_string();
        let Problem { tag, path, message: reason, advice } = problem;
        let Advice { unknown, method, allow, instead, limits, log } = advice.map(|advice| *advice).unwrap_or_default();
        let (name, candidates) = unknown.unzip();
        let name = name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default().to_owned());
        Self {
            error_type: "application".to_owned(),
            error_tag: tag,
            error_path: path,
            error_message: message,
            error_info: ErrorInfo { name, reason, candidates, method, allow, instead, limits, log },
        }
    }
}

/// Methods as the `Allow` header has them.
pub fn list(methods: &[Method]) -> String {
    methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ")
}

fn join(parent: &str, child: &str) -> String {
    match (parent, child) {
        ("", path) | (path, "") => path.to_owned(),
        (parent, child) => format!("{parent}/{child}"),
    }
}

/// Everything that is wrong with one request; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl Problems {
    #[must_use]
    pub fn under(self, parent: &str) -> Self {
        Self(self.0.into_iter().map(|problem| problem.under(parent)).collect())
    }
}

/// Names that a refusal lists at most: a list can have thousands of entries.
const MOST_LISTED: usize = 32;

/// The names of `known`, and the one among them that `word` was probably meant to be.
fn candidates<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Candidates {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut seen = HashSet::new();
    known.retain(|name| seen.insert(*name));
    let nearest = nearest(word, known.iter().copied());
    let listed = known.len().min(MOST_LISTED);
    Candidates {
        nearest: nearest.map(str::to_owned),
        known: known[..listed].iter().map(|&name| name.to_owned()).collect(),
        more: known.len() - listed,
    }
}

/// The name that `word` was probably meant to be.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word can be as long as a request's body, and the distance takes the product of both lengths in time and memory.
    let length = word.chars().count();
    let near = known.into_iter().filter(|name| name.chars().count().abs_diff(length) <= 2);
    let near = near.map(|name| (strsim::damerau_levenshtein(word, name), name));
    near.filter(|(distance, name)| *distance <= 2.min(name.len() / 2)).min().map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_or_all_are_listed() {
        for (word, advice) in
            [("br2", "; did you mean `br1`?"), ("bridge", "; known: br1, sniffer"), ("", "; known: br1, sniffer")]
        {
            assert_eq!(candidates(word, ["br1", "sniffer"]).to_string(), advice, "{word}");
        }
        assert_eq!(
            candidates("setx", ["fdb", "peer", "fdb"]).to_string(),
            "; known: fdb, peer",
            "none is listed twice"
        );
        let many: Vec<String> = (0..1000).map(|number| format!("entry{number}")).collect();
        let advice = candidates("y", many.iter().map(String::as_str)).to_string();
        assert!(advice.ends_with(", entry31 and 968 more"), "{advice}");
        let long = "x".repeat(1 << 20);
        assert_eq!(candidates(&long, ["x".repeat(64).as_str()]).to_string(), format!("; known: {}", "x".repeat(64)));
    }

    #[track_caller]
    fn check(problem: Problem, message: &str, info: &ErrorInfo) {
        let error = Error::from(problem);
        assert_eq!((error.error_message.as_str(), &error.error_info), (message, info));
    }

    #[test]
    fn fields_say_what_the_message_says() {
        let info = |name: &str, reason: &str| ErrorInfo {
            name: name.to_owned(),
            reason: reason.to_owned(),
            ..ErrorInfo::default()
        };
        check(Problem::bad("a/b", "`b` is a string"), "`b` is a string", &info("b", "`b` is a string"));
        let candidates =
            Candidates { nearest: Some("br1".to_owned()), known: vec!["br1".to_owned(), "s".to_owned()], more: 0 };
        check(
            Problem::missing("cubes/br2", "no `br2`").knowing("br2", ["br1", "s"]),
            "no `br2`; did you mean `br1`?",
            &ErrorInfo { candidates: Some(candidates), ..info("br2", "no `br2`") },
        );
        let reason = "PUT does not work on `netdevs`";
        check(
            Problem::method("netdevs", "PUT", &[Method::Get, Method::Post]),
            "PUT does not work on `netdevs`: it takes GET, POST",
            &ErrorInfo { method: Some(Method::Put), allow: vec![Method::Get, Method::Post], ..info("netdevs", reason) },
        );
        check(
            Problem::invalid("ports", "no").instead(Method::Patch, "ports/NAME").under("br1"),
            "no; use PATCH br1/ports/NAME",
            &ErrorInfo {
                instead: vec![Instead { method: Method::Patch, path: "br1/ports/NAME".to_owned() }],
                ..info("ports", "no")
            },
        );
    }

    #[test]
    fn a_path_is_seen_from_further_up_together_with_its_advice() {
        for (parent, path, expected) in [
            ("br1", "ports", "br1/ports"),
            ("br1", "", "br1"),
            ("", "ports", "ports"),
            ("", "", ""),
            ("a/b", "c/d", "a/b/c/d"),
        ] {
            let problem = Problem::bad(path, "no").instead(Method::Put, path).under(parent);
            assert_eq!(problem.path, expected);
            assert_eq!(problem.to_string(), format!("no; use PUT {expected}"));
        }
        let moved = Problem::method("a", "PUT", &[Method::Get]).at("x/y");
        assert_eq!((moved.path.as_str(), moved.allowed()), ("x/y", &[Method::Get][..]), "the advice is kept");
    }

    #[test]
    fn only_a_problem_about_the_cube_keeps_its_path() {
        let path = |about: &str| Problem::bad(about, "no").unless_about("br1", "cubes/0").path;
        assert_eq!(
            (path("br1"), path("br1/size"), path("")),
            ("br1".to_owned(), "cubes/0".to_owned(), "cubes/0".to_owned())
        );
    }

    #[test]
    fn advice_comes_in_one_order_however_it_is_attached() {
        let problem = Problem::invalid("br1/ports", "no")
            .instead(Method::Patch, "br1/ports/NAME")
            .knowing("pots", ["ports"])
            .instead(Method::Put, "br1");
        assert_eq!(problem.to_string(), "no; did you mean `ports`?; use PATCH br1/ports/NAME or PUT br1");
        let error = Error::from(problem);
        assert_eq!((error.error_info.name.as_str(), error.error_info.reason.as_str()), ("pots", "no"));
        assert_eq!(error.error_info.instead.len(), 2);
    }

    #[test]
    fn a_plugins_refusal_is_about_a_node_of_its_cube() {
        for (tag, expected) in [
            (Tag::InvalidValue, ErrorTag::BadAttribute),
            (Tag::DataMissing, ErrorTag::DataMissing),
            (Tag::DataExists, ErrorTag::DataExists),
            (Tag::OperationNotSupported, ErrorTag::OperationNotSupported),
            (Tag::OperationFailed, ErrorTag::OperationFailed),
            (Tag::Panic, ErrorTag::OperationFailed),
        ] {
            for (path, about) in [("fdb/aging", "br1/fdb/aging"), ("", "br1")] {
                let refusal = Refusal { tag, path: path.to_owned(), message: "no".to_owned() };
                assert_eq!(Problem::from_plugin("br1", refusal), Problem::new(expected, about, "no"), "{tag:?}");
            }
        }
    }

    #[test]
    fn limits_are_shown_only_where_there_are_some() {
        assert_eq!(Problem::bad("a", "no").within(Limits::default()), Problem::bad("a", "no"));
        let limits = Limits { maximum: Some(9.into()), ..Limits::default() };
        let error = Error::from(Problem::bad("a", "no").within(limits.clone()));
        assert_eq!(
            (error.error_info.limits, error.error_message.as_str()),
            (Some(limits), "no"),
            "fields alone have them"
        );
    }

    #[test]
    fn a_method_that_http_does_not_know_is_named_in_the_message_alone() {
        let error = Error::from(Problem::method("cubes", "BREW", &[]));
        assert_eq!(error.error_message, "BREW does not work on `cubes`");
        assert_eq!((error.error_info.method, error.error_info.allow), (None, Vec::new()));
    }

    #[test]
    fn a_suggestion_is_close_to_what_was_typed() {
        for (word, known, nearest) in [
            ("prots", &["ports"][..], Some("ports")),
            ("ports", &["ports"], Some("ports")),
            ("p", &["q"], None),
            ("br", &["br1", "br2"], Some("br1")),
            ("ab", &["ba"], Some("ba")),
            ("abcd", &["wxyz"], None),
            ("sizes", &["sise", "size"], Some("size")),
            ("xyz", &[], None),
            // `b` is as close, and too short to be meant.
            ("br", &["a", "b", "br1"], Some("br1")),
        ] {
            assert_eq!(candidates(word, known.iter().copied()).nearest.as_deref(), nearest, "{word}");
        }
    }

    #[test]
    fn problems_of_an_entry_all_move_below_it() {
        let problems = Problems(vec![Problem::bad("size", "no"), Problem::missing("", "none")]).under("cubes/0");
        let paths: Vec<_> = problems.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["cubes/0/size", "cubes/0"]);
    }
}
