//! As much of Protocol Buffers' wire format as messages of a few fields take: the few that we want are found by their
//! numbers, and all others are passed over.

/// A field's value (protobuf.dev/programming-guides/encoding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// An integer, a truth value or an enumeration.
    Number(u64),
    /// A text or another message.
    Bytes(&'a [u8]),
    /// A number of fixed size.
    Fixed,
}

/// What is not a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a message of Protocol Buffers")]
pub(super) struct Malformed;

/// The fields of `message`, by number and in order.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), Malformed>> {
    std::iter::from_fn(move || {
        if message.is_empty() {
            return None;
        }
        let field = field(&mut message).ok_or(Malformed);
        if field.is_err() {
            message = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => take(rest, 8).map(|_| Field::Fixed)?,
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => take(rest, 4).map(|_| Field::Fixed)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(count)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A message that is written. Fields that have their default are left out, as the format wants it.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn bytes(mut self, number: u64, value: &[u8]) -> Self {
        self.varint(number << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn number(mut self, number: u64, value: u64) -> Self {
        self.varint(number << 3);
        self.varint(value);
        self
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let long = [7; 300];
        let message = Message::default().number(1, 300).bytes(2, b"web").bytes(1_000, &long).number(3, u64::MAX).end();
        let expected = [
            (1, Field::Number(300)),
            (2, Field::Bytes(b"web")),
            (1_000, Field::Bytes(&long)),
            (3, Field::Number(u64::MAX)),
        ];
        assert_eq!(fields(&message).collect::<Result<Vec<_>, _>>().unwrap(), expected);
    }

    #[test]
    fn numbers_of_fixed_size_are_passed_over() {
        let message = [&[1 << 3 | 1][..], &[0; 8], &[2 << 3 | 5], &[0; 4], &[3 << 3, 1]].concat();
        let expected = [(1, Field::Fixed), (2, Field::Fixed), (3, Field::Number(1))];
        assert_eq!(fields(&message).collect::<Result<Vec<_>, _>>().unwrap(), expected);
    }

    #[test]
    fn what_is_cut_or_wrong_ends_with_an_error() {
        for wrong in [&[8][..], &[18, 5, b'a'], &[11], &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]] {
            assert_eq!(fields(wrong).collect::<Vec<_>>(), [Err(Malformed)], "{wrong:?}");
        }
    }
}
