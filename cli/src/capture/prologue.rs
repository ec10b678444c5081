//! What every file of a capture in pcapng begins with.

use std::collections::VecDeque;

/// Bytes of keys that a file begins with: as many as the daemon keeps. The oldest are left out first.
const MOST: usize = 1 << 20;

/// The stream's section and interfaces, and the keys so far.
#[derive(Default)]
pub(super) struct Prologue {
    header: Vec<u8>,
    keys: VecDeque<Vec<u8>>,
    size: usize,
}

impl Prologue {
    pub(super) fn add_header(&mut self, block: &[u8], is_section: bool) {
        if is_section {
            self.header.clear();
        }
        self.header.extend_from_slice(block);
    }

    /// Adds a block of keys.
    pub(super) fn add_keys(&mut self, block: &[u8]) {
        self.size += block.len();
        self.keys.push_back(block.to_vec());
        while self.size > MOST {
            let Some(oldest) = self.keys.pop_front() else { return };
            self.size -= oldest.len();
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header);
        self.keys.iter().for_each(|block| out.extend_from_slice(block));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_file_has_the_last_section_and_the_newest_keys() {
        let mut prologue = Prologue::default();
        for (block, is_section) in [(b"old", true), (b"new", true), (b"one", false)] {
            prologue.add_header(block, is_section);
        }
        let block = |number: u8| vec![number; MOST / 4];
        (0..6).for_each(|number| prologue.add_keys(&block(number)));
        let mut out = Vec::new();
        prologue.write(&mut out);
        assert_eq!(out, [b"newone".to_vec(), block(2), block(3), block(4), block(5)].concat());
    }
}
