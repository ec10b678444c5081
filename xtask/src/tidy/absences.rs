//! Absences: what the code of some modules may not name. ARCHITECTURE.md states each of them, with its reason.

mod list;

use std::collections::BTreeMap;

use super::finding::{Finding, Rule};
use super::lexer::TokenKind;
use super::paths::{Named, paths};
use super::source::Source;

/// What the code below `within` may not name.
struct Absence {
    /// Files whose path begins so, up to a `/` or `.`.
    within: &'static [&'static str],
    /// Files among them that may.
    except: &'static [&'static str],
    what: What,
    /// Completes "`std::fs`, but …".
    why: &'static str,
}

enum What {
    /// Paths that begin so.
    Paths(&'static [&'static str]),
    /// Functions and modules of these crates. Their types and constants do nothing.
    Calls(&'static [&'static str]),
    /// String literals.
    Texts(&'static [&'static str]),
}

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let absences = list::ABSENCES.iter().filter(|absence| absence.rules(&source.path)).collect::<Vec<_>>();
    if absences.is_empty() || source.is_test() {
        return Vec::new();
    }
    let named = resolved(paths(&source.code));
    let mut findings = absences.iter().flat_map(|absence| absence.check(source, &named)).collect::<Vec<_>>();
    findings.sort();
    findings.dedup();
    findings
}

/// The same paths, with what they begin with as its import spells it out: `File::open` is `std::fs::File::open`.
fn resolved(named: Vec<Named>) -> Vec<Named> {
    let imports = named.iter().filter(|named| named.words.len() > 1);
    let imports = imports.filter_map(|named| Some((named.imported_as.clone()?, named.words.clone())));
    let imports = imports.collect::<BTreeMap<_, _>>();
    let resolve = |mut named: Named| {
        let import = named.words.first().filter(|_| named.imported_as.is_none()).and_then(|first| imports.get(first));
        if let Some(import) = import {
            named.words = [import, &named.words[1..]].concat();
        }
        named
    };
    named.into_iter().map(resolve).collect()
}

impl Absence {
    fn rules(&self, path: &str) -> bool {
        let is_within = |place: &&str| {
            path.strip_prefix(*place).is_some_and(|rest| place.ends_with('/') || rest.starts_with(['/', '.']))
        };
        self.within.iter().any(is_within) && !self.except.iter().any(is_within)
    }

    fn check(&self, source: &Source, named: &[Named]) -> Vec<Finding> {
        let found: Vec<(usize, &str)> = match &self.what {
            What::Paths(forbidden) => forbidden_paths(named, forbidden, |_| true),
            What::Calls(forbidden) => forbidden_paths(named, forbidden, |named| {
                named.words.last().is_some_and(|last| last.starts_with(|c: char| c.is_lowercase()))
            }),
            What::Texts(forbidden) => {
                let texts = source.code.iter().filter(|token| token.kind == TokenKind::Text);
                let texts = texts.filter_map(|token| {
                    let text = forbidden.iter().find(|text| token.text == **text)?;
                    Some((token.line, *text))
                });
                texts.collect()
            }
        };
        let finding =
            |(line, name)| Finding::new(Rule::Absence, &source.path, line, format!("`{name}`, but {}", self.why));
        found.into_iter().map(finding).collect()
    }
}

