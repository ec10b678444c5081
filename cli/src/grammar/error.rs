//! What can be wrong with a command line.

use super::forms::Topic;

/// A command line that cannot be understood; nothing was sent.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("'{word}' is not UTF-8")]
    NotUtf8 { word: String },
    #[error("'{word}' is not a flag")]
    UnknownFlag { word: String },
    #[error("{flag} needs a value: {flag} {metavar}")]
    FlagWithoutValue { flag: &'static str, metavar: &'static str },
    #[error("{flag} is given twice")]
    FlagTwice { flag: &'static str },
    #[error("{first} and {second} exclude each other")]
    StylesTogether { first: &'static str, second: &'static str },
    #[error("{flag} goes with show only")]
    ViewWithoutShow { flag: &'static str },
    #[error("{flag} goes with show and watch only")]
    ClockWithoutTimes { flag: &'static str },
    #[error("-hide does not go with {flag}")]
    HideWith { flag: &'static str },
    #[error("-hide needs names: -hide=uuid,ports.peer")]
    HideWithoutNames,
    #[error("'{first}' and '{second}' are both commands: give one")]
    TwoCommands { first: &'static str, second: &'static str },
    #[error("'{word}' cannot follow '{pair}': put path and command before key=value")]
    AfterPair { word: String, pair: String },
    #[error("'{pair}' has an empty key")]
    EmptyKey { pair: String },
    #[error("'{key}' is given twice")]
    DuplicateKey { key: String },
    #[error("'{key}' would be a value and an object at once")]
    KeyConflict { key: String },
    #[error("'{entry}' in {map}= is not KEY=VALUE: write {map}=a=b,c=d, or JSON")]
    MapEntry { map: String, entry: String },
    #[error("'{map}' is set as a whole: {map}=KEY=VALUE,KEY=VALUE")]
    MapMember { map: String },
    #[error("'{word}' cannot be part of a path")]
    PathWord { word: String },
    #[error("'?' must be the last word")]
    HelpNotLast,
    #[error("'{command}' alone names nothing: name a cube or a service")]
    NoPath { command: &'static str },
    #[error("services reload needs a service: services reload NAME [uri=FILE]")]
    NoService,
    #[error("set needs at least one key=value, or a configuration on standard input")]
    NothingToSet,
    #[error("cubes add needs a list of cubes on standard input")]
    NoCubes,
    #[error("cubes add takes no key=value: it reads a list of cubes from standard input")]
    CubesWithPairs,
    #[error("{command} takes no key=value")]
    PairsNotTaken { command: &'static str, topic: Topic },
    #[error("{}", wrong_words(*topic))]
    Form { topic: Topic },
    #[error("there is no completion for '{word}': give bash, zsh or fish")]
    Shell { word: String },
    #[error("there is no topic '{word}': {}", meant(near))]
    NoTopic { word: String, near: Vec<&'static str> },
    #[error("'{value}' is not a number of packets: give -c 1 or more")]
    Count { value: String },
    #[error(
        "capture needs a place, before the expression or with -i: a netdev, CUBE:PORT, any, container:NAME or another \
         (polycubectl help places)"
    )]
    NoPlace,
    #[error(
        "'{word}' cannot begin an expression, and with -i all other words are one: if it is a place, give -i {word}"
    )]
    WordBesidePlaces { word: String },
    #[error("'{word}' is not a place: separate places by blanks, as {}", word.replace(',', " "))]
    Comma { word: String },
    #[error("the place {place} is given twice")]
    PlaceTwice { place: String },
    #[error("capture does not know {word}: polycubectl capture --help lists its flags")]
    CaptureFlag { word: String },
    #[error("capture does not take {of}'s {flag}: {ours}")]
    OfTcpdump { flag: String, of: &'static str, ours: String },
    #[error("capture does not compress: give -w a name without .{ending}, and compress the file later")]
    Compressed { ending: String },
    #[error("'%' in the name of a file stands for itself: --rotate numbers files, as trace-000001.pcapng")]
    TimeInName,
    #[error("'{file}' is pcapng, and is not converted: give -w a name that ends in .pcapng")]
    OtherFormat { file: String },
    #[error("{flag} needs a file: give -w FILE")]
    NeedsFile { flag: &'static str },
    #[error("--keep goes with --rotate only")]
    KeepWithoutRotate,
    #[error(
        "TLS keys need pcapng: {format} has no place for them; give a file that ends in .pcapng, or --format pcapng"
    )]
    KeysFormat { format: String },
    #[error("--whole-dns goes with -s headers only")]
    WholeDns,
    #[error("{flag} takes a whole number from 1 up, not '{value}'")]
    NotPositive { flag: &'static str, value: String },
    #[error("'{value}' is not a size: {flag} takes one such as 10M or 100kB")]
    Size { flag: &'static str, value: String },
    #[error("'{value}' is not a time: {flag} takes one such as 30s or 5min")]
    Time { flag: &'static str, value: String },
    #[error("'{value}' is neither a size nor a time: --rotate takes one such as 100MB or 1h")]
    Rotate { value: String },
    #[error("'{value}' is not a format: --format takes pcapng, pcap or pcap-nanos")]
    Format { value: String },
    #[error("'{value}' is not a form of output: -o takes json, yaml, wide or name")]
    OutputForm { value: String },
    #[error("the capture {cube} is given twice")]
    CubeTwice { cube: String },
    #[error("packets of several captures are written as pcapng: {format} does not say where a packet comes from")]
    JoinedFormat { format: String },
    #[error("{flag} is a part of pcapng: write such a file, with -w FILE.pcapng")]
    PartOfPcapng { flag: &'static str, topic: Topic },
    #[error("the result of a query is pcapng: give -w a name that ends in .pcapng")]
    QueryFormat,
    #[error("{flag} goes with {} only", if takes_watch(flag) { "NAME dump and NAME watch" } else { "NAME dump" })]
    FlagWithoutDump { flag: &'static str },
    #[error(
        "{command} takes no expression: choose packets with {cube} set filter='tcp port 443', or take others with \
         polycubectl capture PLACE EXPRESSION"
    )]
    ExpressionOfCube { command: &'static str, cube: String },
    #[error("'{key}=' sets nothing here: settings are set with NAME set {key}=VALUE")]
    PairWithPackets { key: String },
    #[error("{flag} goes with plugin only")]
    FlagWithoutPlugin { flag: &'static str },
    #[error("{flag} goes with plugin {word} only")]
    FlagOfPlugin { flag: &'static str, word: &'static str },
    #[error("'{name}' cannot be a plugin's name: give up to 15 of a-z, 0-9 and _, a letter first")]
    PluginName { name: String },
    #[error("'{name}' cannot be a plugin's name: it is a word of the API or of the command line; choose another")]
    ReservedName { name: String },
    #[error(
        "'{name}' cannot be the name of a plugin in Rust: it means something to the compiler, to cargo or in the project; choose \
         another, or leave out --rust"
    )]
    NameInRust { name: String },
    #[error("{first} and {second} exclude each other")]
    PluginFlagsTogether { first: &'static str, second: &'static str },
    #[error("{word} goes with config apply and config diff only")]
    WordWithoutConfig { word: &'static str },
    #[error("- (standard input) and FILE exclude each other")]
    TwoConfigurations,
    #[error("- (standard input) does not go with key=value, and only with add, set, actions and config")]
    Dash,
    #[error("attach takes one of position, before and after")]
    AttachOptions,
    #[error("attach does not know '{name}'")]
    AttachOption { name: String },
    #[error("'{value}' is not a position: give first, last or auto")]
    AttachPosition { value: String },
}

/// A command line that cannot be understood, and what it is about.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub(crate) struct Mistake {
    pub(crate) error: UsageError,
    typed: Topic,
}

impl Mistake {
    /// `typed` is what the words are about, as far as they can be understood.
    pub(super) fn new(error: UsageError, typed: Topic) -> Self {
        Self { error, typed }
    }

    /// One line that says how to go on: the form of the command that was typed, unless the mistake is about another. `None`
    /// if the message says so itself.
    pub(crate) fn hint(&self) -> Option<String> {
        let says_all = matches!(self.error, UsageError::OfTcpdump { .. } | UsageError::CaptureFlag { .. });
        (!says_all).then(|| self.error.topic().unwrap_or(self.typed).hint())
    }
}

impl From<UsageError> for Mistake {
    fn from(error: UsageError) -> Self {
        Self::new(error, Topic::General)
    }
}

/// What is wrong with the number of words, or what else the first of them needs.
fn wrong_words(topic: Topic) -> String {
    match topic {
        Topic::Captures => "captures needs show, get NAME, del NAME or query".to_owned(),
        topic => format!("wrong number of words for {}", topic.name()),
    }
}

/// Whether `watch` takes a flag, too.
fn takes_watch(flag: &str) -> bool {
    matches!(flag, "-c" | "-n")
}

/// Names that could be meant, or where all of them are.
fn meant(near: &[&str]) -> String {
    match near {
        [] => "polycubectl help lists them".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

impl UsageError {
    /// The topic that shows the right form, if that is not a matter of what was typed.
    fn topic(&self) -> Option<Topic> {
        let topic = match self {
            Self::Form { topic } | Self::PairsNotTaken { topic, .. } | Self::PartOfPcapng { topic, .. } => *topic,
            Self::AttachOptions | Self::AttachOption { .. } | Self::AttachPosition { .. } => Topic::Attach,
            Self::Shell { .. } => Topic::Completion,
            Self::NoTopic { .. } => Topic::Help,
            Self::FlagWithoutPlugin { .. }
            | Self::FlagOfPlugin { .. }
            | Self::PluginName { .. }
            | Self::ReservedName { .. }
            | Self::NameInRust { .. }
            | Self::PluginFlagsTogether { .. } => Topic::Plugin,
            Self::NoCubes | Self::CubesWithPairs => Topic::Add,
            Self::CubeTwice { .. } | Self::JoinedFormat { .. } | Self::FlagWithoutDump { .. } => Topic::Dump,
            Self::QueryFormat | Self::OtherFormat { .. } => Topic::Captures,
            Self::NothingToSet => Topic::Set,
            Self::WordWithoutConfig { .. } | Self::TwoConfigurations => Topic::Config,
            Self::OutputForm { .. } | Self::ViewWithoutShow { .. } => Topic::Show,
            Self::HideWith { .. } | Self::HideWithoutNames | Self::ClockWithoutTimes { .. } => Topic::Show,
            Self::TwoCommands { .. } => Topic::General,
            _ => return None,
        };
        Some(topic)
    }
}
