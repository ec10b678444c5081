//! The terms of a filter: the fields, the user's expression, or both.

#![forbid(unsafe_code)]

use std::fmt;

use super::fields::{Fields, FieldsError};

/// The terms of a filter, all of which must match. Displayed as one expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Terms {
    /// The fields, or the user's expression.
    One(String),
    Both {
        fields: String,
        expression: String,
    },
}

impl Terms {
    /// `None` if everything passes: no fields, and an expression that is empty or `all`.
    ///
    /// # Errors
    /// Fields that contradict each other. The expression is not checked.
    pub(crate) fn of(fields: &Fields, expression: &str) -> Result<Option<Self>, FieldsError> {
        let expression = expression.trim();
        let expression = (!expression.is_empty() && expression != "all").then(|| expression.to_owned());
        Ok(match (fields.expression()?, expression) {
            (Some(fields), Some(expression)) => Some(Self::Both { fields, expression }),
            (fields, expression) => fields.or(expression).map(Self::One),
        })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(expression) => f.write_str(expression),
            Self::Both { fields, expression } => write!(f, "({fields}) and ({expression})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::fields::Protocol;

    #[track_caller]
    fn check(fields: &Fields, expression: &str, expected: Option<&str>) {
        let found = Terms::of(fields, expression).unwrap().map(|terms| terms.to_string());
        assert_eq!(found.as_deref(), expected);
    }

    #[test]
    fn fields_and_expression_are_both_asked_for() {
        let fields = Fields { dport: Some(80), l4proto: Some(Protocol(6)), ..Fields::default() };
        check(&fields, "ip or arp", Some("((tcp dst port 80)) and (ip or arp)"));
        check(&fields, "all", Some("(tcp dst port 80)"));
        check(&Fields::default(), " ip or arp ", Some("ip or arp"));
        check(&Fields::default(), " all", None);
    }
}
