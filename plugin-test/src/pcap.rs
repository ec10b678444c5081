//! Files of packets, in the classic format of libpcap (draft-ietf-opsawg-pcap).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;

/// Magic numbers of files with microseconds and with nanoseconds.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const HEADER: usize = 24;
const RECORD: usize = 16;
const ETHERNET: u32 = 1;
const SNAPLEN: u32 = 0x4_0000;

/// The frames of a pcap file, in their order.
///
/// # Errors
/// The file cannot be read, is not one of Ethernet frames in the classic format, or ends within a record.
pub fn read_pcap(path: impl AsRef<Path>) -> Result<Vec<Vec<u8>>, Failure> {
    let path = path.as_ref();
    let wrong = |reason: String| Failure::Pcap { path: path.to_owned(), reason };
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    frames(&bytes).map_err(|reason| wrong(reason.to_owned()))
}

fn frames(bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let magic = bytes.first_chunk().ok_or("it is empty")?;
    let word: fn([u8; 4]) -> u32 = match (u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)) {
        (MICROSECONDS | NANOSECONDS, _) => u32::from_le_bytes,
        (_, MICROSECONDS | NANOSECONDS) => u32::from_be_bytes,
        _ => return Err("it is not a pcap file: `tcpdump -w` and `editcap -F pcap` write such"),
    };
    let at = |offset: usize| {
        let bytes = bytes.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| word(*bytes)).ok_or("it ends within a record")
    };
    if at(20)? & 0xffff != ETHERNET {
        return Err("its packets are not Ethernet frames");
    }
    let (mut offset, mut frames) = (HEADER, Vec::new());
    while offset < bytes.len() {
        let start = offset + RECORD;
        offset = start + at(offset + 8)? as usize;
        frames.push(bytes.get(start..offset).ok_or("it ends within a record")?.to_vec());
    }
    Ok(frames)
}

/// Writes frames to a file, a microsecond from one to the next, so that their order shows.
pub(crate) fn write<'a>(path: &Path, frames: impl Iterator<Item = &'a [u8]>) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    for word in [MICROSECONDS, 0x0004_0002, 0, 0, SNAPLEN, ETHERNET] {
        bytes.extend(word.to_le_bytes());
    }
    for (number, frame) in frames.enumerate() {
        let length = frame.len() as u32;
        for word in [number as u32 / 1_000_000, number as u32 % 1_000_000, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    let directory = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = directory.and_then(|()| fs::write(path, bytes));
    written.map_err(|error| Failure::Pcap { path: path.to_owned(), reason: error.to_string() })
}

/// Where the packets of a test that failed go: `target/polycube-plugin-test/NAME.pcap`.
pub(crate) fn place(name: &str) -> PathBuf {
    // A test runs as target/PROFILE/deps/NAME-DIGEST.
    let target = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(3)?.to_owned()));
    let directory = target.unwrap_or_else(std::env::temp_dir).join("polycube-plugin-test");
    directory.join(format!("{}.pcap", name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let path = place(&format!("pcap::tests {}", std::process::id()));
        let sent = [vec![1; 60], vec![2; 1514], Vec::new()];
        write(&path, sent.iter().map(Vec::as_slice)).unwrap();
        let bytes = fs::read(&path).unwrap();
        let read = read_pcap(&path);
        fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), sent);
        let mut swapped: Vec<u8> = bytes[..HEADER].chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
        assert_eq!(frames(&swapped), Ok(Vec::new()));
        swapped[3] = 0;
        assert!(frames(&swapped).unwrap_err().starts_with("it is not a pcap file"));
        assert_eq!(frames(&bytes[..bytes.len() - 1]), Err("it ends within a record"));
        assert_eq!(frames(&bytes[..10]), Err("it ends within a record"));
    }
}
