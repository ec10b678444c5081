//! All entries of a map, while others change it.
//!
//! Hash tables and arrays are read in batches: the kernel goes on where it was, at a bucket or an index, so that every
//! entry which is there all the time is seen exactly once, and the end is reached however fast others add and remove
//! entries. Tries, and kernels before 5.6, know only "the key after this one", and begin again at the first if this one
//! was removed meanwhile. What has been seen is then passed over, and after too many steps the walk ends with an error.

use std::collections::HashSet;
use std::io;

use super::error::{MapError, MapType, Operation};
use super::raw::Raw;

/// Bytes of keys and values that a first batch has room for, and the most entries of it.
const BATCH_BYTES: usize = 1 << 20;
const BATCH: usize = 4096;

/// How many steps a walk from key to key may take for each entry that the map has room for.
const PATIENCE: u64 = 8;

/// `ENOTSUPP` of the kernel's include/linux/errno.h, which is not meant for user space.
const NOT_SUPPORTED: i32 = 524;

/// Calls `visit` with the key and the value of every entry.
pub(super) fn walk(raw: &Raw, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), MapError> {
    // In a trie, the kernel's batches go from key to key as well, and do not end.
    if MapType(raw.info.kind) != MapType::LPM_TRIE && in_batches(raw, visit)? {
        return Ok(());
    }
    key_by_key(raw, visit)
}

/// Reads the map in batches; `false` if the kernel cannot do that with this map.
fn in_batches(raw: &Raw, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<bool, MapError> {
    let (key_size, value_size) = (raw.info.key_size as usize, raw.value_bytes());
    let all = raw.info.max_entries as usize;
    let mut room = (BATCH_BYTES / (key_size + value_size)).clamp(1, BATCH).min(all.max(1));
    let (mut keys, mut values) = (vec![0; room * key_size], vec![0; room * value_size]);
    let mut place = Vec::new();
    loop {
        match raw.shaped().look_up_batch(&mut place, &mut keys, &mut values, room) {
            Ok((count, more)) => {
                let entries = keys.chunks_exact(key_size).zip(values.chunks_exact(value_size));
                entries.take(count).for_each(|(key, value)| visit(key, value));
                if !more {
                    return Ok(true);
                }
            }
            Err(error) if is_unknown(&error) && place.is_empty() => return Ok(false),
            // A bucket has more entries than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && room < all => {
                room = (room * 2).min(all);
                (keys, values) = (vec![0; room * key_size], vec![0; room * value_size]);
            }
            Err(error) => return Err(raw.failed(Operation::List)(error)),
        }
    }
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | NOT_SUPPORTED | libc::EOPNOTSUPP))
}

/// Goes from key to key.
fn key_by_key(raw: &Raw, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), MapError> {
    let mut seen = HashSet::<Vec<u8>>::new();
    let mut key: Option<Vec<u8>> = None;
    let mut next = vec![0; raw.info.key_size as usize];
    for _ in 0..=PATIENCE * (u64::from(raw.info.max_entries) + 1) {
        let is_there = raw.shaped().next_key(key.as_deref(), &mut next).map_err(raw.failed(Operation::List))?;
        if !is_there {
            return Ok(());
        }
        if !seen.contains(&next)
            && let Some(value) = raw.look_up(&next)?
        {
            visit(&next, &value);
            seen.insert(next.clone());
        }
        key.get_or_insert_default().clone_from(&next);
    }
    Err(MapError::Busy { map: raw.name.clone() })
}

#[cfg(test)]
mod tests;
