//! The topology as a tree: cubes, their ports and peers, and the chains there.

use std::fmt::Write as _;

use serde_json::Value;

use crate::terminal::escape;

/// Draws the list of cubes that `topology` answers; `None` where it is something else.
pub(super) fn draw(answer: &Value) -> Option<String> {
    let cubes = answer.as_array()?;
    let mut out = String::new();
    for cube in cubes {
        let text = |key: &str| escape(cube[key].as_str().unwrap_or_default());
        let (name, service) = (cube["name"].as_str()?, text("service-name"));
        // Writing to a string does not fail.
        let _ = writeln!(out, "{} ({service})", escape(name));
        let mut branches = match (cube["ports"].as_array(), cube["points"].as_array()) {
            (Some(ports), _) => ports.iter().map(port).collect(),
            (None, Some(points)) => points.iter().map(point).collect::<Vec<_>>(),
            (None, None) => Vec::new(),
        };
        if let Some(failure) = cube["failure"].as_str() {
            branches.insert(0, Branch { line: escape(failure), chains: Vec::new() });
        }
        if branches.is_empty() && cube["ports"].is_null() {
            out.push_str("└─ attached to nothing\n");
        }
        for (index, Branch { line, chains }) in branches.iter().enumerate() {
            let (branch, trunk) = if index + 1 == branches.len() { ("└─", "  ") } else { ("├─", "│ ") };
            let _ = writeln!(out, "{branch} {line}");
            chains.iter().for_each(|chain| {
                let _ = writeln!(out, "{trunk}    {chain}");
            });
        }
    }
    Some(out)
}

struct Branch {
    line: String,
    /// Only where a cube is attached.
    chains: Vec<String>,
}

fn port(port: &Value) -> Branch {
    let text = |key: &str| escape(port[key].as_str().unwrap_or_default());
    let (name, peer, netdev) = (text("name"), text("peer"), text("netdev"));
    let line = match (peer.as_str(), text("status").as_str()) {
        ("", _) => format!("{name} ─ no peer"),
        (_, "UP") if netdev.is_empty() || netdev == peer => format!("{name} ─ {peer}"),
        (_, "UP") => format!("{name} ─ {peer} over {netdev}"),
        (_, status) => format!("{name} ─ {peer}, {status}{}", why(port)),
    };
    Branch { line, chains: chains(port) }
}

fn point(point: &Value) -> Branch {
    let text = |key: &str| escape(point[key].as_str().unwrap_or_default());
    let name = text("name");
    // A port's chain is drawn where the port is.
    let chains = if name.contains(':') { Vec::new() } else { chains(point) };
    let line = match text("status").as_str() {
        // A daemon that does not report a status.
        "" | "UP" => format!("at {name}"),
        status => format!("at {name}, {status}{}", why(point)),
    };
    Branch { line, chains }
}

/// ` (no carrier)`; nothing if the daemon does not say why.
fn why(place: &Value) -> String {
    let reason = place["reason"].as_str().map(|reason| escape(&reason.replace('-', " ")));
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

fn chains(place: &Value) -> Vec<String> {
    let chains = [("in ", "ingress-chain"), ("out", "egress-chain")];
    let chains = chains.into_iter().filter_map(|(direction, key)| Some((direction, place[key].as_str()?)));
    let chains = chains.filter(|(_, chain)| chain.contains("--->"));
    chains.map(|(direction, chain)| format!("{direction}  {}", escape(chain))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::draw;

    #[test]
    fn ports_netdevs_and_chains_are_a_tree() {
        let answer = json!([
            { "name": "br1", "service-name": "simplebridge", "ports": [
                { "name": "p1", "status": "UP", "peer": "veth1", "netdev": "veth1",
                  "ingress-chain": "b ---> a ---> br1:p1", "egress-chain": "br1:p1 ---> a ---> b" },
                { "name": "p2", "status": "UP", "peer": "br2:q", "netdev": "pcn1a", "ingress-chain": "br1:p2" },
                { "name": "p3", "status": "DOWN", "reason": "no-carrier", "peer": "veth3", "netdev": "veth3", "ingress-chain": "br1:p3" },
                { "name": "p4", "status": "DOWN", "peer": "" },
            ] },
            { "name": "br2", "service-name": "simplebridge", "ports": [] },
            { "name": "a", "service-name": "packetcapture", "points": [
                { "name": "br1:p1", "status": "UP", "ingress-chain": "b ---> a ---> br1:p1" },
                { "name": "veth8", "status": "DOWN", "ingress-chain": "a ---> stack" },
                { "name": "veth9", "ingress-chain": "a ---> stack", "egress-chain": "stack ---> a" },
            ] },
            { "name": "idle", "service-name": "packetcapture", "points": [] },
            { "name": "s1", "service-name": "gone", "failure": "could not be brought back: no plugin", "points": [
                { "name": "veth7", "status": "DOWN", "reason": "not-restored" },
            ] },
            { "name": "s2", "service-name": "gone", "failure": "could not be brought back: no plugin", "points": [] },
        ]);
        let expected = "\
br1 (simplebridge)
├─ p1 ─ veth1
│     in   b ---> a ---> br1:p1
│     out  br1:p1 ---> a ---> b
├─ p2 ─ br2:q over pcn1a
├─ p3 ─ veth3, DOWN (no carrier)
└─ p4 ─ no peer
br2 (simplebridge)
a (packetcapture)
├─ at br1:p1
├─ at veth8, DOWN
│     in   a ---> stack
└─ at veth9
      in   a ---> stack
      out  stack ---> a
idle (packetcapture)
└─ attached to nothing
s1 (gone)
├─ could not be brought back: no plugin
└─ at veth7, DOWN (not restored)
s2 (gone)
└─ could not be brought back: no plugin
";
        assert_eq!(draw(&answer).as_deref(), Some(expected));
    }

    #[test]
    fn something_else_is_not_a_topology() {
        for other in [json!({ "name": "veth1" }), json!([1]), json!("text")] {
            assert_eq!(draw(&other), None, "{other}");
        }
        assert_eq!(draw(&json!([])).as_deref(), Some(""));
    }
}
