//! How answers are printed, as the command line says it.

/// How an answer is printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum View {
    Json,
    Yaml,
    /// What the entries are called, one a line: for scripts.
    Names,
    /// For people; `hide` holds what to leave out: keys wherever they occur, or dotted ends of paths.
    Text {
        detail: Detail,
        /// Whether to show defaults and details as well.
        all: bool,
        hide: Vec<String>,
    },
    /// For people: the list of all cubes as a tree.
    Topology,
}

/// The clock that people read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Clock {
    #[default]
    Local,
    Utc,
}

/// How deep lists are opened: counted, their entries in a table, or their entries' own lists too.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum Detail {
    Brief,
    Normal,
    Verbose,
}

impl View {
    /// The view of something that the user did not ask to see in a certain way.
    pub(crate) fn plain() -> Self {
        Self::Text { detail: Detail::Normal, all: false, hide: Vec::new() }
    }
}
