//! What keys and values can be.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Plain data: a value of a fixed number of bytes, which the kernel copies in and out.
///
/// Every type that zerocopy's derives accept is plain data: integers, arrays, and structures of these without hidden
/// padding. Write padding as a field of its own, and set it to zero in keys, because the kernel compares all bytes. The
/// types in `zerocopy::byteorder` are numbers in network byte order.
///
/// ```
/// use zerocopy::{FromBytes, Immutable, IntoBytes};
///
/// #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Flow {
///     source: [u8; 4],
///     port: zerocopy::byteorder::network_endian::U16,
///     zero: [u8; 2],
/// }
/// # fn is_plain<T: polycube_plugin_api::maps::Plain>() {}
/// # is_plain::<Flow>();
/// ```
pub trait Plain: Sized + Send + Sync + 'static {
    /// Bytes of a value.
    const SIZE: usize;

    /// The value in `bytes`, of which there are [`SIZE`](Self::SIZE).
    fn read(bytes: &[u8]) -> Self;

    /// Writes the value to `bytes`, of which there are [`SIZE`](Self::SIZE).
    fn write(&self, bytes: &mut [u8]);
}

impl<T: FromBytes + IntoBytes + Immutable + Send + Sync + 'static> Plain for T {
    const SIZE: usize = size_of::<T>();

    fn read(bytes: &[u8]) -> Self {
        // The maps pass as many bytes as `SIZE` says; zeros are a value of every such type.
        Self::read_from_bytes(bytes).unwrap_or_else(|_| Self::new_zeroed())
    }

    fn write(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(self.as_bytes());
    }
}

/// Plain data that can be added up, such as counters: the sum over all CPUs is one value.
///
/// [`counters!`](crate::counters!) implements it. Overflow wraps around, as in the kernel.
pub trait Total: Plain {
    /// Adds `other` to this value.
    fn add(&mut self, other: &Self);
}

macro_rules! total {
    ($($integer:ty),*) => {$(
        impl Total for $integer {
            fn add(&mut self, other: &Self) {
                *self = self.wrapping_add(*other);
            }
        }
    )*};
}

total!(u8, u16, u32, u64, i8, i16, i32, i64);

impl<T: Total, const N: usize> Total for [T; N]
where
    Self: Plain,
{
    fn add(&mut self, other: &Self) {
        self.iter_mut().zip(other).for_each(|(sum, one)| sum.add(one));
    }
}

/// The bytes of `value`.
pub(super) fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; T::SIZE];
    value.write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_from_their_bytes_and_added_up() {
        let bytes = bytes_of(&[1_u64, u64::MAX]);
        assert_eq!(bytes.len(), <[u64; 2]>::SIZE);
        let mut sum = <[u64; 2] as Plain>::read(&bytes);
        sum.add(&[4, 2]);
        assert_eq!(sum, [5, 1]);
    }
}
