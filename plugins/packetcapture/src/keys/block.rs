//! Decryption Secrets Blocks (draft-ietf-opsawg-pcapng section 4.7) of TLS keys.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use crate::format::pcapng::{block_length, secrets, secrets_of};

/// Bytes of lines in one block: more than one line, and less than readers take for damage.
const LARGEST: usize = 64 << 10;

/// Appends `lines` in as many blocks as they take.
pub(super) fn write<'a>(lines: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    let mut log = String::new();
    for line in lines {
        if !log.is_empty() && log.len() + line.len() >= LARGEST {
            secrets(log.as_bytes(), out);
            log.clear();
        }
        log.push_str(line);
        log.push('\n');
    }
    if !log.is_empty() {
        secrets(log.as_bytes(), out);
    }
}

/// Leaves out what a stream has already. Files that follow each other begin with the same keys.
#[derive(Default)]
pub(crate) struct Unwritten {
    /// Hashes of the lines.
    known: HashSet<u64>,
    state: RandomState,
}

impl Unwritten {
    /// Appends what is new in `blocks`. Secrets that are not TLS keys are always new.
    pub(crate) fn write(&mut self, mut blocks: &[u8], out: &mut Vec<u8>) {
        let length = |bytes| usize::try_from(block_length(bytes)?).ok();
        while let Some((block, rest)) = length(blocks).and_then(|length| blocks.split_at_checked(length)) {
            let (known, state) = (&mut self.known, &self.state);
            match secrets_of(block).and_then(|log| str::from_utf8(log).ok()) {
                Some(log) => write(log.lines().filter(|line| known.insert(state.hash_one(line))), out),
                None => out.extend_from_slice(block),
            }
            blocks = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::pcapng::block_length;

    fn blocks(mut bytes: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        while let Some(length) = block_length(bytes) {
            let (block, rest) = bytes.split_at(length as usize);
            found.push(String::from_utf8(secrets_of(block).unwrap().to_vec()).unwrap());
            bytes = rest;
        }
        found
    }

    #[test]
    fn many_lines_take_several_blocks() {
        let lines: Vec<String> = (0..1_000).map(|number| format!("{number:0200}")).collect();
        let mut bytes = Vec::new();
        write(lines.iter().map(String::as_str), &mut bytes);
        let found = blocks(&bytes);
        assert!(found.len() > 1 && found.iter().all(|log| log.len() <= LARGEST), "{}", found.len());
        assert_eq!(found.concat().lines().collect::<Vec<_>>(), lines);
    }

    #[test]
    fn what_a_stream_has_already_is_left_out() {
        let block = |lines: &[&str]| {
            let mut bytes = Vec::new();
            write(lines.iter().copied(), &mut bytes);
            bytes
        };
        let (mut unwritten, mut bytes) = (Unwritten::default(), Vec::new());
        unwritten.write(&block(&["a", "b"]), &mut bytes);
        unwritten.write(&[block(&["a", "b", "c"]), block(&["b"])].concat(), &mut bytes);
        assert_eq!(blocks(&bytes), ["a\nb\n", "c\n"]);
    }
}
