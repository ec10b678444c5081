//! Which crate may not depend on which.

use super::finding::{Finding, Rule};
use super::source::File;

struct Border {
    within: &'static str,
    /// Packages, and the directories that hold them.
    forbidden: &'static [&'static str],
    why: &'static str,
}

const BORDERS: &[Border] = &[
    Border { within: "plugins/", forbidden: &["polycubed", "host"], why: "a plugin never depends on the host" },
    Border { within: "plugins/", forbidden: &["polycube-api", "api"], why: "no plugin depends on the REST API" },
    Border { within: "plugin-api/", forbidden: &["polycube-api", "api"], why: "no plugin depends on the REST API" },
    Border { within: "plugins/", forbidden: &["polycube-document", "document"], why: "no plugin reads documents" },
    Border { within: "plugin-api/", forbidden: &["polycube-document", "document"], why: "no plugin reads documents" },
    Border {
        within: "api/",
        forbidden: &["axum", "http", "http-body-util", "hyper", "hyper-util", "tokio", "polycubed", "host"],
        why: "api has types only, and knows no HTTP library",
    },
    Border {
        within: "document/",
        forbidden: &["polycube-api", "api", "polycubed", "host", "tokio"],
        why: "document knows the form of documents, and nothing of what they say",
    },
    Border {
        within: "tests/",
        forbidden: &[
            "polycubed",
            "host",
            "pcn_helloworld",
            "pcn_packetcapture",
            "pcn_simplebridge",
            "pcn_span",
            "pcn_transparenthelloworld",
            "packetcapture",
            "simplebridge",
        ],
        why: "the tests link neither host nor plugins",
    },
    Border {
        within: "benches/",
        forbidden: &[
            "polycubed",
            "host",
            "pcn_helloworld",
            "pcn_simplebridge",
            "pcn_span",
            "pcn_transparenthelloworld",
            "simplebridge",
        ],
        why: "of the host and the plugins, the benches link the merge of capture rings alone",
    },
    Border {
        within: "filter/",
        forbidden: &["polycubed", "host", "polycube-plugin-api", "plugin-api", "polycube-layout", "layout"],
        why: "the filter compiler knows nothing of polycube",
    },
    Border {
        within: "cli/",
        forbidden: &["polycubed", "host", "polycube-plugin-api", "plugin-api"],
        why: "the command line links nothing of the daemon's",
    },
    Border {
        within: "plugin-api/",
        forbidden: &["tokio", "tracing", "log"],
        why: "plugin-api brings no async runtime and no logging crate",
    },
];

pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut section = "";
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        if let Some(name) = line.trim().strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if section.ends_with("dependencies") {
            findings
                .extend(dependency(&file.path, line).map(|why| Finding::new(Rule::Manifest, &file.path, at + 1, why)));
        }
    }
    findings
}

fn dependency(path: &str, line: &str) -> Option<&'static str> {
    let name = line.split(['.', '=', ' ']).next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let directory = line.split_once("path = \"").and_then(|(_, rest)| rest.split('"').next()?.rsplit('/').next());
    // The kernel's side is built without what is optional.
    if path == "ebpf/layout/Cargo.toml" && !line.contains("optional = true") {
        return Some("layout depends on nothing");
    }
    let borders = BORDERS.iter().filter(|border| path.starts_with(border.within));
    let crossed = |border: &&Border| {
        border
            .forbidden
            .iter()
            .any(|forbidden| name == *forbidden || directory.is_some_and(|found| found == *forbidden))
    };
    borders.into_iter().find(crossed).map(|border| border.why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: &str, expected: &[(usize, &str)]) {
        let found = check(&File::example(path, text));
        let found = found.iter().map(|finding| (finding.line, finding.what.as_str())).collect::<Vec<_>>();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn a_dependency_across_a_border_is_found() {
        let host = "a plugin never depends on the host";
        let path = "plugins/simplebridge/Cargo.toml";
        check_text(path, "[dependencies]\npolycube-plugin-api.workspace = true\n", &[]);
        check_text(path, "[dependencies]\npolycubed.workspace = true\n", &[(2, host)]);
        check_text(path, "[dev-dependencies]\ncore = { path = \"../../host\" }", &[(2, host)]);
        check_text(path, "[package]\npolycubed = 1\n", &[]);
        check_text("host/Cargo.toml", "[dependencies]\npolycubed = 1\n", &[]);
        for (directory, package) in [
            ("tests", "pcn_packetcapture"),
            ("tests", "polycubed"),
            ("benches", "pcn_simplebridge"),
            ("benches", "polycubed"),
            ("cli", "polycube-plugin-api"),
            ("plugin-api", "tokio"),
            ("plugin-api", "polycube-api"),
            ("plugins", "polycube-api"),
            ("api", "hyper"),
        ] {
            let is_crossed = |border: &&Border| {
                border.within.trim_end_matches('/') == directory && border.forbidden.contains(&package)
            };
            let why = BORDERS.iter().find(is_crossed).unwrap().why;
            let text = format!("[dependencies]\n{package}.workspace = true\n");
            check_text(&format!("{directory}/Cargo.toml"), &text, &[(2, why)]);
        }
    }

    #[test]
    fn layout_depends_on_nothing() {
        check_text("ebpf/layout/Cargo.toml", "[package]\nname = \"a\"\n[lib]\n", &[]);
        check_text("ebpf/layout/Cargo.toml", "[dependencies]\naya = \"1\"\n", &[(2, "layout depends on nothing")]);
        check_text("ebpf/layout/Cargo.toml", "[dependencies]\naya = { version = \"1\", optional = true }\n", &[]);
    }
}
