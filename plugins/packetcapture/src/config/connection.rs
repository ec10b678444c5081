//! TCP connections that are not recorded.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// A connection by its two ends, in either order, or all of an address to one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connection {
    one: SocketAddr,
    other: IpAddr,
    /// Any, if it is not given.
    port: Option<u16>,
}

/// A text that is not a connection.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a connection: give its two ends, such as `192.0.2.1:9000 [2001:db8::7]:40000`, the second one without a \
     port for all connections of that address"
)]
pub(crate) struct ConnectionError(String);

impl FromStr for Connection {
    type Err = ConnectionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let connection = |(one, other): (&str, &str)| {
            let one = one.parse().ok()?;
            match other.parse::<SocketAddr>() {
                Ok(other) => Some(Self { one, other: other.ip(), port: Some(other.port()) }),
                Err(_) => Some(Self { one, other: other.parse().ok()?, port: None }),
            }
        };
        text.split_once(' ').and_then(connection).ok_or_else(|| ConnectionError(text.to_owned()))
    }
}

impl Connection {
    /// Matches the packets.
    pub(crate) fn expression(&self) -> String {
        // A socket that takes both families shows IPv4 addresses within IPv6; packets have them plain.
        let host = |address: IpAddr| format!("host {}", address.to_canonical());
        let port = self.port.map(|port| format!(" and port {port}")).unwrap_or_default();
        format!("tcp and {} and port {} and {}{port}", host(self.one.ip()), self.one.port(), host(self.other))
    }
}

/// The expression that matches what `expression` does, but for what one of `others` matches.
pub(crate) fn without(expression: &str, others: &[String]) -> String {
    let others: Vec<String> = others.iter().map(|other| format!("not ({other})")).collect();
    match (expression.trim(), others.join(" and ")) {
        (expression, others) if others.is_empty() => expression.to_owned(),
        ("" | "all", others) => others,
        (expression, others) => format!("({expression}) and {others}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expression: &str, expected: Result<&str, &str>) {
        let found = text.parse::<Connection>().map(|connection| without(expression, &[connection.expression()]));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn a_connection_is_left_out_of_any_expression() {
        let own = "not (tcp and host 10.0.0.1 and port 9000 and host 10.0.0.2 and port 40000)";
        check("10.0.0.1:9000 10.0.0.2:40000", "", Ok(own));
        check("10.0.0.1:9000 10.0.0.2:40000", "all", Ok(own));
        check("[::ffff:10.0.0.1]:9000 10.0.0.2:40000", "udp or tcp", Ok(&format!("(udp or tcp) and {own}")));
        let own = "not (tcp and host ::1 and port 1 and host ::1 and port 2)";
        let all = "not (tcp and host 10.0.0.1 and port 9000 and host 10.0.0.2)";
        check("[::ffff:10.0.0.1]:9000 ::ffff:10.0.0.2", "", Ok(all));
        check("[::1]:1 [::1]:2", "tcp", Ok(&format!("(tcp) and {own}")));
    }

    #[test]
    fn several_are_left_out() {
        let others = ["port 1", "port 2"].map(str::to_owned);
        assert_eq!(without("udp", &others), "(udp) and not (port 1) and not (port 2)");
        assert_eq!(without("", &others), "not (port 1) and not (port 2)");
        assert_eq!(without("udp", &[]), "udp");
    }

    #[test]
    fn what_is_not_two_ends_is_refused() {
        for text in
            ["", "10.0.0.1:9000", "10.0.0.1 10.0.0.2", "10.0.0.1 10.0.0.2:2", "a:1 b:2", "10.0.0.1:1  10.0.0.2:2"]
        {
            let refused = text.parse::<Connection>().unwrap_err().to_string();
            assert!(refused.starts_with(&format!("`{text}` is not a connection: ")), "{refused}");
        }
    }
}
