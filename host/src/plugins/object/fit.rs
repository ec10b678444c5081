//! Whether what a schema says of a leaf fits the type that the object has for it. Pure.

use serde_json::{Value, json};

use super::btf::{Type, Types};
use super::slot::{Form, Slot};

/// Our own keyword: the integer is in network byte order.
pub(super) const BIG_ENDIAN: &str = "x-big-endian";

/// Formats of texts that are addresses.
const MAC: &str = "mac-address";
const IPV4: &str = "ipv4";
const IPV6: &str = "ipv6";
const PREFIX: &str = "ip-prefix";

/// Why a leaf does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("it has no `type` that the object could store: use `boolean`, `integer` or `string`")]
    Untyped,
    #[error("it is {leaf}, and the object has {found}: change one of them")]
    Type { leaf: &'static str, found: String },
    #[error("its `{bound}` is {given}, and the object's type goes from {least} to {most}: choose one that is within")]
    Range { bound: &'static str, given: Value, least: i128, most: i128 },
    #[error("its `maxLength` is {given}, and the object has room for {room} bytes: choose one that is within")]
    Length { given: u64, room: usize },
    #[error("no enumerator of {found} is called `{word}`, or ends with `_{word}`; known: {}", .known.join(", "))]
    NoEnumerator { word: String, found: String, known: Vec<String> },
    #[error("several enumerators of {found} end with `_{word}`: use a whole name")]
    Ambiguous { word: String, found: String },
    #[error("the object has no BTF, which tells what its values are made of: compile it with -g")]
    NoTypes,
    #[error("the object has no type for it: declare it with one, and compile it with -g")]
    Unknown,
}

/// What the object says of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Declared<'a> {
    /// The id of its type.
    Typed(&'a Types, u32),
    /// Only how many bytes it has: the object has no types.
    Bytes(usize),
    /// The whole key of an LPM trie, of this many bytes.
    Prefix(usize),
}

impl Declared<'_> {
    fn size(self) -> Option<usize> {
        match self {
            Self::Typed(types, id) => types.size(id),
            Self::Bytes(size) | Self::Prefix(size) => Some(size),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::Typed(types, id) => types.in_words(id),
            Self::Bytes(size) => format!("{size} bytes without a type"),
            Self::Prefix(_) => "the key of an LPM trie".to_owned(),
        }
    }
}

/// The place at `offset` for values of `leaf`, which gets the limits of the type where it has none of its own.
///
/// # Errors
/// The leaf does not fit.
pub(super) fn fit(leaf: &mut Value, declared: Declared<'_>, offset: usize) -> Result<Slot, Misfit> {
    let size = declared.size().ok_or(Misfit::Unknown)?;
    let form = match kind(leaf).ok_or(Misfit::Untyped)? {
        "boolean" => boolean(declared)?,
        "integer" => integer(leaf, declared, size)?,
        _ => text(leaf, declared, size)?,
    };
    Ok(Slot { offset, size, form })
}

/// The one type of a leaf, besides null.
fn kind(leaf: &Value) -> Option<&'static str> {
    let has = |kind: &str| match &leaf["type"] {
        Value::String(only) => only == kind,
        Value::Array(kinds) => {
            kinds.len() == 2 && kinds.iter().any(|one| one == kind) && kinds.contains(&json!("null"))
        }
        _ => false,
    };
    ["boolean", "integer", "string"].into_iter().find(|kind| has(kind))
}

/// A type of integers, their sign, and whether they are in network byte order.
fn number(declared: Declared<'_>) -> Option<(bool, bool)> {
    let size = declared.size()?;
    let (is_signed, is_big_endian) = match declared {
        Declared::Bytes(_) => (false, false),
        Declared::Prefix(_) => return None,
        Declared::Typed(types, id) => {
            let resolved = types.resolve(id)?;
            match resolved.kind {
                Type::Integer { is_signed, .. } | Type::Enumeration { is_signed, .. } => {
                    (*is_signed, resolved.is_big_endian)
                }
                _ => return None,
            }
        }
    };
    [1, 2, 4, 8].contains(&size).then_some((is_signed, is_big_endian))
}

fn boolean(declared: Declared<'_>) -> Result<Form, Misfit> {
    let found = || Misfit::Type { leaf: "a boolean", found: declared.in_words() };
    number(declared).map(|_| Form::Boolean).ok_or_else(found)
}

