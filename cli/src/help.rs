//! Help: one entry per form of the command line, from which every help text is made.

mod answer;

use std::fmt::Write;

pub(crate) use self::answer::{Answer, Keyword};
use crate::show::paragraph;

/// What the reader wants to know about.
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
    Version,
    Completion,
    Dump,
    Watch,
}

struct Form {
    topic: Topic,
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    examples: &'static [&'static str],
}

const FORMS: [Form; 13] = [
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
        usage: "NAME show [PATH...] [-brief|-normal|-verbose|-json|-yaml] [-hide=KEY,...]",
        about: "show a cube or a part of it; also cubes, services, netdevs, topology",
        examples: &["sniffer show dump", "cubes show -json", "topology"],
    },
    Form {
        topic: Topic::Set,
        name: "set",
        usage: "NAME [PATH...] set KEY=VALUE...",
        about: "change settings; NAME set < FILE takes them from a file or pipe",
        examples: &["sniffer set capture=off", "sniffer filters set src=10.0.0.0/8 dport=80"],
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
        usage: "NAME dump [-w FILE|-] [--follow] [--format pcap|pcap-nanos|pcapng] [--force]",
        about: "write a capture's packets so far, or with --follow those that come; NAME show dump tells its file",
        examples: &["sniffer dump -w out.pcap", "sniffer dump -w - --follow | tcpdump -nr -", "sniffer show dump"],
    },
    Form {
        topic: Topic::Watch,
        name: "watch",
        usage: "NAME watch",
        about: "show a line for each packet that a capture sees from now on",
        examples: &["sniffer watch"],
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
        usage: "attach CUBE PORT [position=first|last|auto | before=CUBE | after=CUBE]",
        about: "attach a transparent cube to a port of a cube, or to a netdev",
        examples: &["attach sniffer br1:toveth1", "attach sniffer eth0 position=first"],
    },
    Form {
        topic: Topic::Detach,
        name: "detach",
        usage: "detach CUBE PORT",
        about: "take a transparent cube off its port",
        examples: &["detach sniffer br1:toveth1"],
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
        about: "print a script that teaches a shell to complete",
        examples: &["completion bash"],
    },
];

/// Columns of a text, where there is no terminal to tell.
pub(crate) const WIDTH: usize = 80;

const FLAGS: [(&str, &str); 7] = [
    (
        "--url URL",
        "the daemon: unix:///path/to/socket, http://host:port or https://host:port (else POLYCUBECTL_URL, else url in \
         the configuration file, else unix:///run/polycube/polycubed.sock)",
    ),
    (
        "--token-file FILE",
        "the bearer token for TCP (else POLYCUBECTL_TOKEN, else token-file in the configuration file)",
    ),
    (
        "--cacert FILE",
        "for https: the CA that has signed the daemon's certificate, in PEM (else POLYCUBECTL_CACERT, else cacert in the \
         configuration file)",
    ),
    ("--cert FILE", "for https: a client certificate, in PEM; as above, POLYCUBECTL_CERT or cert"),
    ("--key FILE", "its private key; as above, POLYCUBECTL_KEY or key"),
    (
        "-h, --help, ?",
        "help; after words, help on what can follow them (quote '?' where a file has a name of one letter)",
    ),
    ("-V, --version", "the version of polycubectl"),
];

const CONFIGURATION: &str = "Configuration file: $XDG_CONFIG_HOME/polycube/polycubectl_config.yaml, by default in \
    ~/.config, with url, token-file, cacert, cert, key and debug. debug: true, or POLYCUBECTL_DEBUG=1, shows each request and answer on \
    stderr.";

const STATUSES: [(&str, &str); 6] = [
    ("0", "done"),
    ("1", "the daemon was not reached"),
    ("2", "the daemon refused"),
    ("64", "wrong usage, configuration or input; nothing was sent"),
    ("71", "the system gave no resources"),
    ("74", "the output could not be written"),
];

