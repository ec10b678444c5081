//! Refusals: RESTCONF's error body (RFC 8040 section 7.1).
//!
//! People read `error-message`: one line that says what is wrong and what to do. Programs read the fields beside it,
//! which say the same. `error-info` has the message in parts, so that a program can give advice in its own words: `reason`
//! says what is wrong, and the advice that follows it in the message is made of the other members.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Method;

/// The body of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// RESTCONF's container.
    #[serde(rename = "ietf-restconf:errors")]
    pub errors: Errors,
}

/// Everything that is wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errors {
    /// One or more.
    pub error: Vec<Error>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Error {
    /// The layer that refuses: always `application`.
    pub error_type: String,
    /// What kind of mistake it is.
    pub error_tag: ErrorTag,
    /// What it is about: a path below [`BASE`](crate::BASE), without slashes at its ends.
    #[serde(default)]
    pub error_path: String,
    /// What is wrong and what to do, in one line, for people who speak HTTP.
    #[serde(default)]
    pub error_message: String,
    /// The same in fields.
    #[serde(default)]
    pub error_info: ErrorInfo,
}

/// RESTCONF's error tags (RFC 8040 section 7), as far as Polycube's clients know them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorTag {
    /// A key that is unknown, read-only or fixed.
    InvalidValue,
    /// A value of the wrong type, range or form.
    BadAttribute,
    /// A key without which the request makes no sense.
    MissingAttribute,
    /// What the request would create exists.
    DataExists,
    /// What the request names does not exist.
    DataMissing,
    /// There is no such path.
    UnknownElement,
    /// The path exists and does not take the method.
    OperationNotSupported,
    /// What the request would change is not as the client says. On the wire it is `operation-failed`, with status 412.
    #[serde(rename = "operation-failed", skip_deserializing)]
    PreconditionFailed,
    /// The kernel, a plugin or a file refused.
    OperationFailed,
}

/// A refusal's `error-info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ErrorInfo {
    /// What the mistake is about by its own name: the last word of the path, or the word that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What is wrong, without advice.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Names that could be meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// The method that does not work here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The methods that do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Method>,
    /// Requests that do what this one was meant to do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<Instead>,
    /// What a value must keep to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Lines of a log that says more, such as the verifier's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// Names that exist where an unknown one was given. As text, the advice that they make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Candidates {
    /// The one that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// All of them, or the first.
    pub known: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.nearest, self.known.is_empty(), self.more) {
            (Some(name), ..) => write!(f, "; did you mean `{name}`?"),
            (None, true, _) => Ok(()),
            (None, false, 0) => write!(f, "; known: {}", self.known.join(", ")),
            (None, false, more) => write!(f, "; known: {} and {more} more", self.known.join(", ")),
        }
    }
}

/// A request that can be made instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instead {
    /// Its method.
    pub method: Method,
    /// Its path below [`BASE`](crate::BASE); words in capitals stand for names.
    pub path: String,
}

/// What a value must keep to, as far as fields can say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Limits {
    /// The least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<serde_json::Number>,
    /// The greatest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<serde_json::Number>,
    /// What the numbers count, such as `bytes`, where it is not obvious.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// The values that there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Values of the right form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_survives_the_wire() {
        let error = Error {
            error_type: "application".to_owned(),
            error_tag: ErrorTag::UnknownElement,
            error_path: "br1/shwo".to_owned(),
            error_message: "there is no `shwo`; known: fdb and 1 more".to_owned(),
            error_info: ErrorInfo {
                name: "shwo".to_owned(),
                reason: "there is no `shwo`".to_owned(),
                candidates: Some(Candidates { nearest: None, known: vec!["fdb".to_owned()], more: 1 }),
                method: Some(Method::Post),
                allow: vec![Method::Get, Method::Delete],
                instead: vec![Instead { method: Method::Patch, path: "br1".to_owned() }],
                limits: Some(Limits { maximum: Some(7.into()), unit: "bytes".to_owned(), ..Limits::default() }),
                log: vec!["0: (b7) r0 = 0".to_owned()],
            },
        };
        let body = ErrorBody { errors: Errors { error: vec![error] } };
        let text = serde_json::to_value(&body).unwrap();
        let info = &text["ietf-restconf:errors"]["error"][0]["error-info"];
        assert_eq!((&info["method"], &info["limits"]), (&json!("POST"), &json!({ "maximum": 7, "unit": "bytes" })));
        assert_eq!(serde_json::from_value::<ErrorBody>(text).unwrap(), body);
    }

    #[test]
    fn a_failed_precondition_is_a_failed_operation_on_the_wire() {
        let text = serde_json::to_value(ErrorTag::PreconditionFailed).unwrap();
        assert_eq!(text, "operation-failed");
        assert_eq!(serde_json::from_value::<ErrorTag>(text).unwrap(), ErrorTag::OperationFailed);
    }

    #[test]
    fn what_a_daemon_leaves_out_is_empty() {
        let error: Error =
            serde_json::from_value(json!({ "error-type": "application", "error-tag": "data-exists" })).unwrap();
        assert_eq!((error.error_path.as_str(), error.error_info), ("", ErrorInfo::default()));
    }
}
