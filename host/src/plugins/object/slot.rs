//! Where a value is in bytes, and how it is written there. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Number, Value, json};

/// A value that has no place in its bytes, though its schema allows it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it has {given} bytes, and there is room for {room}")]
    Long { given: usize, room: usize },
    #[error("`{given}` is not an address of the kind that the object stores")]
    Address { given: String },
    #[error("`{given}` is not {wanted}")]
    Other { given: String, wanted: &'static str },
}

/// How a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Boolean,
    Integer {
        is_signed: bool,
        is_big_endian: bool,
    },
    /// Words, each with its number.
    Words(Vec<(String, i64)>),
    Mac,
    Ipv4,
    Ipv6,
    /// The whole key of an LPM trie: the prefix's length, 4 bytes, then an address.
    Prefix,
    /// Ends with a zero.
    Text,
}

/// A value among bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub offset: usize,
    pub size: usize,
    pub form: Form,
}

impl Slot {
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.size
    }

    /// Writes a value into its place among `bytes`. Null is all zeroes.
    ///
    /// # Errors
    /// The value does not fit.
    pub(super) fn write(&self, value: &Value, bytes: &mut [u8]) -> Result<(), Unfit> {
        let Some(place) = bytes.get_mut(self.range()) else { return Ok(()) };
        place.fill(0);
        if value.is_null() {
            return Ok(());
        }
        let given = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let other = |wanted| Unfit::Other { given: given(), wanted };
        match &self.form {
            Form::Boolean => place[0] = u8::from(value.as_bool().ok_or_else(|| other("a boolean"))?),
            Form::Integer { is_big_endian, .. } => {
                put(place, integer(value).ok_or_else(|| other("an integer"))?, *is_big_endian);
            }
            Form::Words(words) => {
                let number = words.iter().find(|(word, _)| Some(word.as_str()) == value.as_str());
                put(place, number.ok_or_else(|| other("one of the words"))?.1.into(), false);
            }
            Form::Mac => place.copy_from_slice(&mac(&given()).ok_or_else(|| Unfit::Address { given: given() })?),
            Form::Ipv4 | Form::Ipv6 => {
                place.copy_from_slice(&address(&given(), self.size).ok_or_else(|| Unfit::Address { given: given() })?);
            }
            Form::Prefix => put_prefix(place, &given())?,
            Form::Text => {
                let text = given();
                let room = self.size.saturating_sub(1);
                if text.len() > room {
                    return Err(Unfit::Long { given: text.len(), room });
                }
                place[..text.len()].copy_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    /// The value in its place among `bytes`; null where a number stands for no word.
    pub(super) fn read(&self, bytes: &[u8]) -> Value {
        let Some(place) = bytes.get(self.range()) else { return Value::Null };
        match &self.form {
            Form::Boolean => json!(place.iter().any(|byte| *byte != 0)),
            Form::Integer { .. } => number(self.integer(bytes)),
            Form::Words(words) => {
                let number = self.integer(bytes);
                let word = words.iter().find(|(_, value)| i128::from(*value) == number);
                word.map_or(Value::Null, |(word, _)| json!(word))
            }
            Form::Mac => {
                json!(place.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
            }
            Form::Ipv4 | Form::Ipv6 => ip(place).map_or(Value::Null, |address| json!(address.to_string())),
            Form::Prefix => {
                let length = get(&place[..4], false, false);
                ip(&place[4..]).map_or(Value::Null, |address| json!(format!("{address}/{length}")))
            }
            Form::Text => {
                let end = place.iter().position(|byte| *byte == 0).unwrap_or(place.len());
                json!(String::from_utf8_lossy(&place[..end]))
            }
        }
    }

    /// The number in its place, of a form that is one; 0 past the end.
    pub(super) fn integer(&self, bytes: &[u8]) -> i128 {
        let (is_signed, is_big_endian) = match &self.form {
            Form::Integer { is_signed, is_big_endian } => (*is_signed, *is_big_endian),
            Form::Words(words) => (words.iter().any(|(_, value)| *value < 0), false),
            _ => (false, false),
        };
        bytes.get(self.range()).map_or(0, |place| get(place, is_signed, is_big_endian))
    }
}

/// A number as JSON; one that has no place there is its nearest neighbour.
pub(super) fn number(value: i128) -> Value {
    let small = i64::try_from(value).map(Number::from).ok();
    Value::Number(small.unwrap_or_else(|| u64::try_from(value.max(0)).unwrap_or(u64::MAX).into()))
}

fn integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from))
}

/// Writes a number into at most 8 bytes, which it fits: its schema has their limits.
fn put(place: &mut [u8], value: i128, is_big_endian: bool) {
    let size = place.len().min(8);
    let bytes = value.to_le_bytes();
    place[..size].copy_from_slice(&bytes[..size]);
    if is_big_endian {
        place[..size].reverse();
    }
}

fn get(place: &[u8], is_signed: bool, is_big_endian: bool) -> i128 {
    let size = place.len().min(8);
    let mut bytes = [0; 16];
    bytes[..size].copy_from_slice(&place[..size]);
    if is_big_endian {
        bytes[..size].reverse();
    }
    let value = i128::from_le_bytes(bytes);
    let half = 1_i128 << (8 * size.max(1) - 1);
    if is_signed && value >= half { value - 2 * half } else { value }
}

