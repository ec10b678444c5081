//! Sizes and times for people who want to know how much it is about. What is set is shown exactly, with `Unit`.

use std::time::Duration;

/// Units of sizes, as on disks and networks.
const SIZES: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];

/// `1 byte`, `980 bytes`, `20 kB`, `1.23 GB`: up to three digits.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1_000 => format!("{bytes} bytes"),
        _ => scaled(bytes as f64 / 1e3, &SIZES),
    }
}

/// `1 packet`, `2 packets`.
pub(crate) fn packets(number: u64) -> String {
    format!("{number} packet{}", if number == 1 { "" } else { "s" })
}

/// `0 B/s`, `1.23 MB/s`.
pub(crate) fn rate(bytes_per_second: f64) -> String {
    let shown = if bytes_per_second < 999.5 {
        format!("{bytes_per_second:.0} B")
    } else {
        scaled(bytes_per_second / 1e3, &SIZES)
    };
    shown + "/s"
}

/// `3.0 s`, `12 min 5 s`, `1 h 2 min`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A number of the first unit, in the largest one that leaves something before the point.
fn scaled(mut number: f64, units: &[&str]) -> String {
    let mut units = units.iter().peekable();
    let mut unit = units.next().unwrap_or(&"");
    // 999.5 would be shown as 1000.
    while number >= 999.5 && units.peek().is_some() {
        number /= 1e3;
        unit = units.next().unwrap_or(unit);
    }
    let digits = match number {
        number if number < 9.995 => 2,
        number if number < 99.95 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, expected) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (980, "980 bytes"),
            (1_000, "1 kB"),
            (20_000, "20 kB"),
            (1_234, "1.23 kB"),
            (99_960, "100 kB"),
            (999_600, "1 MB"),
            (100_000_000, "100 MB"),
            (1_500_000_000, "1.5 GB"),
            (u64::MAX, "18447 PB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
        assert_eq!(
            (rate(0.0), rate(999.4), rate(999.6), rate(1.25e9)),
            ("0 B/s".into(), "999 B/s".into(), "1 kB/s".into(), "1.25 GB/s".into())
        );
    }

    #[test]
    fn one_packet_is_not_several() {
        assert_eq!([0, 1, 2].map(packets), ["0 packets", "1 packet", "2 packets"]);
    }

    #[test]
    fn times_have_two_units() {
        for (millis, expected) in
            [(0, "0.0 s"), (3_040, "3.0 s"), (59_900, "59.9 s"), (725_000, "12 min 5 s"), (3_725_000, "1 h 2 min")]
        {
            assert_eq!(time(Duration::from_millis(millis)), expected);
        }
    }
}
