//! Which module a file is, and which module a path in it means.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Named, paths};
use super::source::Source;

/// A module's place in its crate: `["rest", "help"]`; the crate's root is empty.
pub(super) type Module = Vec<String>;

/// A crate's modules that users run, and what they name.
pub(super) struct Crate {
    pub(super) files: Vec<ModuleFile>,
    known: BTreeSet<Module>,
    /// What each module imports, by the name it gives it.
    imports: BTreeMap<Module, BTreeMap<String, Module>>,
}

pub(super) struct ModuleFile {
    pub(super) path: String,
    pub(super) module: Module,
    pub(super) names: Vec<Named>,
}

impl Crate {
    /// The crate whose sources are below `directory`, tests left out.
    pub(super) fn new(directory: &str, sources: &[Source]) -> Self {
        let files = sources.iter().filter(|source| !source.is_test_module).filter_map(|source| {
            let module = module_of(&source.path, directory)?;
            Some(ModuleFile { path: source.path.clone(), module, names: paths(&source.code) })
        });
        let files = files.collect::<Vec<_>>();
        let known = files.iter().map(|file| file.module.clone()).collect();
        let mut all = Self { files, known, imports: BTreeMap::new() };
        all.imports = all.files.iter().map(|file| (file.module.clone(), all.imports_of(file))).collect();
        all
    }

    /// The modules directly below `module`.
    pub(super) fn children(&self, module: &[String]) -> BTreeSet<&str> {
        let below = self.known.iter().filter(|known| known.len() > module.len() && known.starts_with(module));
        below.map(|known| known[module.len()].as_str()).collect()
    }

    fn imports_of(&self, file: &ModuleFile) -> BTreeMap<String, Module> {
        let named = file.names.iter().filter(|named| named.within.is_empty());
        named.filter_map(|named| Some((named.imported_as.clone()?, self.absolute(&file.module, named)?))).collect()
    }

    /// What `named` means, from the crate's root; nothing when that is another crate's or is already counted where it
    /// was imported.
    pub(super) fn absolute(&self, module: &[String], named: &Named) -> Option<Module> {
        let mut base = [module, &named.within].concat();
        let mut words = named.words.as_slice();
        match words.first()?.as_str() {
            "crate" => {
                base.clear();
                words = &words[1..];
            }
            "self" => words = &words[1..],
            "super" => {
                while words.first().is_some_and(|word| word == "super") {
                    base.pop();
                    words = &words[1..];
                }
            }
            first => {
                base.push(first.to_owned());
                let is_child = self.known.contains(&base);
                base.pop();
                if !is_child {
                    return None;
                }
            }
        }
        Some([base.as_slice(), words].concat())
    }

    /// Where `path` leads when a module below `house` only passes it on to others: `rest::Api` may be
    /// `rest::call::Api`.
    pub(super) fn passed_on(&self, house: &[String], path: &Module) -> Module {
        let mut path = path.clone();
        // A crate whose imports go round in a circle does not compile; the bound is for one that does not.
        for _ in 0..8 {
            let Some(name) = path.get(house.len()) else { return path };
            let Some(target) = self.imports.get(house).and_then(|names| names.get(name)) else { return path };
            let child = &path[..=house.len()];
            if self.known.contains(child) || target.starts_with(child) || !target.starts_with(house) {
                return path;
            }
            path = [target.as_slice(), &path[house.len() + 1..]].concat();
        }
        path
    }
}

/// The module that the file at `path` is, in the crate whose sources are below `directory`.
fn module_of(path: &str, directory: &str) -> Option<Module> {
    let below = path.strip_prefix(directory)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let mut words = below.split('/').map(str::to_owned).collect::<Vec<_>>();
    if words[0] == "bin" {
        return None;
    }
    let is_root = words.len() == 1 && (words[0] == "main" || words[0] == "lib");
    if is_root || words.last().is_some_and(|last| last == "mod") {
        words.pop();
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::source::{File, read_all};

    fn example(files: &[(&str, &str)]) -> Crate {
        let file = |(path, text): &(&str, &str)| File::example(&format!("host/src/{path}"), text);
        Crate::new("host/src", &read_all(&files.iter().map(file).collect::<Vec<_>>()))
    }

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let example = example(files);
        let found = example.files.iter().flat_map(|file| {
            let targets = file.names.iter().filter_map(|named| example.absolute(&file.module, named));
            targets.map(|target| format!("{}: {}", file.module.join("::"), target.join("::"))).collect::<Vec<_>>()
        });
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_path_means_the_same_wherever_it_starts() {
        check(&[("main.rs", "mod a; use a::B;"), ("a.rs", "use std::fs;")], &[": a::B"]);
        check(
            &[("a/mod.rs", "use self::b::C;"), ("a/b.rs", "use super::D; use super::super::e;")],
            &["a: a::b::C", "a::b: a::D", "a::b: e"],
        );
        check(&[("a.rs", "mod b { use super::c; } fn d() { crate::e::f() }")], &["a: a::c", "a: e::f"]);
    }

    #[test]
    fn a_module_of_tests_is_not_counted() {
        check(&[("a.rs", "#[cfg(test)] mod fixture;"), ("a/fixture.rs", "use crate::b::C;")], &[]);
    }

    #[test]
    fn a_name_passed_on_leads_to_where_it_is_made() {
        let example = example(&[("a.rs", "mod b; pub use b::C; pub use b as d;"), ("a/b.rs", "")]);
        let passed_on = |path: &str| {
            let words = path.split("::").map(str::to_owned).collect::<Vec<_>>();
            example.passed_on(&["a".to_owned()], &words).join("::")
        };
        assert_eq!(passed_on("a::C"), "a::b::C");
        assert_eq!(passed_on("a::d::E"), "a::b::E");
        assert_eq!(passed_on("a::b::E"), "a::b::E");
        assert_eq!(passed_on("a::Other"), "a::Other");
    }
}