/// Six pairs of digits with colons between them.
fn mac(text: &str) -> Option<[u8; 6]> {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pair = |pair: &str| if is_pair(pair) { u8::from_str_radix(pair, 16).ok() } else { None };
    text.split(':').map(pair).collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn address(text: &str, size: usize) -> Option<Vec<u8>> {
    match (text.parse().ok()?, size) {
        (IpAddr::V4(address), 4) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), 16) => Some(address.octets().to_vec()),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

/// Writes a prefix without the bits after it, so that each has one key.
fn put_prefix(place: &mut [u8], text: &str) -> Result<(), Unfit> {
    let unfit = || Unfit::Address { given: text.to_owned() };
    let (length, data) = place.split_at_mut(4);
    let longest = 8 * data.len() as u32;
    let (network, bits) = text.split_once('/').unwrap_or((text, ""));
    let bits = if bits.is_empty() { longest } else { bits.parse().map_err(|_| unfit())? };
    if bits > longest {
        return Err(unfit());
    }
    data.copy_from_slice(&address(network, data.len()).ok_or_else(unfit)?);
    for (index, byte) in (0..).step_by(8).zip(data) {
        let kept = bits.saturating_sub(index).min(8);
        *byte &= u8::try_from((0xff00_u32 >> kept) & 0xff).unwrap_or(0);
    }
    length.copy_from_slice(&bits.to_ne_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that a value becomes these bytes, and comes back.
    #[track_caller]
    fn check(form: &Form, value: &Value, expected: &[u8]) {
        let slot = Slot { offset: 1, size: expected.len(), form: form.clone() };
        let mut bytes = vec![0xaa; expected.len() + 2];
        slot.write(value, &mut bytes).unwrap();
        assert_eq!(bytes[1..=expected.len()], *expected, "{value}");
        assert_eq!((bytes[0], bytes[expected.len() + 1]), (0xaa, 0xaa), "its neighbours stay");
        assert_eq!(slot.read(&bytes), *value);
    }

    #[track_caller]
    fn check_unfit(form: Form, size: usize, value: &Value, expected: &str) {
        let unfit = Slot { offset: 0, size, form }.write(value, &mut vec![0; size]).unwrap_err();
        assert_eq!(unfit.to_string(), expected);
    }

    #[test]
    fn integers_have_any_width_sign_and_order() {
        let little = |is_signed| Form::Integer { is_signed, is_big_endian: false };
        let big = |is_signed| Form::Integer { is_signed, is_big_endian: true };
        check(&little(false), &json!(255), &[255]);
        check(&little(true), &json!(-1), &[255]);
        check(&little(true), &json!(-2), &[254, 255]);
        check(&big(true), &json!(-2), &[255, 254]);
        check(&big(false), &json!(443), &[1, 187]);
        check(&little(false), &json!(443), &[187, 1, 0, 0]);
        check(&big(false), &json!(0x0102_0304), &[1, 2, 3, 4]);
        check(&little(false), &json!(u64::MAX), &[255; 8]);
        check(&little(true), &json!(i64::MIN), &[0, 0, 0, 0, 0, 0, 0, 128]);
        check(&Form::Boolean, &json!(true), &[1, 0, 0, 0]);
        check(&Form::Boolean, &json!(false), &[0]);
    }

    #[test]
    fn texts_have_the_form_that_the_object_has() {
        check(&Form::Mac, &json!("02:00:00:00:00:ff"), &[2, 0, 0, 0, 0, 255]);
        check(&Form::Ipv4, &json!("10.0.0.1"), &[10, 0, 0, 1]);
        check(&Form::Ipv6, &json!("fe80::1"), &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        check(&Form::Text, &json!("veth"), b"veth\0\0");
        let words = Form::Words(vec![("drop".to_owned(), -1), ("pass".to_owned(), 2)]);
        check(&words, &json!("drop"), &[255, 255, 255, 255]);
        check(&words, &json!("pass"), &[2, 0, 0, 0]);
        assert_eq!(Slot { offset: 0, size: 1, form: words }.read(&[7]), Value::Null);
    }

    #[test]
    fn a_prefix_has_one_key() {
        check(&Form::Prefix, &json!("10.0.0.0/8"), &[8, 0, 0, 0, 10, 0, 0, 0]);
        check(&Form::Prefix, &json!("0.0.0.0/0"), &[0; 8]);
        let slot = Slot { offset: 0, size: 8, form: Form::Prefix };
        for (given, shown) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("10.1.2.3/12", "10.0.0.0/12"), ("10.1.2.3", "10.1.2.3/32")]
        {
            let mut bytes = [0xff; 8];
            slot.write(&json!(given), &mut bytes).unwrap();
            assert_eq!(slot.read(&bytes), json!(shown));
        }
        for given in ["10.0.0.0/33", "::/0", "x", "10.0.0.0/x"] {
            check_unfit(
                Form::Prefix,
                8,
                &json!(given),
                &format!("`{given}` is not an address of the kind that the object stores"),
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        check_unfit(Form::Text, 4, &json!("veth"), "it has 4 bytes, and there is room for 3");
        let address = "is not an address of the kind that the object stores";
        check_unfit(Form::Ipv4, 4, &json!("::1"), &format!("`::1` {address}"));
        check_unfit(Form::Ipv6, 16, &json!("10.0.0.1"), &format!("`10.0.0.1` {address}"));
        for mac in ["02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:00:00", "2-0-0-0-0-0", "+2:00:00:00:00:00"] {
            check_unfit(Form::Mac, 6, &json!(mac), &format!("`{mac}` {address}"));
        }
        check_unfit(Form::Boolean, 1, &json!(3), "`3` is not a boolean");
    }

    #[test]
    fn nothing_is_written_or_read_past_the_end() {
        let slot = Slot { offset: 2, size: 4, form: Form::Integer { is_signed: false, is_big_endian: false } };
        let mut short = [7; 4];
        slot.write(&json!(1), &mut short).unwrap();
        assert_eq!((short, slot.read(&short), slot.integer(&short)), ([7; 4], Value::Null, 0));
    }
}
