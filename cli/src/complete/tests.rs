use serde_json::{Value, json};

use super::*;

fn answer() -> Value {
    json!({
        "commands": ["set", "show"],
        "params": {
            "capture": {"name": "capture", "type": "leaf", "pair": true, "values": ["off", "ingress"], "description": "Which"},
            "filters": {"name": "filters", "type": "container", "description": "What"},
            "<port>": {"name": "<port>", "type": "key", "description": "A port", "values": ["br1:p1", "eth0"]},
        },
    })
}

/// Asserts what completes the last of the words, when the daemon answers `answer`.
#[track_caller]
fn check(words: &[&str], answer: &Value, expected: &[&str]) {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let lines = lines(&words, |_| serde_json::from_value(answer.clone()).ok());
    let found: Vec<&str> = lines.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(found, expected, "{words:?}");
}

#[test]
fn what_the_daemon_says_completes() {
    check(&["s", ""], &answer(), &["set", "show", "capture=", "filters", "br1:p1", "eth0"]);
    check(&["s", "s"], &answer(), &["set", "show"]);
    check(&["s", "set", ""], &answer(), &["capture=", "filters", "br1:p1", "eth0"]);
    check(&["attach", "s", "br1:"], &answer(), &["br1:p1"]);
    check(&["attach", "s", "a"], &answer(), &["any"]);
    check(&["capture", "e"], &answer(), &["eth0"]);
    for line in [&["capture", ""][..], &["capture", "-s", "96", "eth0", ""], &["capture", "-c1", "-i", ""]] {
        let places =
            ["any", "netns:", "pid:", "container:", "pod:", "set", "show", "capture=", "filters", "br1:p1", "eth0"];
        check(line, &answer(), &places);
    }
    check(&["capture", "eth0", "tcp", "an"], &answer(), &[]);
    check(&["capture", "-w", ""], &answer(), &[]);
    check(&["capture", "-s", "96", "eth0", "-s"], &json!({}), &["-s"]);
    check(&["s", "set", "capture="], &answer(), &["capture=off", "capture=ingress"]);
    check(&["s", "set", "capture=i"], &answer(), &["capture=ingress"]);
    check(&["s", "set", "capture=off", ""], &answer(), &["br1:p1", "eth0"]);
    check(&["s", "set", "other="], &answer(), &[]);
    check(&["s", "x"], &answer(), &[]);
}

#[test]
fn what_has_packets_can_be_dumped_and_watched() {
    let answer =
        json!({"params": {"stream": {"name": "stream", "type": "stream"}, "dump": {"name": "dump", "type": "leaf"}}});
    check(&["s", ""], &answer, &["dump", "watch"]);
    check(&["s", "show", ""], &answer, &["dump"]);
    check(&["s", "dump", "--f"], &answer, &["--follow", "--format", "--force"]);
    check(&["s", "watch", "-c"], &answer, &["-c"]);
    check(
        &["s", "dump", "-"],
        &json!({}),
        &[
            "--url",
            "--token-file",
            "--cacert",
            "--cert",
            "--key",
            "--help",
            "--verbose",
            "--version",
            "-w",
            "--follow",
            "--format",
            "--force",
            "-c",
            "--bundle",
            "--keys",
            "-n",
        ],
    );
    check(&["s", "show", "--f"], &answer, &[]);
}

#[test]
fn truth_values_and_formats_complete() {
    let answer = json!({"params": {"loud": {"name": "loud", "type": "leaf", "simpletype": "boolean", "pair": true}}});
    check(&["s", "set", "loud="], &answer, &["loud=true", "loud=false"]);
    check(&["s", "dump", "--format", ""], &answer, &["pcap", "pcap-nanos", "pcapng"]);
    check(&["s", "dump", "--format", "pcapn"], &answer, &["pcapng"]);
    check(&["s", "dump", "--format=pcapn"], &answer, &["--format=pcapng"]);
}

#[test]
fn the_grammar_completes_without_the_daemon() {
    let nothing = json!({});
    check(&["a"], &nothing, &["add", "attach"]);
    check(
        &["--"],
        &nothing,
        &["--url", "--token-file", "--cacert", "--cert", "--key", "--help", "--verbose", "--version"],
    );
    check(&["s", "show", "-b"], &nothing, &["-brief"]);
    check(&["s", "set", "-b"], &nothing, &[]);
    check(&["completion", ""], &nothing, &["bash", "zsh", "fish"]);
    check(&["c"], &nothing, &["capture", "captures", "connect", "config", "completion"]);
    check(&["capture", "eth0", "--r"], &nothing, &["--rotate"]);
    check(&["captures", ""], &nothing, &["show", "get", "del", "query"]);
    check(&["config", ""], &nothing, &["save", "apply", "diff"]);
    check(&["config", "diff", "--p"], &nothing, &["--prune"]);
    check(
        &["config", "save", "-"],
        &nothing,
        &["--url", "--token-file", "--cacert", "--cert", "--key", "--help", "--verbose", "--version", "-json", "-yaml"],
    );
    let words = ["".to_owned()];
    assert!(lines(&words, |_| None).contains("attach\tattach a transparent cube"), "words have a line about them");
}

#[test]
fn files_of_captures_complete() {
    let files = json!([{ "name": "a.pcap", "size": 24 }, { "name": "b.pcapng" }]).to_string();
    for line in [["captures", "get", ""], ["captures", "del", ""]] {
        let lines = lines(&line.map(str::to_owned), |partial| {
            assert_eq!(partial.request().unwrap().path, "services/packetcapture/files/");
            help(files.as_bytes())
        });
        assert_eq!(lines, "a.pcap\t\nb.pcapng\t\n", "{line:?}");
    }
    check(&["captures", "get", "x", "-"], &json!({}), &[&GENERAL[..], &["-w", "--force"]].concat());
}

const GENERAL: [&str; 8] = ["--url", "--token-file", "--cacert", "--cert", "--key", "--help", "--verbose", "--version"];

#[test]
fn what_makes_no_sense_is_not_completed() {
    check(&["s", "?", ""], &answer(), &[]);
    check(&["add", "set", ""], &answer(), &[]);
    check(&["s", "--url", ""], &answer(), &[]);
    check(&[], &answer(), &[]);
    check(&["s", ""], &json!({"params": {"x": {"name": "a\nb", "type": "entry"}}}), &[]);
}

#[test]
fn the_daemon_that_the_line_names_is_asked() {
    let words = ["--url", "http://h:1", "s", "set", ""].map(str::to_owned);
    lines(&words, |partial| {
        assert_eq!(partial.endpoint.url.as_deref(), Some("http://h:1"));
        assert_eq!(partial.question.request().unwrap().path, "s/?help=SET");
        None
    });
}
