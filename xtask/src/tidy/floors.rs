//! Floors: a module uses only modules below it, so that each can be read, and tested, without those above.

mod plan;

use std::collections::BTreeSet;

use super::finding::{Finding, Rule};
use super::modules::{Crate, Module};
use super::source::Source;

/// The modules directly below one, from top to bottom.
struct Floors {
    /// The crate's sources.
    sources: &'static str,
    /// The module, as `rest::help`; nothing for the crate's root.
    house: &'static str,
    /// `.` is what the module itself declares; if it is not listed, it may use all rooms, and all rooms it.
    rooms: &'static [&'static str],
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    plan::FLOORS.iter().flat_map(|floors| floors.check(&Crate::new(floors.sources, sources))).collect()
}

impl Floors {
    fn check(&self, whole: &Crate) -> Vec<Finding> {
        let house = self.house.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect::<Module>();
        let mut findings = self.differences(&whole.children(&house));
        for file in whole.files.iter().filter(|file| file.module.starts_with(&house)) {
            let Some(own) = self.floor(room(whole, &house, &file.module)) else { continue };
            let targets =
                file.names.iter().filter_map(|named| Some((named.line, whole.absolute(&file.module, named)?)));
            let mut upward = BTreeSet::new();
            for (line, target) in targets.filter(|(_, target)| target.starts_with(&house)) {
                let target = whole.passed_on(&house, &target);
                let Some(other) = self.floor(room(whole, &house, &target)) else { continue };
                if other < own && upward.insert((line, other)) {
                    let what = format!("`{}` uses `{}`, which is above it", self.rooms[own], self.rooms[other]);
                    findings.push(Finding::new(Rule::Floors, &file.path, line, what));
                }
            }
        }
        findings
    }

    fn floor(&self, room: &str) -> Option<usize> {
        self.rooms.iter().position(|listed| *listed == room)
    }

    /// Where the list and the tree differ.
    fn differences(&self, found: &BTreeSet<&str>) -> Vec<Finding> {
        let plan = "xtask/src/tidy/floors/plan.rs";
        let place = format!("{}/{}", self.sources, self.house.replace("::", "/"));
        let place = place.trim_end_matches('/');
        let unlisted = found.iter().filter(|room| self.floor(room).is_none());
        let unlisted = unlisted.map(|room| {
            format!("`{room}` in {place} is not on the list: put it between what uses it and what it uses")
        });
        let gone = self.rooms.iter().filter(|room| **room != "." && !found.contains(**room));
        let gone = gone.map(|room| format!("`{room}` does not exist in {place}: remove it from the list"));
        unlisted.chain(gone).map(|what| Finding::new(Rule::Floors, plan, 0, what)).collect()
    }
}

/// Which module directly below `house` the path leads into.
fn room<'a>(whole: &Crate, house: &[String], path: &'a [String]) -> &'a str {
    path.get(house.len()).map(String::as_str).filter(|name| whole.children(house).contains(name)).unwrap_or(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(house: &'static str, rooms: &'static [&'static str], files: &[(&str, &str)], expected: &[&str]) {
        let sources = files.iter().map(|(path, text)| Source::example(&format!("a/src/{path}"), text));
        let whole = Crate::new("a/src", &sources.collect::<Vec<_>>());
        let found = Floors { sources: "a/src", house, rooms }.check(&whole);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_module_that_uses_one_above_it_is_found() {
        let files = [("main.rs", "mod top; mod low;"), ("top.rs", "use crate::low::A;"), ("low/b.rs", "crate::top::C")];
        check("", &["low", "top"], &files, &["a/src/top.rs:1: `top` uses `low`, which is above it"]);
        check("", &["top", "low"], &files, &["a/src/low/b.rs:1: `low` uses `top`, which is above it"]);
    }

    #[test]
    fn what_only_tests_use_may_be_above() {
        let files = [("top.rs", ""), ("low.rs", "#[cfg(test)] mod tests { use crate::top::C; }")];
        check("", &["top", "low"], &files, &[]);
    }

    #[test]
    fn a_group_and_a_name_passed_on_hide_nothing() {
        let group = [("top.rs", ""), ("low.rs", "use crate::{low::A,\ntop::B};")];
        check("", &["top", "low"], &group, &["a/src/low.rs:2: `low` uses `top`, which is above it"]);
        let passed_on = [("lib.rs", "mod top; mod low; pub use top::B;"), ("top.rs", ""), ("low.rs", "use crate::B;")];
        check("", &["top", "low"], &passed_on, &["a/src/low.rs:1: `low` uses `top`, which is above it"]);
    }

    #[test]
    fn a_house_inside_a_crate_has_floors_of_its_own() {
        let files =
            [("rest.rs", "pub struct Api;"), ("rest/top.rs", "use super::Api;"), ("rest/low.rs", "use super::top::B;")];
        check("rest", &["top", "low"], &files, &["a/src/rest/low.rs:1: `low` uses `top`, which is above it"]);
        check("rest", &[".", "low", "top"], &files, &["a/src/rest/top.rs:1: `top` uses `.`, which is above it"]);
    }

    #[test]
    fn the_list_names_every_module_and_no_other() {
        let plan = "xtask/src/tidy/floors/plan.rs";
        check(
            "",
            &["top"],
            &[("top.rs", ""), ("low.rs", "")],
            &[&format!("{plan}: `low` in a/src is not on the list: put it between what uses it and what it uses")],
        );
        check(
            "",
            &["top", "low"],
            &[("low.rs", "")],
            &[&format!("{plan}: `top` does not exist in a/src: remove it from the list")],
        );
    }
}
