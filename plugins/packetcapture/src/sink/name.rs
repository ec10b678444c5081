//! Names of capture files.

#![forbid(unsafe_code)]

/// `<cube>-<time>.pcap`, or `<cube>-<time>-<attempt>.pcap` where others have that name. The time is UTC, as
/// `20261123T061500Z`: no character in it is special to a shell or another system.
pub(super) fn file_name(cube: &str, seconds: i64, attempt: u32) -> String {
    let time = time(seconds);
    if attempt == 0 { format!("{cube}-{time}.pcap") } else { format!("{cube}-{time}-{attempt}.pcap") }
}

fn time(seconds: i64) -> String {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day, from days since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`: years begin in March, so that the leap day is the last of one).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_cube_and_time() {
        assert_eq!(file_name("sniffer", 1_795_414_500, 0), "sniffer-20261123T061500Z.pcap");
        assert_eq!(file_name("sniffer", 1_795_414_500, 2), "sniffer-20261123T061500Z-2.pcap");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (951_868_799, "20000229T235959Z"),
            (951_868_800, "20000301T000000Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_102_444_800, "21000101T000000Z"),
        ] {
            assert_eq!(time(seconds), expected);
        }
    }
}