impl Topic {
    /// The form's name, to be used in a sentence.
    pub(crate) fn name(self) -> &'static str {
        self.form().map_or("polycubectl", |form| form.name)
    }

    /// One line that tells how to go on after a mistake.
    pub(crate) fn hint(self) -> String {
        match self.form() {
            Some(form) => format!("usage: polycubectl {}", form.usage),
            None => "try: polycubectl --help".to_owned(),
        }
    }

    /// The forms that begin with a word of their own, and what each is for.
    pub(crate) fn words() -> impl Iterator<Item = (&'static str, &'static str)> {
        let has_word = |form: &&Form| !matches!(form.topic, Topic::Action | Topic::Dump | Topic::Watch);
        FORMS.iter().filter(has_word).map(|form| (form.name, form.about))
    }

    /// The words that can follow the name of a cube that has packets to give, and what each is for.
    pub(crate) fn taps() -> impl Iterator<Item = (&'static str, &'static str)> {
        let taps = FORMS.iter().filter(|form| matches!(form.topic, Topic::Dump | Topic::Watch));
        taps.map(|form| (form.name, form.about))
    }

    /// The help text, in lines of `width` columns.
    pub(crate) fn text(self, width: usize) -> String {
        match self.form() {
            Some(form) => form.text(width),
            None => general(width),
        }
    }

    fn form(self) -> Option<&'static Form> {
        FORMS.iter().find(|form| form.topic == self)
    }
}

impl Form {
    fn text(&self, width: usize) -> String {
        let mut text = self.summary("", "  ", width);
        text.push_str("\nExamples:\n");
        for example in self.examples {
            let _ = writeln!(text, "  polycubectl {example}");
        }
        text
    }

    /// Usage, and below it what it is for, each behind its indentation.
    fn summary(&self, usage: &str, about: &str, width: usize) -> String {
        let line = format!("polycubectl {}", self.usage);
        paragraph(usage, about.len() + 2, &line, width) + &paragraph(about, about.len(), self.about, width)
    }
}

fn general(width: usize) -> String {
    let what = "polycubectl drives polycubed, the daemon that hosts network functions.";
    let mut text = paragraph("", 0, what, width) + "\n";
    text.extend(FORMS.iter().map(|form| form.summary("  ", "      ", width)));
    text.push('\n');
    let anywhere = "The command may stand anywhere among the words: del br1 is br1 del, sniffer dump show is sniffer \
                    show dump.";
    text.push_str(&paragraph("", 0, anywhere, width));
    let input = "A configuration in YAML or JSON, from a file or pipe, takes the place of KEY=VALUE:";
    text.push_str(&paragraph("", 0, input, width));
    text.push_str("  polycubectl cubes add < cubes.yaml\n\nFlags:\n");
    text.extend(FLAGS.iter().map(|(flag, about)| paragraph(&format!("  {flag:<17}  "), 21, about, width)));
    text.push('\n');
    text.push_str(&paragraph("", 0, CONFIGURATION, width));
    text.push_str("\nExit status:\n");
    text.extend(STATUSES.iter().map(|(status, about)| paragraph(&format!("  {status:<2}  "), 6, about, width)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{self, Order};

    #[test]
    fn every_example_is_a_valid_command_line() {
        for example in FORMS.iter().flat_map(|form| form.examples) {
            let words = example.split(' ').take_while(|word| *word != "|");
            let line = grammar::parse(words.map(Into::into)).unwrap();
            assert!(matches!(line.order, Order::Call(_) | Order::Script(_) | Order::Tap(_)), "{example}");
        }
    }

    #[test]
    fn every_form_is_in_the_general_help() {
        let text = Topic::General.text(200);
        for form in &FORMS {
            assert!(text.contains(form.usage), "{}", form.usage);
        }
    }

    #[test]
    fn every_text_keeps_to_its_width() {
        for topic in [Topic::General].into_iter().chain(FORMS.iter().map(|form| form.topic)) {
            for width in [64, WIDTH, 132] {
                let text = topic.text(width);
                assert!(text.lines().all(|line| line.len() <= width), "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn a_topic_shows_its_usage_and_examples() {
        assert_eq!(
            Topic::Detach.text(WIDTH),
            "polycubectl detach CUBE PORT\n  take a transparent cube off its port\n\n\
             Examples:\n  polycubectl detach sniffer br1:toveth1\n"
        );
        assert_eq!(Topic::Detach.hint(), "usage: polycubectl detach CUBE PORT");
        assert_eq!(Topic::General.hint(), "try: polycubectl --help");
    }
}
