//! Hash tables and tries: a value for each key.

use std::marker::PhantomData;

use super::array::sum;
use super::error::{MapError, MapType, OpenError};
use super::plain::{Plain, Total, bytes_of};
use super::raw::{Expected, Presence, Raw};
use super::walk::walk;
use crate::Map;

/// A map of type `HASH`.
pub type Hash<K, V> = Table<K, V, kind::Hash>;
/// A map of type `LRU_HASH`: when it is full, the entry that was used longest ago makes room.
pub type LruHash<K, V> = Table<K, V, kind::LruHash>;
/// A map of type `PERCPU_HASH`: a value for each key and possible CPU.
pub type PerCpuHash<K, V> = PerCpuTable<K, V, kind::PerCpuHash>;
/// A map of type `LRU_PERCPU_HASH`.
pub type LruPerCpuHash<K, V> = PerCpuTable<K, V, kind::LruPerCpuHash>;

/// The kinds of hash tables, as parameters of [`Table`] and [`PerCpuTable`].
pub mod kind {
    use crate::maps::MapType;

    /// A kind of hash table.
    pub trait Kind: Send + Sync + 'static {
        /// The kernel's type.
        const TYPE: MapType;
    }

    macro_rules! kinds {
        ($($name:ident = $constant:ident: $text:literal;)*) => {$(
            #[doc = $text]
            #[derive(Debug)]
            pub enum $name {}

            impl Kind for $name {
                const TYPE: MapType = MapType::$constant;
            }
        )*};
    }

    kinds! {
        Hash = HASH: "`HASH`";
        LruHash = LRU_HASH: "`LRU_HASH`";
        PerCpuHash = PERCPU_HASH: "`PERCPU_HASH`";
        LruPerCpuHash = LRU_PERCPU_HASH: "`LRU_PERCPU_HASH`";
    }
}

use kind::Kind;

/// A hash table with one value for each key: a [`Hash`](type@Hash) or an [`LruHash`].
#[derive(Debug)]
pub struct Table<K, V, T> {
    raw: Raw,
    types: PhantomData<fn(K, V, T) -> V>,
}

/// A hash table with a value for each key and possible CPU: a [`PerCpuHash`] or an [`LruPerCpuHash`].
#[derive(Debug)]
pub struct PerCpuTable<K, V, T> {
    raw: Raw,
    types: PhantomData<fn(K, V, T) -> V>,
}

/// A map of type `LPM_TRIE`: values for prefixes, found by the longest one that matches. It is declared with the flag
/// `BPF_F_NO_PREALLOC`, and with keys of 4 bytes more than an address has.
#[derive(Debug)]
pub struct LpmTrie<A, V> {
    raw: Raw,
    types: PhantomData<fn(A, V) -> V>,
}

/// The first bits of an address in network byte order, the key of an [`LpmTrie`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix<A> {
    /// The number of bits that count, at most those of `A`.
    pub length: u32,
    /// The address; bits after the prefix do not count.
    pub address: A,
}

impl<A: Plain> Plain for Prefix<A> {
    const SIZE: usize = 4 + A::SIZE;

    fn read(bytes: &[u8]) -> Self {
        let (length, address) = bytes.split_at(4);
        Self { length: <u32 as Plain>::read(length), address: A::read(address) }
    }

    fn write(&self, bytes: &mut [u8]) {
        let (length, address) = bytes.split_at_mut(4);
        self.length.write(length);
        self.address.write(address);
    }
}

fn open<K: Plain, V: Plain>(map: Map, kind: MapType) -> Result<Raw, OpenError> {
    Raw::open(map, &Expected { kind, key: K::SIZE, value: V::SIZE })
}

fn entries<K: Plain, V>(raw: &Raw, value: impl Fn(&[u8]) -> V) -> Result<Vec<(K, V)>, MapError> {
    let mut entries = Vec::new();
    walk(raw, &mut |key, bytes| entries.push((K::read(key), value(bytes))))?;
    Ok(entries)
}

impl<K: Plain, V: Plain, T: Kind> TryFrom<Map> for Table<K, V, T> {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        Ok(Self { raw: open::<K, V>(map, T::TYPE)?, types: PhantomData })
    }
}

