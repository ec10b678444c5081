//! A block of a file, in memory that is aligned as direct writes need it.

#![forbid(unsafe_code)]

/// Size of a block in bytes.
pub(super) const BLOCK: usize = 1 << 20;
/// A multiple of every disk's logical block size.
pub(super) const ALIGNMENT: usize = 4096;

/// Part of a file.
pub(super) struct Block {
    memory: Vec<u8>,
    /// Where the block begins in `memory`.
    offset: usize,
    filled: usize,
}

impl Default for Block {
    fn default() -> Self {
        let memory = vec![0; BLOCK + ALIGNMENT];
        let offset = memory.as_ptr().align_offset(ALIGNMENT);
        Self { memory, offset, filled: 0 }
    }
}

impl Block {
    pub(super) fn emptied(mut self) -> Self {
        self.filled = 0;
        self
    }

    pub(super) fn is_full(&self) -> bool {
        self.filled == BLOCK
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.offset..self.offset + self.filled]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.offset..self.offset + self.filled]
    }

    /// Appends as many of `bytes` as there is room for; returns the rest.
    pub(super) fn append<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        let at = self.offset + self.filled;
        self.memory[at..at + piece.len()].copy_from_slice(piece);
        self.filled += piece.len();
        rest
    }

    /// Keeps at most the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.filled = self.filled.min(length);
    }
}
