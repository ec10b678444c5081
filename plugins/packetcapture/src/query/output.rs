//! The pcapng stream of a query: an interface for each place, in the order in which they first have a packet.

#![forbid(unsafe_code)]

use std::io::{self, BufWriter, PipeWriter, Write as _};

use crate::format::pcapng::{Packets, packets_header};
use crate::keys::Unwritten;
use crate::source::{Interface, Packet};

/// Written at once.
const PIECE: usize = 64 << 10;

pub(super) struct Output {
    pipe: BufWriter<PipeWriter>,
    /// Name and link type of each interface.
    interfaces: Vec<(String, u16)>,
    /// What was not passed on yet.
    bytes: Vec<u8>,
    unwritten: Unwritten,
    has_begun: bool,
}

impl Output {
    pub(super) fn new(pipe: PipeWriter) -> Self {
        let pipe = BufWriter::with_capacity(PIECE, pipe);
        Self { pipe, interfaces: Vec::new(), bytes: Vec::new(), unwritten: Unwritten::default(), has_begun: false }
    }

    pub(super) fn pipe(&self) -> &PipeWriter {
        self.pipe.get_ref()
    }

    /// Adds a packet that was recorded at `interface` of a file from `place`.
    pub(super) fn packet(&mut self, packet: &Packet, interface: &Interface, place: &str) -> io::Result<()> {
        self.begin();
        let name = if interface.name.is_empty() { place } else { &interface.name };
        let found = self.interfaces.iter().position(|(known, link)| known == name && *link == interface.link);
        let id = found.unwrap_or_else(|| {
            self.interfaces.push((name.to_owned(), interface.link));
            Packets(&mut self.bytes).interface(name, interface.link);
            self.interfaces.len() - 1
        });
        Packets(&mut self.bytes).packet(id as u32, packet.stamp, packet.length, packet.flags, &packet.bytes);
        self.write()
    }

    /// Adds a Decryption Secrets Block, which has to come before the packets that need it.
    pub(super) fn secrets(&mut self, block: &[u8]) -> io::Result<()> {
        self.begin();
        self.unwritten.write(block, &mut self.bytes);
        self.write()
    }

    /// Passes on everything; a result without packets has a header, too.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.begin();
        self.write()?;
        self.pipe.flush()
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.bytes.extend(packets_header());
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.pipe.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}