fn forbidden_paths(
    named: &[Named],
    forbidden: &[&'static str],
    counts: impl Fn(&Named) -> bool,
) -> Vec<(usize, &'static str)> {
    let found = named.iter().filter(|named| counts(named)).filter_map(|named| {
        let is_below = |place: &str| {
            place.split("::").enumerate().all(|(at, word)| named.words.get(at).is_some_and(|own| own == word))
        };
        // The longest says the most.
        let place = forbidden.iter().filter(|place| is_below(place)).max_by_key(|place| place.len())?;
        (!list::TYPES.iter().any(|name| is_below(name))).then_some((named.line, *place))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_text(path: &str, text: &str, expected: &[&str]) {
        let found = check(&Source::example(path, text));
        let found = found.iter().map(|finding| finding.what.as_str()).collect::<Vec<_>>();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn input_and_output_in_the_sdk_is_found() {
        let path = "plugin-api/src/cube.rs";
        check_text(path, "use std::os::fd::OwnedFd;\nuse std::net::IpAddr;\n// std::fs is not used", &[]);
        check_text(path, "use std::fs::File;", &["`std::fs`, but plugin-api does no I/O"]);
        check_text(path, "use std::{io, process};", &["`std::process`, but plugin-api does no I/O"]);
        check_text(path, "fn a() { std::net::TcpStream::connect(b) }", &["`std::net`, but plugin-api does no I/O"]);
        check_text(path, "use tokio::time;", &["`tokio`, but plugin-api brings no async runtime and no logging crate"]);
    }

    #[test]
    fn input_and_output_in_a_pure_room_is_found() {
        for path in [
            "host/src/topology/port.rs",
            "host/src/wiring.rs",
            "host/src/plan.rs",
            "schema/src/node.rs",
            "host/src/model.rs",
        ] {
            check_text(path, "use crate::problem::Problem; use std::net::IpAddr;", &[]);
            let why = "topology, wiring, plan, schema and model do no I/O";
            check_text(path, "use std::fs;", &[&format!("`std::fs`, but {why}")]);
            check_text(path, "use crate::{problem, sys::netlink::Link};", &[&format!("`crate::sys`, but {why}")]);
            check_text(path, "fn a() { std::time::Instant::now() }", &[&format!("`std::time::Instant`, but {why}")]);
            check_text(path, "#[cfg(test)] mod tests { use std::fs; }", &[]);
        }
        check_text("host/src/planner.rs", "use std::fs;", &[]);
        check_text("cli/src/grammar/words.rs", "use std::fs;", &["`std::fs`, but grammar does no I/O"]);
    }

    #[test]
    fn a_system_call_outside_sys_is_found() {
        let why = "only host/src/sys makes system calls";
        check_text("host/src/sys/bpf.rs", "libc::syscall(libc::SYS_bpf)", &[]);
        check_text("host/src/execute.rs", "libc::syscall(n)", &[&format!("`libc`, but {why}")]);
        check_text(
            "host/src/engine/links.rs",
            "use rustix::net::{AddressFamily, netdevice};",
            &[&format!("`rustix`, but {why}")],
        );
        check_text("host/src/execute.rs", "libc::ENODEV; rustix::io::Errno::NODEV; rustix::fs::FileType::Fifo", &[]);
    }

    #[test]
    fn http_outside_rest_is_found() {
        let why = "only host/src/rest and host/src/containers know HTTP";
        check_text("host/src/rest/listen.rs", "use axum::Router;", &[]);
        check_text("host/src/rest.rs", "use axum::Router;", &[]);
        check_text("cli/src/client.rs", "use hyper::Request;", &[]);
        check_text("host/src/engine.rs", "let code = http::StatusCode::OK;", &[&format!("`http`, but {why}")]);
        check_text("host/src/engine.rs", "use axum::Router;", &[&format!("`axum`, but {why}")]);
    }

    #[test]
    fn input_output_and_http_in_the_shared_types_are_found() {
        check_text("api/src/error.rs", "use std::collections::BTreeMap; use serde::Serialize;", &[]);
        check_text("api/src/error.rs", "use std::fs;", &["`std::fs`, but api and document do no I/O"]);
        check_text("api/src/word.rs", "use http::Method;", &["`http`, but api and document know no HTTP library"]);
    }

    #[test]
    fn a_call_of_a_plugin_outside_plugins_is_found() {
        let why = "nothing outside host/src/plugins calls a plugin";
        check_text("host/src/plugins/loader.rs", "use polycube_plugin_api::abi::PluginRef;", &[]);
        check_text("host/src/registry.rs", "use polycube_plugin_api::Refusal;", &[]);
        check_text(
            "host/src/registry.rs",
            "use polycube_plugin_api::abi::PluginRef;",
            &[&format!("`polycube_plugin_api::abi`, but {why}")],
        );
        check_text(
            "host/src/rest/stream.rs",
            "use abi_stable::std_types::RStr;",
            &[&format!("`abi_stable`, but {why}")],
        );
    }

    #[test]
    fn a_service_that_the_command_line_knows_is_found() {
        check_text(
            "cli/src/show.rs",
            "const A: &str = \"simplebridge\";",
            &["`simplebridge`, but the command line knows no service"],
        );
        check_text("cli/src/show.rs", "#[cfg(test)] const A: &str = \"simplebridge\";", &[]);
        check_text("cli/src/extcap.rs", "const A: &str = \"packetcapture\";", &[]);
    }

    #[test]
    fn a_capture_file_opened_outside_store_is_found() {
        let why = "only plugins/packetcapture/src/store opens files";
        let text = "use std::fs::File; fn a(b: &Path) -> io::Result<File> { File::create(b) }";
        check_text("plugins/packetcapture/src/store/file.rs", text, &[]);
        check_text("plugins/packetcapture/src/sink/file.rs", "use std::fs::File; fn a(b: File) {}", &[]);
        let path = "plugins/packetcapture/src/sink/file.rs";
        check_text(path, text, &[&format!("`std::fs::File::create`, but {why}")]);
    }

    #[test]
    fn a_program_that_a_plugin_loads_is_found() {
        check_text("plugins/simplebridge/src/fdb.rs", "use aya::maps::HashMap;", &[]);
        check_text(
            "plugins/simplebridge/src/fdb.rs",
            "use aya::{maps, programs::Xdp};",
            &["`aya::programs`, but a plugin loads no program"],
        );
    }
}
