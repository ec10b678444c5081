//! In which pieces the capture program copies a packet: what is fastest depends on the CPU, and is chosen when it is loaded.

#![forbid(unsafe_code)]

use std::fs;
use std::sync::OnceLock;

use polycube_layout::ring::DEFAULT_PIECE;

/// Maximum bytes of a piece, by the CPU's vendor, and whether the kernel copies with `rep movsb` (`memcpy` in
/// arch/x86/lib/memcpy_64.S: where the CPU has `fsrm`) instead of in a loop.
///
/// `./x bench program` has a row for each candidate. A line belongs here when another one is faster by more than what the
/// machine's figures differ.
const MEASURED: [(&str, bool, u32); 2] = [
    // Zen 2: into memory that is not in the cache, a frame of 1500 bytes takes 178 ns in two pieces and 194 in one; into
    // memory that is, the same.
    ("AuthenticAMD", false, 1024),
    // Zen 3 and later: 124 ns instead of 203.
    ("AuthenticAMD", true, 1024),
];

/// What to set [`PIECE`](polycube_layout::ring::PIECE) to on this machine.
pub(crate) fn piece() -> u32 {
    static PIECE: OnceLock<u32> = OnceLock::new();
    // Where there is no /proc, nothing is known of the CPU.
    *PIECE.get_or_init(|| piece_for(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), &MEASURED))
}

/// What is best for the first CPU that `cpuinfo` describes.
fn piece_for(cpuinfo: &str, measured: &[(&str, bool, u32)]) -> u32 {
    let field = |name: &str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let vendor = field("vendor_id").unwrap_or_default();
    let copies_strings = field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "fsrm"));
    let of_this = measured.iter().find(|(of, strings, _)| *of == vendor && *strings == copies_strings);
    of_this.map_or(DEFAULT_PIECE, |(_, _, piece)| *piece)
}

#[cfg(test)]
mod tests {
    use polycube_layout::ring::MAX_PIECE;

    use super::*;

    fn cpuinfo(vendor: &str, flags: &str) -> String {
        let one =
            format!("processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: x: y\nflags\t\t: {flags}\nbugs\t\t: \n");
        format!("{one}\n{}", one.replace(vendor, "Other"))
    }

    #[test]
    fn the_cpu_decides_where_it_was_measured() {
        let measured = [("A", false, 768), ("A", true, 0), ("B", true, 512)];
        let check = |vendor, flags, expected| {
            assert_eq!(piece_for(&cpuinfo(vendor, flags), &measured), expected, "{vendor} {flags}");
        };
        check("A", "fpu rep_good erms", 768);
        check("A", "fpu fsrm erms", 0);
        check("A", "fpu not_fsrm", 768);
        check("B", "fsrm", 512);
        check("B", "erms", DEFAULT_PIECE);
        check("C", "fsrm", DEFAULT_PIECE);
        assert_eq!(piece_for("", &measured), DEFAULT_PIECE);
    }

    #[test]
    fn no_piece_is_longer_than_the_program_allows() {
        assert!(MEASURED.iter().all(|(.., piece)| *piece <= MAX_PIECE) && piece() <= MAX_PIECE);
    }
}
