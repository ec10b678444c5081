//! Forms of the command line, each declared once: usage and help are made of them.

use polycube_api::Verb;

/// What the user wants to know about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Topic {
    General,
    Add,
    Set,
    Show,
    Del,
    Action,
    Connect,
    Disconnect,
    Attach,
    Detach,
    Config,
    Plugin,
    Version,
    Completion,
    Dump,
    Watch,
    Capture,
    Top,
    Help,
    Captures,
}

/// The word for the files of all captures. A cube of that name is reached by its service: `packetcapture captures show`.
pub(super) const CAPTURES: &str = "captures";

pub(crate) struct Form {
    pub(crate) topic: Topic,
    name: &'static str,
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    pub(crate) examples: &'static [&'static str],
}

pub(crate) static FORMS: [Form; 19] = [
    Form {
        topic: Topic::Capture,
        name: "capture",
        usage: "capture PLACE... [EXPRESSION] | capture -i PLACE... [EXPRESSION] [-w FILE|- [--format FORMAT] [--force]] \
                [-c PACKETS] [--for TIME] [--bytes SIZE] [-s SIZE|headers [--whole-dns]] [--in|--out] [--rotate SIZE|TIME \
                [--keep FILES]] [--comment TEXT] [--bundle] [--keys FILE] [-q] [--utc|--local]",
        about: "capture packets at places (netdevs, ports of cubes, containers and others) for as long as it runs, with no daemon if \
                you are root, and leave nothing behind",
        examples: &[
            "capture eth0",
            "capture eth0 tcp port 443 -w out.pcapng",
            "capture veth1 br1:p2 --rotate 1h -w all.pcapng",
            "capture eth0 -w - | tcpdump -nr -",
        ],
    },
    Form {
        topic: Topic::Add,
        name: "add",
        usage: "SERVICE add NAME [KEY=VALUE...]",
        about: "create a cube, or an entry of a list in one; cubes add < FILE creates several",
        examples: &["packetcapture add sniffer capture=bidirectional", "br1 ports add toveth1 peer=veth1"],
    },
    Form {
        topic: Topic::Show,
        name: "show",
        usage: "NAME show [PATH...] [--all] [-brief|-normal|-verbose|-json|-yaml|-o FORM] [-hide=KEY,...] [--utc|--local]",
        about: "show a cube or a part of it, with --all defaults and details, too; also cubes, services, netdevs, topology; -o takes json, yaml, \
                wide (-verbose) and name",
        examples: &["sniffer show dump", "cubes show -json", "topology"],
    },
    Form {
        topic: Topic::Set,
        name: "set",
        usage: "NAME [PATH...] set KEY=VALUE...",
        about: "change settings; a list is KEY=A,B, a map KEY=a=1,b=2; NAME set < FILE takes them from a file or pipe",
        examples: &[
            "sniffer set capture=off",
            "sniffer filters set src=10.0.0.0/8 dport=80",
            "br1 ports toveth1 set flood=off",
        ],
    },
    Form {
        topic: Topic::Del,
        name: "del",
        usage: "del NAME [PATH...]",
        about: "delete a cube, or an entry of a list in one",
        examples: &["del sniffer", "br1 ports del toveth1"],
    },
    Form {
        topic: Topic::Action,
        name: "an action",
        usage: "NAME PATH... [KEY=VALUE...]",
        about: "run an action of a cube",
        examples: &["br1 fdb flush"],
    },
    Form {
        topic: Topic::Dump,
        name: "dump",
        usage: "NAME dump | dump NAME... [-w FILE|-] [--follow] [-c PACKETS] [--format pcap|pcap-nanos|pcapng] \
                [--keys FILE] [--force] [--bundle]",
        about: "write a capture's packets so far, or with --follow those from now on; of several captures in one pcapng stream, \
                in order of time; NAME show dump shows its file",
        examples: &[
            "sniffer dump -w out.pcap",
            "sniffer dump -w - --follow -c 100 | tcpdump -nr -",
            "dump before after --follow -w both.pcapng",
            "sniffer show dump",
        ],
    },
    Form {
        topic: Topic::Watch,
        name: "watch",
        usage: "NAME watch [-c PACKETS] [--utc|--local]",
        about: "show a line for each packet that a capture sees from now on, until Ctrl-C or for -c PACKETS",
        examples: &["sniffer watch", "sniffer watch -c 10"],
    },
    Form {
        topic: Topic::Top,
        name: "top",
        usage: "top [--once]",
        about: "show what passes captures and ports, with rates and drops, until q; with --once, or into a pipe, one table after a \
                second",
        examples: &["top", "top --once"],
    },
    Form {
        topic: Topic::Captures,
        name: CAPTURES,
        usage: "captures show | captures get NAME [-w FILE|-] [--force] | captures del NAME | captures query \
                [EXPRESSION] [-w FILE|-] [-c PACKETS] [--force]",
        about: "list, download and delete the files of all captures, also of cubes that are gone, or take the packets in them \
                that match an expression, which may have times (UTC)",
        examples: &[
            "captures show",
            "captures get sniffer_20261129T101500Z.pcap",
            "captures query 'udp and after 3h ago' -w f.pcapng",
            "captures query udp and before 2026-11-29T10:20",
        ],
    },
    Form {
        topic: Topic::Connect,
        name: "connect",
        usage: "connect CUBE:PORT CUBE:PORT",
        about: "connect two ports",
        examples: &["connect br1:p1 br2:p1"],
    },
    Form {
        topic: Topic::Disconnect,
        name: "disconnect",
        usage: "disconnect CUBE:PORT CUBE:PORT",
        about: "disconnect two ports",
        examples: &["disconnect br1:p1 br2:p1"],
    },
    Form {
        topic: Topic::Attach,
        name: "attach",
        usage: "attach CUBE PLACE [position=first|last|auto | before=CUBE | after=CUBE]",
        about: "attach a transparent cube to a place: a netdev, a port of a cube, a container or another",
        examples: &["attach sniffer br1:toveth1", "attach sniffer eth0 position=first", "attach sniffer container:web"],
    },
    Form {
        topic: Topic::Detach,
        name: "detach",
        usage: "detach CUBE PLACE",
        about: "detach a transparent cube from a place",
        examples: &["detach sniffer br1:toveth1"],
    },
    Form {
        topic: Topic::Config,
        name: "config",
        usage: "config save | config apply|diff [--prune] [FILE|-]",
        about: "print the whole configuration, bring one about as one change, or show what that would change; what it does \
                not mention stays, or goes with --prune",
        examples: &["config save > site.yaml", "config diff site.yaml", "config apply --prune < site.yaml"],
    },
    Form {
        topic: Topic::Plugin,
        name: "plugin",
        usage: "plugin new NAME [--standard|--transparent] [--c|--rust|--object] [--sdk=DIR] | plugin check FILE | plugin dev \
                [DIR] [--plugin-dir=DIR] [--once]",
        about: "write a plugin of your own, show what one is without loading it into the daemon, or build, load and reload it \
                while you work on it",
        examples: &["plugin new guard --c", "plugin check target/release/libpcn_guard.so", "plugin dev guard"],
    },
    Form {
        topic: Topic::Version,
        name: "version",
        usage: "version",
        about: "print the versions of polycubectl and of the daemon",
        examples: &["version"],
    },
    Form {
        topic: Topic::Completion,
        name: "completion",
        usage: "completion bash|zsh|fish",
        about: "print a completion script for a shell",
        examples: &["completion bash"],
    },
    Form {
        topic: Topic::Help,
        name: "help",
        usage: "help [TOPIC]",
        about: "explain a topic, such as filters, places or remote; without one, list them",
        examples: &["help", "help filters"],
    },
];

