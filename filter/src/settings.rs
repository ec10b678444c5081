//! The fields as users set them: texts of a configuration, with their names, help and limits in a JSON Schema.

#![forbid(unsafe_code)]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Fields, PrefixError, ProtocolError, prefix};

/// The texts of the fields. Beside JSON Schema's keywords there is `x-lower-case`: the text may be in either case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Filters {
    /// Source prefix, IPv4 or IPv6; host bits are ignored
    #[schemars(extend("format" = "ip-prefix", "examples" = ["10.10.10.0/24", "2001:db8::/32"]))]
    pub src: Option<String>,
    /// Destination prefix, of the same family
    #[schemars(extend("format" = "ip-prefix", "examples" = ["10.10.10.0/24"]))]
    pub dst: Option<String>,
    /// Source port, of any protocol that has ports
    pub sport: Option<u16>,
    /// Destination port, of any protocol that has ports
    pub dport: Option<u16>,
    /// Protocol over IP: tcp, udp, icmp, icmpv6, sctp or a number
    #[schemars(
        regex(pattern = "^(tcp|udp|icmp|icmpv6|sctp|[0-9]{1,3})$"),
        extend("x-lower-case" = true, "examples" = ["tcp", "udp", "icmp", "icmpv6", "sctp", "47"])
    )]
    pub l4proto: Option<String>,
}

/// A field whose text is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FiltersError {
    /// A text that is not a prefix.
    #[error("{source}")]
    Prefix {
        /// Which of the two.
        field: &'static str,
        /// What is wrong.
        source: PrefixError,
    },
    /// A text that is not a protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl FiltersError {
    /// The name of the field.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Prefix { field, .. } => field,
            Self::Protocol(_) => "l4proto",
        }
    }
}

impl Filters {
    /// The fields that the texts mean. A protocol may be in either case.
    ///
    /// # Errors
    /// A text that is not a prefix or a protocol.
    pub fn fields(&self) -> Result<Fields, FiltersError> {
        let Self { src, dst, sport, dport, l4proto } = self;
        let parsed = |field, text: &Option<String>| {
            let wrong = |source| FiltersError::Prefix { field, source };
            text.as_deref().map(prefix).transpose().map_err(wrong)
        };
        let l4proto = l4proto.as_ref().map(|text| text.to_ascii_lowercase().parse()).transpose()?;
        Ok(Fields { src: parsed("src", src)?, dst: parsed("dst", dst)?, sport: *sport, dport: *dport, l4proto })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    #[test]
    fn texts_mean_fields_or_say_which_of_them_is_wrong() {
        let text = |text: &str| Some(text.to_owned());
        let filters = Filters { src: text("10.1.2.3/8"), dport: Some(53), l4proto: text("UDP"), ..Filters::default() };
        let expected = Fields {
            src: Some("10.1.2.3/8".parse().unwrap()),
            dport: Some(53),
            l4proto: Some(Protocol(17)),
            ..Fields::default()
        };
        assert_eq!(filters.fields(), Ok(expected));
        let wrong = |filters: Filters| filters.fields().map_err(|error| (error.field(), error.to_string()));
        let why = "`10.0.0.0/33` is not a prefix: give an address and its length, such as 10.10.10.0/24".to_owned();
        assert_eq!(wrong(Filters { dst: text("10.0.0.0/33"), ..Filters::default() }), Err(("dst", why)));
        let why = "`tpc` is not a protocol: give tcp, udp, icmp, icmpv6, sctp or a number from 0 to 255".to_owned();
        assert_eq!(wrong(Filters { l4proto: text("tpc"), ..Filters::default() }), Err(("l4proto", why)));
    }
}
