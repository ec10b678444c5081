//! The terms of a filter: the fields, the user's expression, or both.

#![forbid(unsafe_code)]

use std::fmt;

use super::fields::{Fields, FieldsError};

/// Words that move the offsets of everything that follows them (pcap-filter(7)), as parts of words: `pppoed` too.
const MOVING: [&str; 5] = ["vlan", "mpls", "pppoe", "geneve", "vxlan"];

/// The terms of a filter, all of which must match.
///
/// Displayed as one expression, which does not say that fields look into VLAN tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Terms {
    /// The fields.
    Fields(String),
    /// The user's expression.
    Expression(String),
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
            (fields, expression) => fields.map(Self::Fields).or(expression.map(Self::Expression)),
        })
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fields(expression) | Self::Expression(expression) => f.write_str(expression),
            Self::Both { fields, expression } => write!(f, "({fields}) and ({expression})"),
        }
    }
}

/// `fields`, of a packet without a VLAN tag, with one and with two. `vlan` moves the offsets of what follows it.
pub(crate) fn within_tags(fields: &str) -> String {
    format!("({fields}) or (vlan and (({fields}) or (vlan and ({fields}))))")
}

/// Whether what follows `expression` may mean something else than it does alone.
pub(crate) fn moves(expression: &str) -> bool {
    MOVING.iter().any(|word| expression.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Protocol;

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

    #[test]
    fn words_that_move_offsets_are_found_in_any_place() {
        for expression in ["vlan", "ip or vlan 5", "not pppoed", "(mpls 7)", "geneve and tcp"] {
            assert!(moves(expression), "{expression}");
        }
        for expression in ["ip or arp", "udp port 53", "ether[12:2] = 0x8100"] {
            assert!(!moves(expression), "{expression}");
        }
    }
}
