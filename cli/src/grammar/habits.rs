//! Flags of tcpdump and dumpcap that `capture` does not have, and what to give instead.

use super::error::UsageError;

/// Letters of flags that change nothing here: no buffering, no promiscuous mode, addresses as numbers.
const WITHOUT_EFFECT: [char; 4] = ['l', 'n', 'p', 'U'];
const WITHOUT_EFFECT_LONG: [&str; 3] = ["--immediate-mode", "--no-promiscuous-mode", "--packet-buffered"];

/// What tcpdump prints in ways of its own.
const PRINTED: [&str; 17] = [
    "-A", "-x", "-xx", "-X", "-XX", "-e", "-vv", "-vvv", "-t", "-tt", "-ttt", "-tttt", "-ttttt", "-S", "-#", "-E", "-K",
];

/// Other flags, and advice. A flag of one letter may have its value attached.
const OTHERS: [(&str, &str); 21] = [
    ("-r", "read a file with tcpdump -nr FILE, and files of the daemon with polycubectl captures query"),
    ("-D", "polycubectl netdevs lists the netdevs"),
    ("--list-interfaces", "polycubectl netdevs lists the netdevs"),
    ("-Q", "give --in or --out"),
    ("-P", "give --in or --out"),
    ("--direction", "give --in or --out"),
    ("-B", "leave it out, or give ring-size= to a capture that stays"),
    ("--buffer-size", "leave it out, or give ring-size= to a capture that stays"),
    ("-F", "give the expression as words: \"$(cat FILE)\""),
    ("-Z", "leave it out: files belong to the user who runs polycubectl"),
    ("--relinquish-privileges", "leave it out: files belong to the user who runs polycubectl"),
    ("--snaplen", "give -s SIZE"),
    ("--snapshot-length", "give -s SIZE"),
    ("--interface", "give -i PLACE"),
    ("--count", "give -c PACKETS"),
    ("--number", "give -w - | tcpdump -nr - --number"),
    ("--autostop", "give -c PACKETS, --for 60s or --bytes 10MB"),
    ("-a", "give -c PACKETS, --for 60s or --bytes 10MB"),
    ("--ring-buffer", "give --rotate 10MB or --rotate 60s, and --keep 5"),
    ("-b", "give --rotate 10MB or --rotate 60s, and --keep 5"),
    ("-f", "give the expression after the places: capture eth0 tcp port 443"),
];

/// A word of flags without those of tcpdump that have no effect here: `-nnvv` is `-vv`. `None` if nothing is left.
pub(super) fn without_effect(word: &str) -> Option<String> {
    if WITHOUT_EFFECT_LONG.contains(&word) {
        return None;
    }
    match word.strip_prefix('-').filter(|letters| !letters.starts_with('-')) {
        Some(letters) => {
            let rest = letters.trim_start_matches(WITHOUT_EFFECT);
            (!rest.is_empty()).then(|| format!("-{rest}"))
        }
        None => Some(word.to_owned()),
    }
}

/// Why a flag is not taken, and what is; `value` is what follows it.
pub(super) fn refusal(word: &str, value: Option<&str>) -> UsageError {
    let (name, attached) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    if PRINTED.contains(&name) {
        return refused(name, format!("give -w - | tcpdump -nr - {name}"));
    }
    let is_long = name.starts_with("--");
    let short = if is_long { name } else { name.get(..2).unwrap_or(name) };
    let value = attached.or_else(|| name.get(short.len()..).filter(|rest| !rest.is_empty())).or(value);
    let number = value.filter(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()));
    match short {
        "-C" => refused(short, format!("give --rotate {}MB", number.unwrap_or("100"))),
        "-G" => refused(short, format!("give --rotate {}s", number.unwrap_or("3600"))),
        "-W" => refused(short, format!("give --keep {}", number.unwrap_or("10"))),
        "-Q" | "-P" | "--direction" if matches!(value, Some("in" | "out")) => {
            refused(short, format!("give --{}", value.unwrap_or_default()))
        }
        _ => match OTHERS.iter().find(|(flag, _)| *flag == short) {
            Some((flag, advice)) => refused(flag, (*advice).to_owned()),
            None => UsageError::CaptureFlag { word: word.to_owned() },
        },
    }
}

fn refused(flag: &str, advice: String) -> UsageError {
    let of = if matches!(flag, "-a" | "-b" | "-f" | "--autostop" | "--ring-buffer") { "dumpcap" } else { "tcpdump" };
    UsageError::OfTcpdump { flag: flag.to_owned(), of, ours: advice }
}
