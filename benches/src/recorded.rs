//! Reads capture files as far as a bench needs: how many records there are, and whether the last is complete.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// draft-ietf-opsawg-pcap, section 4.
const FILE_HEADER: i64 = 24;
/// Section 5.
const RECORD_HEADER: usize = 16;
const BUFFER: usize = 1 << 20;

/// Counts the records of a classic pcap file in this machine's byte order.
pub(crate) fn count(path: &Path) -> Result<u64> {
    each(path, |_| ())
}

/// Counts the records, and those whose time is before that of the one before them.
pub(crate) fn count_with_order(path: &Path) -> Result<(u64, u64)> {
    let (mut last, mut out_of_order) = ((0, 0), 0);
    let count = each(path, |time| {
        out_of_order += u64::from(time < last);
        last = time;
    })?;
    Ok((count, out_of_order))
}

/// Calls `visit` with each record's seconds and fraction; returns how many records there are.
fn each(path: &Path, mut visit: impl FnMut((u32, u32))) -> Result<u64> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut left = file.metadata()?.len().cast_signed() - FILE_HEADER;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    reader.seek_relative(FILE_HEADER)?;
    let mut records = 0;
    let mut header = [0; RECORD_HEADER];
    while left > 0 {
        match reader.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        let [seconds, fraction, captured] =
            [0, 4, 8].map(|at| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        visit((seconds, fraction));
        reader.seek_relative(captured.into())?;
        left -= RECORD_HEADER as i64 + i64::from(captured);
        records += 1;
    }
    if left != 0 {
        bail!("{} breaks off in record {records}", path.display());
    }
    Ok(records)
}

/// Touches as many pages of the page cache as a capture will. A guest's first touch of a page costs time on its host,
/// which must not be measured.
pub(crate) fn warm(directory: &Path, bytes: u64) -> Result<()> {
    let mut file = tempfile::tempfile_in(directory)?;
    let block = vec![0; BUFFER];
    for _ in 0..bytes.div_ceil(BUFFER as u64) {
        file.write_all(&block).with_context(|| format!("cannot write {bytes} bytes in {}", directory.display()))?;
    }
    Ok(())
}
