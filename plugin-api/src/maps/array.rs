//! Arrays: a value for each index.

use std::marker::PhantomData;

use super::error::{MapError, MapType, OpenError};
use super::plain::{Plain, Total, bytes_of};
use super::raw::{Expected, Presence, Raw};
use super::walk::walk;
use crate::Map;

/// A map of type `ARRAY`: values of type `V`, with the indices from 0. All exist from the beginning, as zeros.
#[derive(Debug)]
pub struct Array<V> {
    raw: Raw,
    value: PhantomData<fn(V) -> V>,
}

/// A map of type `PERCPU_ARRAY`: as an [`Array`], with a value for each possible CPU, so that programs count without
/// waiting for each other.
#[derive(Debug)]
pub struct PerCpuArray<V> {
    raw: Raw,
    value: PhantomData<fn(V) -> V>,
}

impl Raw {
    fn element(&self, index: u32) -> Result<Vec<u8>, MapError> {
        self.look_up(&index.to_ne_bytes())?.ok_or_else(|| self.no_element(index))
    }

    fn set_element(&self, index: u32, value: &[u8]) -> Result<(), MapError> {
        // The kernel would call an array full.
        if index >= self.info.max_entries {
            return Err(self.no_element(index));
        }
        self.update(&index.to_ne_bytes(), value, Presence::Any).map(drop)
    }

    fn no_element(&self, index: u32) -> MapError {
        MapError::Index { map: self.name.clone(), index, max_entries: self.info.max_entries }
    }
}

fn open<V: Plain>(map: Map, kind: MapType) -> Result<Raw, OpenError> {
    Raw::open(map, &Expected { kind, key: 4, value: V::SIZE })
}

impl<V: Plain> TryFrom<Map> for Array<V> {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        Ok(Self { raw: open::<V>(map, MapType::ARRAY)?, value: PhantomData })
    }
}

impl<V: Plain> Array<V> {
    /// The number of elements; never 0.
    #[allow(clippy::len_without_is_empty, reason = "the kernel makes no empty array")]
    pub fn len(&self) -> u32 {
        self.raw.info.max_entries
    }

    /// The element with `index`.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn get(&self, index: u32) -> Result<V, MapError> {
        self.raw.element(index).map(|bytes| V::read(&bytes))
    }

    /// Sets the element with `index`. A program can see a part of the change if the value has more than 8 bytes.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn set(&self, index: u32, value: &V) -> Result<(), MapError> {
        self.raw.set_element(index, &bytes_of(value))
    }

    /// All elements, in their order.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn values(&self) -> Result<Vec<V>, MapError> {
        let mut values = Vec::with_capacity(self.len() as usize);
        walk(&self.raw, &mut |_, value| values.push(V::read(value)))?;
        Ok(values)
    }
}

impl<V: Plain> TryFrom<Map> for PerCpuArray<V> {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        Ok(Self { raw: open::<V>(map, MapType::PERCPU_ARRAY)?, value: PhantomData })
    }
}

impl<V: Plain> PerCpuArray<V> {
    /// The number of elements; never 0.
    #[allow(clippy::len_without_is_empty, reason = "the kernel makes no empty array")]
    pub fn len(&self) -> u32 {
        self.raw.info.max_entries
    }

    /// The element with `index`: one value of each possible CPU.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn get(&self, index: u32) -> Result<Vec<V>, MapError> {
        let bytes = self.raw.element(index)?;
        Ok(self.raw.each(&bytes).map(V::read).collect())
    }

    /// Sets the element with `index` to `value` on every CPU. What a program adds at this moment may be lost.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn set(&self, index: u32, value: &V) -> Result<(), MapError> {
        self.raw.set_element(index, &bytes_of(value))
    }
}

impl<V: Total> PerCpuArray<V> {
    /// The sum over all CPUs of the element with `index`.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub fn sum(&self, index: u32) -> Result<V, MapError> {
        let bytes = self.raw.element(index)?;
        Ok(sum(&self.raw, &bytes))
    }

    /// The sums over all CPUs of all elements, in their order.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn sums(&self) -> Result<Vec<V>, MapError> {
        let mut sums = Vec::with_capacity(self.len() as usize);
        walk(&self.raw, &mut |_, values| sums.push(sum(&self.raw, values)))?;
        Ok(sums)
    }
}

/// The sum of all CPUs' values in `bytes`.
pub(super) fn sum<V: Total>(raw: &Raw, bytes: &[u8]) -> V {
    let mut values = raw.each(bytes).map(V::read);
    // A machine has a CPU.
    let mut sum = values.next().unwrap_or_else(|| V::read(&vec![0; V::SIZE]));
    values.for_each(|value| sum.add(&value));
    sum
}
