//! The identity record: describes a plugin, and can be read from its file without running any of its code.

use crate::abi::{ABI_MAJOR, ABI_MINOR};

/// Name of the exported symbol.
pub const SYMBOL: &str = "PCN_PLUGIN_IDENTITY";

/// The first bytes of the record.
pub const MAGIC: [u8; 8] = *b"PCNPLUG\0";

/// The record, as plain C. Texts are UTF-8 and end at the first zero byte.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Identity {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`ABI_MAJOR`] of the crate that the plugin was built with.
    pub abi_major: u32,
    /// [`ABI_MINOR`] of the same.
    pub abi_minor: u32,
    /// Name of the service.
    pub name: [u8; 64],
    /// Version of the plugin.
    pub version: [u8; 32],
    /// Version of `polycube-plugin-api`.
    pub sdk: [u8; 32],
}

impl Identity {
    /// The record of a plugin built with this crate.
    ///
    /// # Panics
    /// At compile time, if a text does not fit.
    pub const fn new(name: &str, version: &str) -> Self {
        Self {
            magic: MAGIC,
            abi_major: ABI_MAJOR,
            abi_minor: ABI_MINOR,
            name: text(name),
            version: text(version),
            sdk: text(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Reads a record from the bytes of a file. `None` if there are too few or they do not begin with [`MAGIC`].
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let identity = Self {
            magic: bytes.get(..8)?.try_into().ok()?,
            abi_major: word(8)?,
            abi_minor: word(12)?,
            name: bytes.get(16..80)?.try_into().ok()?,
            version: bytes.get(80..112)?.try_into().ok()?,
            sdk: bytes.get(112..144)?.try_into().ok()?,
        };
        (identity.magic == MAGIC).then_some(identity)
    }

    /// Name of the service.
    pub fn name(&self) -> &str {
        read(&self.name)
    }

    /// Version of the plugin.
    pub fn version(&self) -> &str {
        read(&self.version)
    }

    /// Version of `polycube-plugin-api` that it was built with.
    pub fn sdk(&self) -> &str {
        read(&self.sdk)
    }
}

const fn text<const N: usize>(from: &str) -> [u8; N] {
    let from = from.as_bytes();
    assert!(from.len() < N, "a text of the identity record is too long");
    let mut to = [0; N];
    let mut i = 0;
    while i < from.len() {
        to[i] = from[i];
        i += 1;
    }
    to
}

fn read(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_from_its_bytes() {
        let record = Identity::new("packetcapture", "1.2.3");
        // SAFETY: `Identity` is plain old data without padding (8 + 4 + 4 + 64 + 32 + 32 bytes).
        let bytes: [u8; 144] = unsafe { std::mem::transmute(record) };
        let read = Identity::parse(&bytes).unwrap();
        assert_eq!((read.name(), read.version(), read.abi_major), ("packetcapture", "1.2.3", ABI_MAJOR));
        assert!(Identity::parse(&bytes[..143]).is_none());
        assert!(Identity::parse(&[0; 144]).is_none());
    }
}
