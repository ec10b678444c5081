//! Why an object does not become a service: each line says where, and what to do.

use polycube_layout::chain::PORTS;
use polycube_loader::object::sections_in_words;

use super::fit::Misfit;
use super::manifest::Malformed;

/// Entries that the map of a standard service's ports has at least.
pub(super) const LEAST_PORTS: u32 = 128;

/// What is wrong with an object or its manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is not an ELF object: compile it with clang -target bpf")]
    NotElf,
    #[error("it ends early: copy or compile it again")]
    Cut,
    #[error("it is an object for another machine: compile it with clang -target bpf")]
    Machine,
    #[error("it is big-endian, and this machine is not: compile it with -target bpfel")]
    BigEndian,
    #[error("it has no BTF, which declares its maps: compile it with -g, and strip it with llvm-strip -g only")]
    NoTypes,
    #[error("it is malformed: compile it again")]
    Malformed,
    #[error("it uses `{name}`, which it does not define: define it, or correct the name")]
    Undefined { name: String },
    #[error("it cannot be read: {0}: compile it again")]
    Unreadable(#[from] aya_obj::ParseError),
    #[error("it has no manifest: write {file}, or add a section `.polycube` to the object")]
    NoManifest { file: String },
    #[error("the manifest in section `.polycube` is not UTF-8 text: write it in UTF-8")]
    NotText,
    #[error("section `.polycube`:{0}")]
    Section(Malformed),
    #[error("`hooks` is empty: name at least one program")]
    NoHooks,
    #[error("hook {hook}: the object has no program `{program}`; {}", known(.programs))]
    NoProgram { hook: usize, program: String, programs: Vec<String> },
    #[error(
        "hook {hook}: program `{program}` is in section `{section}`, which is for another kind of program: put it into {}",
        sections_in_words()
    )]
    ProgramSection { hook: usize, program: String, section: String },
    #[error("hook {hook}: hook {first} has the same direction and stage: number the stages of a direction from 0")]
    Twice { hook: usize, first: usize },
    #[error(
        "a standard service needs the map `{PORTS}` in its object, which the daemon fills: declare an ARRAY of 4-byte values with \
         at least {LEAST_PORTS} entries (`PCN_PORTS` of polycube.h has 1,024)"
    )]
    NoPorts,
    #[error(
        "the map `{map}` is a {kind}, which a process would have to read or fill: use hash, array, LPM trie, queue or stack"
    )]
    MapKind { map: String, kind: String },
    #[error("the map `{map}` has a name of the chain's: make it a PROG_ARRAY with one entry, or give it another name")]
    ChainMap { map: String },
    #[error(
        "the map `{map}` is a PROG_ARRAY, and `tail-calls` does not say which programs are in it: add `\"{map}\": \
         [\"PROGRAM\", …]` to `tail-calls`"
    )]
    Unfilled { map: String },
    #[error("`tail-calls` names the map `{map}`, which is not a PROG_ARRAY of the object's; {}", known(.maps))]
    NoCalls { map: String, maps: Vec<String> },
    #[error("`tail-calls` has {given} programs for the map `{map}`, which has room for {room}: make the map larger")]
    CallCount { map: String, given: usize, room: u32 },
    #[error("`tail-calls` names the program `{program}` for the map `{map}`, and the object has none for TC; {}", known(.programs))]
    NoTarget { map: String, program: String, programs: Vec<String> },
    #[error("{place} is connected to nothing in the object: give it `{keyword}`")]
    Unbound { place: Place, keyword: &'static str },
    #[error("`{keyword}` of {place} is not {wanted}: correct it")]
    Keyword { place: Place, keyword: &'static str, wanted: &'static str },
    #[error("{place} is not an object: give it `\"type\": \"object\"`")]
    NoObject { place: Place },
    #[error("{place} has `$ref`, which a manifest cannot have: write the schema itself there")]
    Reference { place: Place },
    #[error("{place} has the keyword `{keyword}`, which means nothing: correct or remove it; {}", known(.keywords))]
    UnknownKeyword { place: Place, keyword: String, keywords: Vec<String> },
    #[error("{place} has `{keyword}`, which means nothing there: remove it, as it is for {of}")]
    Misplaced { place: Place, keyword: &'static str, of: &'static str },
    #[error("`x-list-key` of {place} names `{key}`, which is not a member of its entries; {}", known(.members))]
    KeyMember { place: Place, key: String, members: Vec<String> },
    #[error("{place} is a list without `x-list-key`: say which member identifies an entry")]
    NoKey { place: Place },
    #[error("{place}: the object has no global variable `{name}`; {}", known(.globals))]
    NoGlobal { place: Place, name: String, globals: Vec<String> },
    #[error("{place}: the object has no map `{name}`; {}", known(.maps))]
    NoMap { place: Place, name: String, maps: Vec<String> },
    #[error("{place}: the map `{map}` is a {kind}; {wanted}")]
    WrongMap { place: Place, map: String, kind: String, wanted: &'static str },
    #[error(
        "{place}: the index {index} is past the end of the map `{map}`, which has {entries} entries: make it larger, or take a lower index"
    )]
    Index { place: Place, map: String, index: u64, entries: u32 },
    #[error(
        "{place}: neither key nor value of the map `{map}` has a field `{field}`; {}; `x-field` names another",
        known(.fields)
    )]
    NoField { place: Place, map: String, field: String, fields: Vec<String> },
    #[error("{place}: the field `{field}` is a bit field, which has no place of its own: make it a whole integer")]
    BitField { place: Place, field: String },
    #[error("{place}: no member has the key of the map `{map}`: add one, or name the one in `x-list-key` so")]
    NoMapKey { place: Place, map: String },
    #[error("{place}: {first} has the global variable `{name}` already: give each a variable of its own")]
    SameGlobal { place: Place, first: Place, name: String },
    #[error("{place}: {first} has the map `{map}` already: give each list a map of its own")]
    SameMap { place: Place, first: Place, map: String },
    #[error(
        "{place}: {first} is stored in the same bytes of the map `{map}`: name another field with `x-field`, or remove one"
    )]
    SameBytes { place: Place, first: Place, map: String },
    #[error("{place}: {source}")]
    Misfit { place: Place, source: Box<Misfit> },
}

impl Fault {
    /// Whether the manifest is to be corrected, and not the object.
    pub(super) fn is_of_manifest(&self) -> bool {
        !matches!(
            self,
            Self::NotElf
                | Self::Cut
                | Self::Machine
                | Self::BigEndian
                | Self::NoTypes
                | Self::Malformed
                | Self::Undefined { .. }
                | Self::Unreadable(_)
                | Self::NoManifest { .. }
                | Self::NotText
                | Self::Section(_)
                | Self::ProgramSection { .. }
                | Self::NoPorts
                | Self::MapKind { .. }
                | Self::ChainMap { .. }
                | Self::BitField { .. }
        )
    }
}

/// A node of the manifest's schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub part: &'static str,
    pub path: String,
}

impl Place {
    pub(super) fn below(&self, word: &str) -> Self {
        let path = if self.path.is_empty() { word.to_owned() } else { format!("{}/{word}", self.path) };
        Self { part: self.part, path }
    }

    /// The words of the path.
    pub(super) fn words(&self) -> Vec<String> {
        self.path.split('/').map(str::to_owned).collect()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            return write!(f, "the {}", self.part);
        }
        write!(f, "`{}` of the {}", self.path, self.part)
    }
}

fn known(names: &[String]) -> String {
    if names.is_empty() { "there is none".to_owned() } else { format!("known: {}", names.join(", ")) }
}
