//! What the declaration of a path of the framework says. The declarations themselves are in `routes`.

use std::collections::BTreeMap;
use std::pin::Pin;

use axum::http::StatusCode;
use polycube_api::{Method, Verb, Word};
use serde_json::Value;

use super::call::Content;
use super::client::Role;
use super::context::Context;
use crate::model::Change;
use crate::problem::{Problem, Problems};

/// A path of the framework, and all that can be done with it.
pub(super) struct Route {
    pub path: &'static [Segment],
    pub command_line: CommandLine,
    /// What each method does. The first says what is at the path.
    pub endpoints: &'static [Endpoint],
}

/// One word of a path. The first is a [`Word`], and so no cube can have its name.
#[derive(Clone, Copy)]
pub(super) enum Segment {
    Word(Word),
    /// A word that follows another.
    Fixed(&'static str),
    /// Any name: what the description of the API calls it, and what it names.
    Name(&'static str, Names),
}

/// What the command line does with a path.
#[derive(Clone, Copy)]
pub(super) enum CommandLine {
    /// Nothing: it is for programs.
    Hidden,
    /// The word is a command, and what the request needs are its operands.
    Command,
    /// Its last word is a command that can also stand before the name: `services reload NAME`.
    Action,
    /// These verbs can follow.
    Takes(&'static [Verb]),
}

/// What one method does.
pub(super) struct Endpoint {
    pub method: Method,
    /// In one line.
    pub summary: &'static str,
    pub body: Body,
    /// Status of the answer when it is done.
    pub status: StatusCode,
    pub answer: AnswerSchema,
    pub needs: Needs,
    pub handler: Handler,
}

/// What a client needs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// Not even to say who it is.
    Nothing,
    Role(Role),
    /// The role for the cube that this field of the body names.
    RoleForCube(&'static str),
}

/// What is sent.
pub(super) enum Body {
    None,
    /// An object of texts.
    Fields(&'static [Field]),
    /// Whatever this schema allows.
    Schema(fn() -> Value),
}

/// A member of a request's body.
pub(super) struct Field {
    pub name: &'static str,
    /// In one line.
    pub about: &'static str,
    pub example: &'static str,
    pub is_required: bool,
    /// The values that it can have; any if there are none.
    pub values: &'static [&'static str],
    /// What its value names.
    pub names: Names,
}

/// Things that a value can name, so that help can list those that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Nothing,
    Services,
    Cubes,
    Netdevs,
    /// Ports, as `CUBE:PORT`.
    Ports,
    /// Ports and netdevs: points that have a chain.
    Points,
    /// Points other than the field before.
    OtherPoints,
    /// Cubes that can be attached.
    Transparent,
    /// Cubes that are attached.
    Attached,
    /// Points where the cube in the field before is attached.
    PointsOfCube,
    /// Cubes that are attached to the point in the field before.
    CubesAtPoint,
}

/// The form of an answer.
pub(super) enum AnswerSchema {
    Nothing,
    /// A document of this schema.
    Document(fn() -> Value),
    /// A text of a media type, with the schema of its content.
    Text(&'static str, fn() -> Value),
}

/// A handler at work on a request that changes something.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<Content, Problems>> + Send>>;

/// A handler at work on a request that reads.
pub(super) type Pending = Pin<Box<dyn Future<Output = Result<Content, Problem>> + Send>>;

/// What answers a request. Handlers that read get the name at the end of the path, or an empty one.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// Reads the model.
    Model(fn(&Context, &str) -> Result<Content, Problem>),
    /// Reads the kernel or plugins as well.
    Live(fn(Context, String) -> Pending),
    /// Describes the API itself.
    Api(fn(&Context, &'static [Route]) -> Content),
    /// Says which change is asked for.
    Change(fn(Input) -> Result<Change, Problems>),
    /// Says which change is to be compared with what is there, and makes none.
    Comparison(fn(Input) -> Result<Change, Problems>),
    /// Has the engine do what takes more than a change.
    Engine(fn(Context, Input) -> Work),
}

/// What a request for a change has, checked against its declaration.
pub(super) struct Input {
    /// The name in the path.
    pub name: String,
    /// Its fields, if fields are declared.
    pub fields: BTreeMap<&'static str, String>,
    /// Its body, if something else is.
    pub body: Value,
}

impl Input {
    /// The text of a field; empty if it was not given.
    pub(super) fn take(&mut self, name: &str) -> String {
        self.fields.remove(name).unwrap_or_default()
    }
}

impl Route {
    /// The first word; the root has none.
    pub(super) fn word(&self) -> Option<Word> {
        match self.path.first() {
            Some(Segment::Word(word)) => Some(*word),
            _ => None,
        }
    }

    /// The name in a path that the route is at.
    pub(super) fn name_in<'a>(&self, words: &'a [String]) -> Option<&'a String> {
        words.get(self.path.iter().position(|segment| matches!(segment, Segment::Name(..)))?)
    }

    /// Its last word, if it is an action.
    pub(super) fn action(&self) -> Option<&'static str> {
        match (self.command_line, self.path.last()) {
            (CommandLine::Action, Some(Segment::Fixed(word))) => Some(word),
            _ => None,
        }
    }

    pub(super) fn word_is(&self, text: &str) -> bool {
        self.word().is_some_and(|word| word.as_str() == text)
    }

    /// What the name at the end of the path is called, and names.
    pub(super) fn name(&self) -> Option<(&'static str, Names)> {
        match self.path.last() {
            Some(Segment::Name(name, names)) => Some((name, *names)),
            _ => None,
        }
    }

    /// Whether it is declared for a path of these words.
    pub(super) fn is_at(&self, words: &[String]) -> bool {
        let fits = |(segment, word): (&Segment, &String)| match segment {
            Segment::Word(own) => own.as_str() == word,
            Segment::Fixed(own) => own == word,
            Segment::Name(..) => true,
        };
        self.path.len() == words.len() && self.path.iter().zip(words).all(fits)
    }

    pub(super) fn methods(&self) -> Vec<Method> {
        self.endpoints.iter().map(|endpoint| endpoint.method).collect()
    }

    pub(super) fn endpoint(&self, method: Method) -> Option<&'static Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.method == method)
    }

