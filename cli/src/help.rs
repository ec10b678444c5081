//! Help: the forms of the command line as text, and what the daemon says can follow.

mod keywords;
#[cfg(test)]
mod man;
mod pages;

use std::fmt::Write;

pub(crate) use self::keywords::{has_packets, names, text as text_of};
pub(crate) use self::pages::explain;
use crate::grammar::{CAPTURE_FLAGS, FORMS, Form, Topic};
use crate::show::paragraph;

/// Width of a text in columns when the output is not a terminal.
pub(crate) const WIDTH: usize = 80;

const FLAGS: [(&str, &str); 8] = [
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
        "for https: the CA that signed the daemon's certificate, in PEM (else POLYCUBECTL_CACERT, else cacert in the \
         configuration file)",
    ),
    ("--cert FILE", "for https: a client certificate, in PEM; as above, POLYCUBECTL_CERT or cert"),
    ("--key FILE", "its private key; as above, POLYCUBECTL_KEY or key"),
    (
        "-h, --help, ?",
        "help; after words, help on what can follow them (quote '?' if a file here has a one-letter name)",
    ),
    ("-v, --verbose", "after a refusal, the log that it comes from, such as the verifier's"),
    ("-V, --version", "the version of polycubectl"),
];

const CONFIGURATION: &str = "Configuration file: $XDG_CONFIG_HOME/polycube/polycubectl_config.yaml, by default in \
    ~/.config, with url, token-file, cacert, cert, key and debug. debug: true, or POLYCUBECTL_DEBUG=1, shows each request and answer on \
    stderr.";

const PLACES: &str = "A PLACE is a netdev, a port as CUBE:PORT, any, netns:NAME, pid:NUMBER, container:NAME or pod:NAMESPACE/NAME, or one \
                      netdev of these, such as container:web/eth0; polycubectl help places says more.";

const STATUSES: [(&str, &str); 6] = [
    ("0", "done"),
    ("1", "the daemon could not be reached"),
    ("2", "the daemon refused"),
    ("64", "wrong usage, configuration or input; nothing was sent"),
    ("71", "the system is out of resources"),
    ("74", "the output could not be written"),
];

/// The help text on a topic, in lines of `width` columns.
pub(crate) fn text(topic: Topic, width: usize) -> String {
    topic.form().map_or_else(|| general(width), |form| form_text(form, width))
}

fn form_text(form: &Form, width: usize) -> String {
    let mut text = summary(form, "", "  ", width);
    if matches!(form.topic, Topic::Capture | Topic::Attach | Topic::Detach) {
        text.push('\n');
        text.push_str(&paragraph("", 2, PLACES, width));
    }
    if form.topic == Topic::Capture {
        text.push_str("\nFlags:\n");
        for (flag, value, about) in CAPTURE_FLAGS {
            let mut name = format!("{flag} {value}");
            if name.len() > 18 {
                let _ = writeln!(text, "  {name}");
                name.clear();
            }
            text.push_str(&paragraph(&format!("  {name:<18}  "), 22, about, width));
        }
    }
    text.push_str("\nExamples:\n");
    for example in form.examples {
        let _ = writeln!(text, "  polycubectl {example}");
    }
    text
}

/// Usage, and below it what it is for, each after its indentation.
fn summary(form: &Form, usage: &str, about: &str, width: usize) -> String {
    let line = format!("polycubectl {}", form.usage);
    paragraph(usage, about.len() + 2, &line, width) + &paragraph(about, about.len(), form.about, width)
}

fn general(width: usize) -> String {
    let what = "polycubectl drives polycubed, the daemon that hosts network functions.";
    let mut text = paragraph("", 0, what, width) + "\n";
    text.extend(FORMS.iter().map(|form| summary(form, "  ", "      ", width)));
    text.push('\n');
    let anywhere = "The command may come anywhere among the words: del br1 is br1 del, sniffer dump show is sniffer \
                    show dump.";
    text.push_str(&paragraph("", 0, anywhere, width));
    let input = "A configuration in YAML or JSON, from a file or pipe, can replace KEY=VALUE; with - among the words, it \
                 has to be there:";
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
            let words = example.split(' ').take_while(|word| !["|", "<", ">"].contains(word));
            let line = grammar::parse(words.map(Into::into)).unwrap();
            assert!(
                matches!(
                    line.order,
                    Order::Call(_)
                        | Order::Capture(_)
                        | Order::Captures(_)
                        | Order::Script(_)
                        | Order::Packets(_)
                        | Order::Joined(_)
                        | Order::Top { .. }
                        | Order::Configuration(_)
                        | Order::Plugin(_)
                        | Order::Explanation(_)
                ),
                "{example}"
            );
        }
    }

    #[test]
    fn every_form_is_in_the_general_help() {
        let text = text(Topic::General, 400);
        for form in &FORMS {
            assert!(text.contains(form.usage), "{}", form.usage);
        }
    }

    #[test]
    fn every_text_keeps_to_its_width() {
        for topic in [Topic::General].into_iter().chain(FORMS.iter().map(|form| form.topic)) {
            for width in [64, WIDTH, 132] {
                let text = text(topic, width);
                assert!(text.lines().all(|line| line.len() <= width), "{width}:\n{text}");
            }
        }
    }

    #[test]
    fn a_topic_shows_its_usage_and_examples() {
        assert_eq!(
            text(Topic::Detach, WIDTH),
            "polycubectl detach CUBE PLACE\n  detach a transparent cube from a place\n\n\
             A PLACE is a netdev, a port as CUBE:PORT, any, netns:NAME, pid:NUMBER,\n  \
             container:NAME or pod:NAMESPACE/NAME, or one netdev of these, such as\n  \
             container:web/eth0; polycubectl help places says more.\n\n\
             Examples:\n  polycubectl detach sniffer br1:toveth1\n"
        );
        assert_eq!(Topic::Detach.hint(), "usage: polycubectl detach CUBE PLACE");
        assert_eq!(Topic::General.hint(), "try: polycubectl --help");
    }
}