fn integer(leaf: &mut Value, declared: Declared<'_>, size: usize) -> Result<Form, Misfit> {
    let found = || Misfit::Type { leaf: "an integer", found: declared.in_words() };
    let (mut is_signed, is_big_endian) = number(declared).ok_or_else(found)?;
    // Without types, the schema is all that tells.
    is_signed |= matches!(declared, Declared::Bytes(_)) && leaf["minimum"].as_i64().is_some_and(|least| least < 0);
    let values = 1_i128 << (8 * size);
    let (least, most) = if is_signed { (-values / 2, values / 2 - 1) } else { (0, values - 1) };
    limit(leaf, least, most)?;
    Ok(Form::Integer { is_signed, is_big_endian: is_big_endian || leaf[BIG_ENDIAN] == true })
}

/// Sets the limits of an integer that has none, and checks those that it has.
///
/// # Errors
/// One of its own is past the other.
pub(super) fn limit(leaf: &mut Value, least: i128, most: i128) -> Result<(), Misfit> {
    for (bound, nearest) in [("minimum", least), ("maximum", most)] {
        let given = leaf[bound].clone();
        let whole = given.as_i64().map(i128::from).or_else(|| given.as_u64().map(i128::from));
        match whole {
            Some(whole) if (least..=most).contains(&whole) => {}
            None if given.is_null() => leaf[bound] = super::slot::number(nearest),
            _ => return Err(Misfit::Range { bound, given, least, most }),
        }
    }
    Ok(())
}

fn text(leaf: &mut Value, declared: Declared<'_>, size: usize) -> Result<Form, Misfit> {
    if let Some(words) = leaf["enum"].as_array() {
        return words_of(words, declared);
    }
    let misfit = |leaf| Misfit::Type { leaf, found: declared.in_words() };
    let fits = |leaf, form, is_so: bool| if is_so { Ok(form) } else { Err(misfit(leaf)) };
    let (is_prefix, is_typed) = (matches!(declared, Declared::Prefix(_)), matches!(declared, Declared::Typed(..)));
    match leaf["format"].as_str() {
        Some(PREFIX) => fits("a prefix", Form::Prefix, is_prefix && [8, 20].contains(&size)),
        _ if is_prefix => Err(Misfit::Type { leaf: "not of the format `ip-prefix`", found: declared.in_words() }),
        _ if !is_typed => Err(Misfit::NoTypes),
        Some(MAC) => fits("a MAC address of 6 bytes", Form::Mac, size == 6),
        Some(IPV4) => fits("an IPv4 address of 4 bytes", Form::Ipv4, size == 4),
        Some(IPV6) => fits("an IPv6 address of 16 bytes", Form::Ipv6, size == 16),
        _ => {
            let Declared::Typed(types, id) = declared else { return Err(Misfit::NoTypes) };
            let element = match types.resolve(id).ok_or(Misfit::Unknown)?.kind {
                Type::Array { element, .. } => types.resolve(*element).map(|resolved| resolved.kind),
                _ => None,
            };
            let is_text = matches!(element, Some(Type::Integer { is_character: true, size: 1, .. }));
            if !is_text {
                return Err(misfit("a text without a `format` that the object could store"));
            }
            let room = size.saturating_sub(1);
            match leaf["maxLength"].as_u64() {
                Some(given) if given > room as u64 => return Err(Misfit::Length { given, room }),
                Some(_) => {}
                None => leaf["maxLength"] = json!(room),
            }
            Ok(Form::Text)
        }
    }
}

/// The words of a leaf with the numbers of their enumerators.
fn words_of(words: &[Value], declared: Declared<'_>) -> Result<Form, Misfit> {
    let Declared::Typed(types, id) = declared else { return Err(Misfit::NoTypes) };
    let Some(Type::Enumeration { values, .. }) = types.resolve(id).map(|resolved| resolved.kind) else {
        return Err(Misfit::Type { leaf: "one of several words", found: declared.in_words() });
    };
    let mut found = Vec::new();
    for word in words.iter().filter(|word| !word.is_null()) {
        let word = word.as_str().ok_or(Misfit::Untyped)?;
        let wanted = word.to_ascii_lowercase().replace('-', "_");
        let normal = |(name, _): &&(String, i64)| name.to_ascii_lowercase();
        let whole = values.iter().find(|value| normal(value) == wanted);
        let ending = format!("_{wanted}");
        let mut ends = values.iter().filter(|value| normal(value).ends_with(&ending));
        let (_, number) = match (whole, ends.next(), ends.next()) {
            (Some(whole), ..) => whole,
            (None, Some(only), None) => only,
            (None, Some(_), Some(_)) => {
                return Err(Misfit::Ambiguous { word: word.to_owned(), found: declared.in_words() });
            }
            (None, None, _) => {
                let known = values.iter().map(|(name, _)| name.clone()).collect();
                return Err(Misfit::NoEnumerator { word: word.to_owned(), found: declared.in_words(), known });
            }
        };
        found.push((word.to_owned(), *number));
    }
    Ok(Form::Words(found))
}