impl Form {
    /// As it is called in a sentence.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its name is a word of command lines.
    pub(crate) fn is_a_word(&self) -> bool {
        self.topic != Topic::Action
    }

    pub(super) fn is_named(&self, word: &str) -> bool {
        self.is_a_word() && self.name == word
    }
}

impl Topic {
    /// The topic of a verb.
    pub(crate) fn of(verb: Verb) -> Self {
        match verb {
            Verb::Add => Self::Add,
            Verb::Set => Self::Set,
            Verb::Show => Self::Show,
            Verb::Del => Self::Del,
        }
    }

    /// The form's name, to be used in a sentence.
    pub(crate) fn name(self) -> &'static str {
        self.form().map_or("polycubectl", |form| form.name)
    }

    /// One line that says how to go on after a mistake.
    pub(crate) fn hint(self) -> String {
        match self.form() {
            Some(form) => format!("usage: polycubectl {}", form.usage),
            None => "try: polycubectl --help".to_owned(),
        }
    }

    /// The forms that begin with a fixed word, and what each is for.
    pub(crate) fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
        let has_word = |form: &&Form| !matches!(form.topic, Topic::Action | Topic::Dump | Topic::Watch);
        FORMS.iter().filter(has_word).map(|form| (form.name, form.about))
    }

    /// The words that can follow the name of a cube that has packets, and what each is for.
    pub(crate) fn packet_commands() -> impl Iterator<Item = (&'static str, &'static str)> {
        let commands = FORMS.iter().filter(|form| matches!(form.topic, Topic::Dump | Topic::Watch));
        commands.map(|form| (form.name, form.about))
    }

    pub(crate) fn form(self) -> Option<&'static Form> {
        FORMS.iter().find(|form| form.topic == self)
    }
}

/// What a verb does, where it can follow.
pub(crate) fn about(verb: Verb) -> &'static str {
    match verb {
        Verb::Add => "create something here",
        Verb::Set => "change settings",
        Verb::Show => "show what is here",
        Verb::Del => "delete, or reset to the default",
    }
}

/// What can be done with the whole configuration, and what each does.
pub(crate) const CONFIG_WORDS: [(&str, &str); 3] = [
    ("save", "print the whole configuration, in YAML or with -json"),
    ("apply", "bring a configuration about"),
    ("diff", "show what applying a configuration would change"),
];

/// What can be done with the files of all captures, and what each does.
pub(crate) const CAPTURES_WORDS: [(&str, &str); 4] = [
    ("show", "list the files"),
    ("get", "download a file"),
    ("del", "delete a file that is not being written"),
    ("query", "take the packets that match an expression, which may have times"),
];

/// What can be done with plugins of one's own, and what each does.
pub(crate) const PLUGIN_WORDS: [(&str, &str); 3] = [
    ("new", "write a plugin's project into a new directory"),
    ("check", "show what a plugin is, without loading it into the daemon"),
    ("dev", "build a plugin, load it, and follow what it logs"),
];

/// A shell that there is a completion script for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Shell {
    pub(crate) const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shell| shell.name() == name)
    }
}