    /// What is at the path, in one line.
    pub(super) fn about(&self) -> &'static str {
        self.endpoints.first().map_or("", |endpoint| endpoint.summary)
    }

    /// The verbs of the command line that can follow.
    pub(super) fn verbs(&self) -> &'static [Verb] {
        match self.command_line {
            CommandLine::Takes(verbs) => verbs,
            CommandLine::Hidden | CommandLine::Command | CommandLine::Action => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::routes::ROUTES;

    /// Asserts what the name at the end of a path's route is called, and whether the path is declared.
    #[track_caller]
    fn check(path: &str, expected: Option<Option<&str>>) {
        let words: Vec<String> = path.split('/').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let found: Vec<_> = ROUTES.iter().filter(|route| route.is_at(&words)).collect();
        assert!(found.len() <= 1, "{path} is declared {} times", found.len());
        assert_eq!(found.first().map(|route| route.name().map(|(name, _)| name)), expected, "{path}");
    }

    #[test]
    fn a_path_fits_word_by_word_and_is_no_longer_than_its_route() {
        check("", Some(None));
        check("cubes", Some(None));
        check("cubes/br1", Some(Some("cube")));
        check("cubes/cubes", Some(Some("cube")));
        check("topology/br1:p", Some(Some("place")));
        check("cubes/br1/ports", None);
        check("version/1", None);
        check("Cubes", None);
        check("br1", None);
        check("attach/a", None);
    }

    #[test]
    fn only_what_the_command_line_takes_has_verbs() {
        for route in &ROUTES {
            let takes = matches!(route.command_line, CommandLine::Takes(_));
            assert_eq!(!route.verbs().is_empty(), takes, "{}", route.about());
            for method in route.verbs().iter().map(|verb| verb.method()) {
                let is_below = ROUTES.iter().any(|below| {
                    below.word() == route.word()
                        && below.path.len() > route.path.len()
                        && below.endpoint(method).is_some()
                });
                assert!(route.endpoint(method).is_some() || is_below, "{}: {method} leads nowhere", route.about());
            }
        }
    }

    #[test]
    fn what_only_reads_has_no_body_and_an_answer() {
        for endpoint in ROUTES.iter().flat_map(|route| route.endpoints) {
            let reads = matches!(endpoint.handler, Handler::Model(_) | Handler::Live(_) | Handler::Api(_));
            assert_eq!(endpoint.method == Method::Get, reads, "{}", endpoint.summary);
            assert!(!reads || matches!(endpoint.body, Body::None), "{}", endpoint.summary);
            assert!(!reads || !matches!(endpoint.answer, AnswerSchema::Nothing), "{}", endpoint.summary);
        }
    }

    #[test]
    fn fields_have_names_of_their_own_and_examples_that_are_allowed() {
        for endpoint in ROUTES.iter().flat_map(|route| route.endpoints) {
            let Body::Fields(fields) = endpoint.body else { continue };
            for (index, field) in fields.iter().enumerate() {
                let first = fields.iter().position(|other| other.name == field.name);
                assert_eq!(first, Some(index), "{}: {}", endpoint.summary, field.name);
                assert!(!field.about.is_empty(), "{}: {}", endpoint.summary, field.name);
                let is_allowed =
                    field.values.is_empty() || field.example.is_empty() || field.values.contains(&field.example);
                assert!(is_allowed, "{}: {}", endpoint.summary, field.name);
            }
            let needed = fields.iter().take_while(|field| field.is_required).count();
            assert!(fields[needed..].iter().all(|field| !field.is_required), "operands come before options");
        }
    }

    #[test]
    fn a_field_that_was_not_given_is_empty_and_one_is_taken_once() {
        let fields = BTreeMap::from([("cube", "a".to_owned())]);
        let mut input = Input { name: String::new(), fields, body: Value::Null };
        assert_eq!([input.take("port"), input.take("cube"), input.take("cube")], ["", "a", ""]);
    }
}
