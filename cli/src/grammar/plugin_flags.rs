//! Flags of `plugin`.

/// Whether cubes forward packets or watch them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum CubeKind {
    Standard,
    #[default]
    Transparent,
}

/// What the kernel side, and the rest, are written in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Language {
    /// The kernel side in C, the rest in Rust.
    #[default]
    C,
    /// Both in Rust.
    Rust,
    /// The kernel side in C, and a manifest.
    Object,
}

/// Flags of `plugin`, as they were given.
#[derive(Debug, Default)]
pub(super) struct PluginFlags {
    pub(super) kinds: Vec<(&'static str, CubeKind)>,
    pub(super) languages: Vec<(&'static str, Language)>,
    pub(super) sdk: Option<String>,
    pub(super) plugin_dir: Option<String>,
    pub(super) once: bool,
}

/// The flags, without values.
pub(super) const OF_NEW: [&str; 6] = ["--standard", "--transparent", "--c", "--rust", "--object", "--sdk"];
pub(super) const OF_DEV: [&str; 2] = ["--plugin-dir", "--once"];

impl PluginFlags {
    /// Takes a flag without a value; `false` if it is another one.
    pub(super) fn take(&mut self, word: &str) -> bool {
        match word {
            "--standard" => self.kinds.push(("--standard", CubeKind::Standard)),
            "--transparent" => self.kinds.push(("--transparent", CubeKind::Transparent)),
            "--c" => self.languages.push(("--c", Language::C)),
            "--rust" => self.languages.push(("--rust", Language::Rust)),
            "--object" => self.languages.push(("--object", Language::Object)),
            "--once" => self.once = true,
            _ => return false,
        }
        true
    }

    /// One that was given and that `plugin new` takes.
    pub(super) fn of_new(&self) -> Option<&'static str> {
        let kind = self.kinds.first().map(|(flag, _)| *flag);
        let sdk = self.sdk.as_ref().map(|_| "--sdk");
        kind.or(self.languages.first().map(|(flag, _)| *flag)).or(sdk)
    }

    /// One that was given and that `plugin dev` takes.
    pub(super) fn of_dev(&self) -> Option<&'static str> {
        self.plugin_dir.as_ref().map(|_| "--plugin-dir").or(self.once.then_some("--once"))
    }
}
