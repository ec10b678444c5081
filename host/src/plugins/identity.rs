//! Reads a plugin's identity record from its file, without running a line of it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use object::read::ReadCache;
use object::{Architecture, Object as _, ObjectSection as _, ObjectSymbol as _};
use polycube_plugin_api::abi::ABI_MAJOR;
use polycube_plugin_api::identity::{Identity, SYMBOL};

use super::LoadError;
use super::cut;

/// The identity of the plugin in `opened`, which is called `file`. Of a large file, only what leads there is read.
///
/// # Errors
/// The file is not a plugin, or one that this daemon cannot use.
pub(super) fn of(file: &str, opened: &File) -> Result<Identity, LoadError> {
    let no_plugin = |why: &str| LoadError::NoPlugin { file: file.to_owned(), why: why.to_owned() };
    let bytes = ReadCache::new(opened);
    let elf = object::File::parse(&bytes).map_err(|_| no_plugin(why_unreadable(opened)))?;
    if elf.architecture() != native() {
        return Err(no_plugin(match elf.architecture() {
            Architecture::Bpf => "it is an eBPF object: load it with `type=object`",
            _ => "it is for another machine's architecture: build it for this one",
        }));
    }
    let symbol = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok(SYMBOL));
    let symbol = symbol.ok_or_else(|| no_plugin("it has no identity record: name its service in `export_plugin!`"))?;
    let record = symbol.section_index().and_then(|index| elf.section_by_index(index).ok());
    let record = record.and_then(|section| section.data_range(symbol.address(), symbol.size()).ok().flatten());
    let identity =
        record.and_then(Identity::parse).ok_or_else(|| no_plugin("its identity record is damaged: build it again"))?;
    if identity.abi_major != ABI_MAJOR {
        return Err(LoadError::Abi {
            file: file.to_owned(),
            name: identity.name().to_owned(),
            theirs: identity.abi_major,
            ours: ABI_MAJOR,
        });
    }
    Ok(identity)
}

/// What is wrong with a file that is not an ELF file as a whole.
fn why_unreadable(opened: &File) -> &'static str {
    let mut header = [0; cut::HEADER];
    let begin = opened.read_at(&mut header, 0).map_or(&[][..], |length| &header[..length]);
    let length = opened.metadata().map_or(u64::MAX, |metadata| metadata.len());
    if !begin.starts_with(cut::MAGIC) {
        "it is not an ELF file: give the library that `cargo build` makes"
    } else if cut::ends_early(begin, length) {
        "the file ends early: copy or build it again"
    } else {
        "its headers are damaged: copy or build it again"
    }
}

fn native() -> Architecture {
    match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        "riscv64" => Architecture::Riscv64,
        _ => Architecture::Unknown,
    }
}
