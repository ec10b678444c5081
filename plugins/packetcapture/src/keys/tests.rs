#![forbid(unsafe_code)]

use super::*;
use crate::format::pcapng::secrets_of;

fn line(number: usize) -> String {
    format!("CLIENT_RANDOM {number:064x} {number:096x}\n")
}

fn log(text: String) -> KeyLog {
    KeyLog { log: text, first_line: 5 }
}

fn text(block: &[u8]) -> &str {
    str::from_utf8(secrets_of(block).unwrap_or_default()).unwrap()
}

#[test]
fn each_writer_gets_what_has_come_since_it_wrote_last() {
    let keys = Keys::default();
    let (mut file, mut reader) = (0, 0);
    assert!(keys.since(&mut file, MOST).is_empty());
    keys.add(&log([line(1), line(2)].concat())).unwrap();
    assert_eq!(text(&keys.since(&mut file, MOST)), [line(1), line(2)].concat());
    assert!(keys.since(&mut file, MOST).is_empty());
    let taken = keys.add(&log(["# again\n\n".to_owned(), line(2), line(3)].concat())).unwrap();
    assert_eq!(taken, Taken { added: 1, known: 1, refused: 0, reasons: Vec::new() });
    assert_eq!(keys.size_since(file, MOST), keys.since(&mut file, MOST).len() as u64);
    assert_eq!(text(&keys.since(&mut reader, MOST)), [line(1), line(2), line(3)].concat());
    assert_eq!((text(&keys.all()), keys.count()), ([line(1), line(2), line(3)].concat().as_str(), 3));
}

#[test]
fn the_newest_keys_are_kept() {
    let keys = Keys::default();
    keys.add(&log((0..10_000).map(line).collect())).unwrap();
    let kept = keys.count();
    assert_eq!(kept, MOST / line(0).len());
    assert_eq!(keys.add(&log(line(0))).unwrap().added, 1, "one that was forgotten is new");
    let few = keys.since(&mut 0, 3 * line(0).len() + 1);
    assert_eq!(text(&few), [line(9_998), line(9_999), line(0)].concat());
}

#[test]
fn bad_lines_are_named_by_their_numbers_and_the_others_are_taken() {
    let keys = Keys::default();
    let taken = keys.add(&log([line(1), "CLIENT_RANDOM secret\n".to_owned(), line(2)].concat())).unwrap();
    let reason = LineError::Words(2).to_string();
    assert_eq!(taken, Taken { added: 2, known: 0, refused: 1, reasons: vec![BadLine { line: 6, reason }] });
    let error = keys.add(&log("x y z\n".to_owned())).unwrap_err();
    assert_eq!(error.to_string(), format!("line 5 is not a TLS key: {}", LineError::Label));
    let many = keys.add(&log([line(1), "x\n".repeat(100)].concat())).unwrap();
    assert_eq!((many.refused, many.reasons.len()), (100, NAMED));
}

#[test]
fn packets_wait_from_the_first_log_on() {
    let (keys, wait) = (Keys::default(), Duration::from_millis(300));
    assert_eq!(keys.hold(wait), None);
    keys.add(&log(String::new())).unwrap();
    assert_eq!((keys.hold(wait), keys.hold(Duration::ZERO)), (Some(wait), None));
}