impl<K: Plain, V: Plain, T: Kind> Table<K, V, T> {
    /// The value of `key`, if it has one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<V>, MapError> {
        let value = self.raw.look_up(&bytes_of(key))?;
        Ok(value.map(|bytes| V::read(&bytes)))
    }

    /// Sets the value of `key`, whether it has one or not. The exchange is atomic.
    ///
    /// # Errors
    /// [`MapError::Full`], or the kernel refuses.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), MapError> {
        self.raw.update(&bytes_of(key), &bytes_of(value), Presence::Any).map(drop)
    }

    /// Sets the value of `key` if it has none, and answers whether that was so.
    ///
    /// # Errors
    /// [`MapError::Full`], or the kernel refuses.
    pub fn insert_new(&self, key: &K, value: &V) -> Result<bool, MapError> {
        self.raw.update(&bytes_of(key), &bytes_of(value), Presence::Absent)
    }

    /// Sets the value of `key` if it has one, and answers whether that was so.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn replace(&self, key: &K, value: &V) -> Result<bool, MapError> {
        self.raw.update(&bytes_of(key), &bytes_of(value), Presence::Present)
    }

    /// Removes `key`, and answers whether it was there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, key: &K) -> Result<bool, MapError> {
        self.raw.remove(&bytes_of(key))
    }

    /// All entries, in no order. An entry that is there all the time is in it once; one that comes or goes meanwhile may
    /// be.
    ///
    /// # Errors
    /// The kernel refuses, or [`MapError::Busy`].
    pub fn entries(&self) -> Result<Vec<(K, V)>, MapError> {
        entries(&self.raw, V::read)
    }
}

impl<K: Plain, V: Plain, T: Kind> TryFrom<Map> for PerCpuTable<K, V, T> {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        Ok(Self { raw: open::<K, V>(map, T::TYPE)?, types: PhantomData })
    }
}

impl<K: Plain, V: Plain, T: Kind> PerCpuTable<K, V, T> {
    /// The values of `key`, one of each possible CPU, if it has any.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn get(&self, key: &K) -> Result<Option<Vec<V>>, MapError> {
        let values = self.raw.look_up(&bytes_of(key))?;
        Ok(values.map(|bytes| self.raw.each(&bytes).map(V::read).collect()))
    }

    /// Sets the value of `key` to `value` on every CPU.
    ///
    /// # Errors
    /// [`MapError::Full`], or the kernel refuses.
    pub fn insert(&self, key: &K, value: &V) -> Result<(), MapError> {
        self.raw.update(&bytes_of(key), &bytes_of(value), Presence::Any).map(drop)
    }

    /// Removes `key`, and answers whether it was there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, key: &K) -> Result<bool, MapError> {
        self.raw.remove(&bytes_of(key))
    }
}

impl<K: Plain, V: Total, T: Kind> PerCpuTable<K, V, T> {
    /// The sum over all CPUs of the values of `key`, if it has any.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn sum(&self, key: &K) -> Result<Option<V>, MapError> {
        let values = self.raw.look_up(&bytes_of(key))?;
        Ok(values.map(|bytes| sum(&self.raw, &bytes)))
    }

    /// All entries with their sums over all CPUs, in no order; see [`Table::entries`].
    ///
    /// # Errors
    /// The kernel refuses, or [`MapError::Busy`].
    pub fn sums(&self) -> Result<Vec<(K, V)>, MapError> {
        entries(&self.raw, |bytes| sum(&self.raw, bytes))
    }
}

impl<A: Plain, V: Plain> TryFrom<Map> for LpmTrie<A, V> {
    type Error = OpenError;

    fn try_from(map: Map) -> Result<Self, OpenError> {
        Ok(Self { raw: open::<Prefix<A>, V>(map, MapType::LPM_TRIE)?, types: PhantomData })
    }
}

impl<A: Plain, V: Plain> LpmTrie<A, V> {
    /// The value of the longest prefix of `address`, if there is one.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn look_up(&self, address: A) -> Result<Option<V>, MapError> {
        let whole = Prefix { length: A::SIZE as u32 * 8, address };
        let value = self.raw.look_up(&bytes_of(&whole))?;
        Ok(value.map(|bytes| V::read(&bytes)))
    }

    /// Sets the value of `prefix`, whether it has one or not.
    ///
    /// # Errors
    /// [`MapError::Full`], or the kernel refuses, for example a prefix longer than an address.
    pub fn insert(&self, prefix: &Prefix<A>, value: &V) -> Result<(), MapError> {
        self.raw.update(&bytes_of(prefix), &bytes_of(value), Presence::Any).map(drop)
    }

    /// Removes `prefix` itself, not those within it, and answers whether it was there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self, prefix: &Prefix<A>) -> Result<bool, MapError> {
        self.raw.remove(&bytes_of(prefix))
    }

    /// All entries, in no order. An entry that is there all the time is in it once.
    ///
    /// # Errors
    /// The kernel refuses, or [`MapError::Busy`].
    pub fn entries(&self) -> Result<Vec<(Prefix<A>, V)>, MapError> {
        entries(&self.raw, V::read)
    }
}
