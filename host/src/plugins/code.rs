//! Private copies of plugins' files.
//!
//! The dynamic linker maps the first part of a library's file. What comes after it, the sections that debuggers read and the
//! table of all sections, is often ten times as long, and nothing waits for it: it is copied while the code already runs.
//! Until then, the copy says that it has no sections. So a debugger or a backtrace finds all of them or none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use object::NativeEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::sys::code::CodeCopy;

/// Bytes of an ELF header, and where it says where the sections are (`e_shoff`) and how many (`e_shnum`, `e_shstrndx`):
/// elf(5).
const HEADER: usize = size_of::<FileHeader64<NativeEndian>>();
const SECTIONS: [std::ops::Range<usize>; 2] = [40..48, 60..64];

/// Bytes after the code that are copied with it: a stripped library has no more than the table of its sections there.
const SHORT: u64 = 64 << 10;

/// The copies that code was loaded from: a file that is loaded again as it was takes no more memory. They are kept open,
/// because the dynamic linker knows them by their paths.
static COPIES: Mutex<Vec<Held>> = Mutex::new(Vec::new());

/// A copy, and what is known of the file that it was made of.
struct Held {
    header: Vec<u8>,
    /// Bytes that are mapped.
    code: usize,
    copy: Arc<CodeCopy>,
}

impl Held {
    /// Whether a library with this first part was copied. Another build differs in its first page: it has another build id.
    fn is_of(&self, code: &[u8]) -> bool {
        let (header, rest) = code.split_at(HEADER);
        self.code == code.len() && self.header == header && self.copy.has(rest, HEADER as u64)
    }
}

/// The path of a private copy of the library `file`, which is at `path`.
///
/// # Errors
/// The file cannot be read, is not a library, or cannot be copied.
pub(super) fn copy(path: &Path, file: File) -> io::Result<PathBuf> {
    let code = mapped(&file)?;
    let mut copies = COPIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(held) = copies.iter().find(|held| held.is_of(&code)) {
        return Ok(held.copy.path());
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let held = Held { header: code[..HEADER].to_vec(), code: code.len(), copy: begin(name, code, file)? };
    let path = held.copy.path();
    copies.push(held);
    Ok(path)
}

/// The first part of a library's file, which the dynamic linker maps.
fn mapped(file: &File) -> io::Result<Vec<u8>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "its program headers are malformed");
    let cache = ReadCache::new(file);
    let header = FileHeader64::<NativeEndian>::parse(&cache).map_err(|_| malformed())?;
    let segments = header.program_headers(NativeEndian, &cache).map_err(|_| malformed())?;
    let mut end = HEADER as u64;
    for segment in segments.iter().filter(|segment| segment.p_type(NativeEndian) == PT_LOAD) {
        let (at, size) = segment.file_range(NativeEndian);
        end = end.max(at.checked_add(size).ok_or_else(malformed)?);
    }
    if end > file.metadata()?.len() {
        return Err(malformed());
    }
    let mut code = vec![0; usize::try_from(end).map_err(|_| malformed())?];
    file.read_exact_at(&mut code, 0)?;
    Ok(code)
}

/// Makes a copy that the dynamic linker can map, and has the rest follow.
fn begin(name: String, mut code: Vec<u8>, file: File) -> io::Result<Arc<CodeCopy>> {
    let (header, from, length) = (code[..HEADER].to_vec(), code.len() as u64, file.metadata()?.len());
    for place in SECTIONS {
        code[place].fill(0);
    }
    let copy = Arc::new(CodeCopy::of(&name, &code, length)?);
    if length.saturating_sub(from) <= SHORT {
        copy.complete(&file, from, &header)?;
        return Ok(copy);
    }
    let unfinished = Arc::clone(&copy);
    let complete = move || {
        if let Err(error) = unfinished.complete(&file, from, &header) {
            tracing::warn!(plugin = name, %error, "the symbols of a plugin are not copied: backtraces lack its functions' names");
        }
    };
    thread::Builder::new().name("symbols".to_owned()).spawn(complete)?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// The program of these tests: it is a file like a library, and longer than [`SHORT`] after what is mapped.
    fn program() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    fn file(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file
    }

    #[test]
    fn a_copy_can_be_mapped_at_once_and_is_complete_later() {
        let whole = program();
        let code = mapped(&file(&whole)).unwrap();
        assert!(code.len() as u64 + SHORT < whole.len() as u64 && whole.starts_with(&code));
        let path = copy(Path::new("libpcn_x.so"), file(&whole)).unwrap();
        let first = std::fs::read(&path).unwrap();
        assert_eq!((first.len(), &first[HEADER..code.len()]), (whole.len(), &code[HEADER..]));
        let began = Instant::now();
        while std::fs::read(&path).unwrap() != whole {
            assert!(began.elapsed() < Duration::from_secs(20), "the rest never follows");
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(copy(Path::new("libpcn_y.so"), file(&whole)).unwrap(), path, "the same code is copied once");
    }

    #[test]
    fn a_copy_that_is_not_complete_has_no_sections() {
        let whole = program();
        let mut code = mapped(&file(&whole)).unwrap();
        let before = object::File::parse(&*whole).map(|file| object::Object::sections(&file).count());
        assert!(before.unwrap() > 0);
        for place in SECTIONS {
            code[place].fill(0);
        }
        let after = object::File::parse(&*code).map(|file| object::Object::sections(&file).count());
        assert_eq!(after.unwrap(), 0);
    }

    #[test]
    fn a_file_that_says_more_than_it_has_is_refused() {
        let whole = program();
        let code = mapped(&file(&whole)).unwrap();
        for bytes in [&whole[..code.len() - 1], &whole[..HEADER + 8], &whole[..HEADER - 1], b"\x7fELF", b""] {
            let refused = mapped(&file(bytes)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{} bytes", bytes.len());
        }
        assert_eq!(mapped(&file(&whole[..code.len()])).unwrap(), code);
    }
}
