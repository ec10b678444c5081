//! The files of a new project. Pure: `sdk/templates` has them, and each is built in a test.

use crate::grammar::{CubeKind, Language, NewPlugin};

/// A file of a project.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) is_program: bool,
}

/// Lines for the table `patch.crates-io` of each side.
#[derive(Debug, Default)]
pub(super) struct Patches {
    pub(super) user: String,
    pub(super) kernel: String,
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../sdk/templates/", $path))
    };
}

const HEADER: &str = include_str!("../../../sdk/include/polycube.h");

/// All files of a project.
pub(super) fn files(asked: &NewPlugin, patches: &Patches, version: &str) -> Vec<File> {
    let NewPlugin { name, kind, language, .. } = asked;
    let entry = entry(name, *language);
    let kind_word = match kind {
        CubeKind::Standard => "standard",
        CubeKind::Transparent => "transparent",
    };
    let build = match language {
        Language::C | Language::Rust => {
            "cargo build --release     # target/release/libpcn_@name@.so\nsudo -E env PATH=\"$PATH\" cargo test"
        }
        Language::Object => "make                      # @name@.o\nsudo make test",
    };
    let fill = |text: &str, patches: &str| {
        let exclude = if *language == Language::Rust {
            "# The kernel side is for another target.\nexclude = [\"ebpf\"]"
        } else {
            ""
        };
        let text = text.replace("@build@", build).replace("@exclude@", exclude).replace("@patches@", patches);
        let text = text.replace("@load@", load(*language)).replace("@kind@", kind_word).replace("@version@", version);
        text.replace("@entry@", &entry).replace("@name@", name).trim_end().to_owned() + "\n"
    };
    let mut files = Vec::new();
    let mut add = |path: String, text: String| files.push(File { path, text, is_program: false });
    let user = |text: &str| fill(text, &patches.user);
    let c = match kind {
        CubeKind::Standard => template!("c/standard.bpf.c"),
        CubeKind::Transparent => template!("c/transparent.bpf.c"),
    };
    match language {
        Language::C => {
            add(format!("src/{name}.bpf.c"), user(c));
            add("include/polycube.h".to_owned(), HEADER.to_owned());
            add("build.rs".to_owned(), user(template!("c/build.rs")));
        }
        Language::Rust => {
            let program = match kind {
                CubeKind::Standard => template!("rust/ebpf/standard.rs"),
                CubeKind::Transparent => template!("rust/ebpf/transparent.rs"),
            };
            add("ebpf/src/main.rs".to_owned(), user(program));
            add("ebpf/Cargo.toml".to_owned(), user(template!("rust/ebpf/Cargo.toml")));
            let config = fill(template!("rust/ebpf/cargo-config.toml"), &patches.kernel);
            add("ebpf/.cargo/config.toml".to_owned(), config);
            add("build.rs".to_owned(), user(template!("rust/build.rs")));
        }
        Language::Object => {
            add(format!("{name}.bpf.c"), user(c));
            add(format!("{name}.json"), user(template!("object/manifest.json")));
            add("include/polycube.h".to_owned(), HEADER.to_owned());
            add("Makefile".to_owned(), user(template!("object/Makefile")));
        }
    }
    if *language != Language::Object {
        let code = match kind {
            CubeKind::Standard => template!("shared/standard.rs"),
            CubeKind::Transparent => template!("shared/transparent.rs"),
        };
        add("src/lib.rs".to_owned(), user(code));
        add("Cargo.toml".to_owned(), user(template!("shared/Cargo.toml")));
        add(".cargo/config.toml".to_owned(), user(template!("shared/cargo-config.toml")));
        let tests = match kind {
            CubeKind::Standard => template!("shared/packets-standard.rs"),
            CubeKind::Transparent => template!("shared/packets-transparent.rs"),
        };
        add("tests/packets.rs".to_owned(), user(tests));
        add("tests/daemon.rs".to_owned(), user(template!("shared/daemon.rs")));
    }
    add(".gitignore".to_owned(), user(template!("shared/gitignore")));
    add("README.md".to_owned(), user(template!("shared/README.md")));
    let place = match kind {
        CubeKind::Standard => template!("shared/packets-standard.sh"),
        CubeKind::Transparent => template!("shared/packets-transparent.sh"),
    };
    let script = user(&[template!("shared/packets.sh"), place, template!("shared/packets-end.sh")].concat());
    files.push(File { path: "tests/packets.sh".to_owned(), text: script, is_program: true });
    files
}

/// The program's name. In C it is in one scope with maps, helpers and the language's own words.
fn entry(name: &str, language: Language) -> String {
    match language {
        Language::C | Language::Object => format!("{name}_packet"),
        Language::Rust => name.to_owned(),
    }
}

/// A daemon loads plugins of its directory by itself, and services from objects when it is asked to.
fn load(language: Language) -> &'static str {
    match language {
        Language::C | Language::Rust => "",
        Language::Object => "ctl services add type=object uri=@name@.o name=@name@",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for kind in [CubeKind::Standard, CubeKind::Transparent] {
            for language in [Language::C, Language::Rust, Language::Object] {
                let asked = NewPlugin { name: "guard".to_owned(), kind, language, sdk: None };
                let files = files(&asked, &Patches::default(), "0.1.0");
                for File { path, text, .. } in &files {
                    // `@word@`: make and shells have an `@` of their own.
                    let mut parts = text.split('@').skip(1);
                    let is_word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
                    assert!(!parts.any(is_word), "{path}: {text}");
                }
                let has = |end: &str| files.iter().any(|file| file.path.ends_with(end));
                assert_eq!(has("Cargo.toml"), language != Language::Object);
                assert_eq!(has("polycube.h"), language != Language::Rust);
                assert!(has("tests/packets.sh"));
            }
        }
    }
}
