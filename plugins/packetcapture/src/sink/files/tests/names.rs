//! Names of rotated files, and times in them.

use super::*;

/// Names of the files of a capture whose file lasts a second each, in the order in which they were begun.
fn rotated(config: Value, count: u64) -> (Fixture, Vec<String>) {
    let fixture = Fixture::new();
    let mut files = fixture.files(fixture.settings(config));
    files.write(Format::Pcap, &[&records((0..count).map(|at| at * SECOND))]);
    files.finish();
    let names = names(&fixture);
    (fixture, names)
}

#[test]
fn names_of_rotated_files_sort_in_the_order_of_time() {
    for dump in ["rot", "rot-%Y", "", "%s", "rot-%Y%m%d-%H%M%S"] {
        let rotate = json!({"dump": dump, "rotate": {"seconds": 1, "size": 1}});
        let (fixture, names) = rotated(rotate, 120);
        assert_eq!(names.len(), 120);
        assert!(names.is_sorted(), "{dump}: {names:?}");
        assert_eq!(on_disk(&fixture), names, "{dump}");
    }
    let (_, names) = rotated(json!({"dump": "rot", "rotate": {"seconds": 1}}), 12);
    assert_eq!((names[0].as_str(), names[11].as_str()), ("rot-000001.pcap", "rot-000012.pcap"));
}

#[test]
fn a_name_has_the_time_at_which_its_file_begins() {
    let before = sys::utc_now() / 1_000_000_000;
    let (_, names) = rotated(json!({"dump": "trace-%s.pcap"}), 1);
    let after = sys::utc_now() / 1_000_000_000;
    assert!((before..=after).any(|second| names == [format!("trace-{second}.pcap")]), "{names:?}");
    // No number is needed where each second has its own name.
    let (_, names) = rotated(json!({"dump": "trace-%s", "rotate": {"seconds": 1}}), 1);
    assert_eq!(names[0].matches('-').count(), 1, "{names:?}");
}
