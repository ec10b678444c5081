//! Types of an object, as its compiler wrote them: BTF (Documentation/bpf/btf.rst of the kernel has its layout). Pure.
//!
//! `aya-obj` reads BTF for the kernel's use and keeps the types to itself. What is read here is what values are made of.

use super::words::{i32_at, text_at, u16_at, u32_at};

/// How deep types may be nested: a chain of aliases that is longer leads back to itself.
const DEPTH: usize = 32;

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Integer {
        size: usize,
        is_signed: bool,
        /// One of `char`, of which texts are made.
        is_character: bool,
        name: String,
    },
    Array {
        element: u32,
        count: usize,
    },
    Structure {
        size: usize,
        name: String,
        fields: Vec<Field>,
    },
    Enumeration {
        size: usize,
        is_signed: bool,
        name: String,
        values: Vec<(String, i64)>,
    },
    /// Another name for a type, or a type with a qualifier.
    Alias {
        name: String,
        target: u32,
    },
    Variable {
        name: String,
        target: u32,
    },
    /// What no value of ours is made of.
    Other,
}

/// A field of a structure, or of a union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub name: String,
    pub target: u32,
    /// Bytes from the structure's start; `None` for a bit field.
    pub offset: Option<usize>,
}

/// All types of an object, by their ids.
#[derive(Debug, Default)]
pub(super) struct Types(Vec<Type>);

/// A type without its aliases, and whether one of them says that it is in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Resolved<'a> {
    pub kind: &'a Type,
    pub is_big_endian: bool,
}

impl Types {
    /// `None` if the bytes are not BTF.
    pub(super) fn parse(btf: &[u8]) -> Option<Self> {
        const MAGIC: u16 = 0xeb9f;
        if u16_at(btf, 0)? != MAGIC {
            return None;
        }
        let header = u32_at(btf, 4)?;
        let start = header.checked_add(u32_at(btf, 8)?)?;
        let strings = header.checked_add(u32_at(btf, 16)?)?;
        let types = btf.get(start..start.checked_add(u32_at(btf, 12)?)?)?;
        let mut at = 0;
        let mut parsed = vec![Type::Other];
        while at < types.len() {
            let (kind, length) = parse_type(btf.get(strings..)?, types.get(at..)?)?;
            parsed.push(kind);
            at += length;
        }
        Some(Self(parsed))
    }

    /// The type with this id, without aliases and qualifiers.
    pub(super) fn resolve(&self, id: u32) -> Option<Resolved<'_>> {
        let (mut id, mut is_big_endian) = (id, false);
        for _ in 0..DEPTH {
            match self.0.get(id as usize)? {
                Type::Alias { name, target } => {
                    is_big_endian |= ["__be16", "__be32", "__be64"].contains(&name.as_str());
                    id = *target;
                }
                kind => return Some(Resolved { kind, is_big_endian }),
            }
        }
        None
    }

    /// The id of the type of a global variable.
    pub(super) fn variable(&self, variable: &str) -> Option<u32> {
        self.0.iter().find_map(|kind| match kind {
            Type::Variable { name, target } if name == variable => Some(*target),
            _ => None,
        })
    }

    /// Bytes of a value of a type.
    pub(super) fn size(&self, id: u32) -> Option<usize> {
        let (mut id, mut count) = (id, 1_usize);
        for _ in 0..DEPTH {
            match self.resolve(id)?.kind {
                Type::Integer { size, .. } | Type::Structure { size, .. } | Type::Enumeration { size, .. } => {
                    return count.checked_mul(*size);
                }
                Type::Array { element, count: more } => {
                    count = count.checked_mul(*more)?;
                    id = *element;
                }
                Type::Alias { .. } | Type::Variable { .. } | Type::Other => return None,
            }
        }
        None
    }

    /// The field called `name` of a structure: its type and offset. Fields of structures without a name belong to what
    /// contains them.
    pub(super) fn field(&self, fields: &[Field], name: &str) -> Option<(u32, Option<usize>)> {
        self.field_within(fields, name, DEPTH)
    }

    fn field_within(&self, fields: &[Field], name: &str, depth: usize) -> Option<(u32, Option<usize>)> {
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            return Some((field.target, field.offset));
        }
        let depth = depth.checked_sub(1)?;
        fields.iter().filter(|field| field.name.is_empty()).find_map(|outer| {
            let Type::Structure { fields, .. } = self.resolve(outer.target)?.kind else { return None };
            let (target, inner) = self.field_within(fields, name, depth)?;
            Some((target, outer.offset.zip(inner).map(|(outer, inner)| outer + inner)))
        })
    }

    /// The names of fields, those of structures without a name among them.
    pub(super) fn names(&self, fields: &[Field]) -> Vec<String> {
        let mut names = Vec::new();
        for field in fields {
            match self.resolve(field.target).map(|resolved| resolved.kind) {
                // One level is all that people write.
                Some(Type::Structure { fields, .. }) if field.name.is_empty() => {
                    names.extend(fields.iter().map(|field| field.name.clone()).filter(|name| !name.is_empty()));
                }
                _ => names.push(field.name.clone()),
            }
        }
        names
    }

    /// What to call a type in a message.
    pub(super) fn in_words(&self, id: u32) -> String {
        let bytes = |size: usize| if size == 1 { "1 byte".to_owned() } else { format!("{size} bytes") };
        match self.resolve(id).map(|resolved| resolved.kind) {
            Some(Type::Integer { name, size, .. }) => format!("`{name}`, an integer of {}", bytes(*size)),
            Some(Type::Structure { name, size, .. }) if name.is_empty() => format!("a structure of {}", bytes(*size)),
            Some(Type::Structure { name, size, .. }) => format!("`struct {name}`, of {}", bytes(*size)),
            Some(Type::Enumeration { name, .. }) if name.is_empty() => "an enumeration".to_owned(),
            Some(Type::Enumeration { name, .. }) => format!("`enum {name}`"),
            Some(Type::Array { count, .. }) => format!("an array of {count}, {}", bytes(self.size(id).unwrap_or(0))),
            _ => "neither integer, enumeration, array nor structure".to_owned(),
        }
    }
}

/// A type, and how many bytes describe it.
fn parse_type(strings: &[u8], bytes: &[u8]) -> Option<(Type, usize)> {
    let (info, word) = (u32_at(bytes, 4)?, u32_at(bytes, 8)?);
    let name = text_at(strings, u32_at(bytes, 0)?)?.to_owned();
    let (kind, members, flag) = (info >> 24 & 0x1f, info & 0xffff, info >> 31 == 1);
    let more = bytes.get(12..)?;
    let target = u32::try_from(word).ok()?;
    Some(match kind {
        1 => {
            let encoding = u32_at(more, 0)?;
            let (is_signed, has_character) = (encoding >> 24 & 1 == 1, encoding >> 24 & 2 == 2);
            // clang marks no `char` as one.
            let is_character = has_character || name == "char";
            (Type::Integer { size: word, is_signed, is_character, name }, 16)
        }
        3 => {
            let (element, count) = (u32::try_from(u32_at(more, 0)?).ok()?, u32_at(more, 8)?);
            (Type::Array { element, count }, 24)
        }
        4 | 5 => {
            let fields = (0..members).map(|index| parse_field(strings, more.get(12 * index..)?, flag));
            (Type::Structure { size: word, name, fields: fields.collect::<Option<_>>()? }, 12 + 12 * members)
        }
        6 => {
            let value = |index: usize| {
                let number = i32_at(more, 8 * index + 4)?;
                let value = if flag { i64::from(number) } else { i64::from(number.cast_unsigned()) };
                Some((text_at(strings, u32_at(more, 8 * index)?)?.to_owned(), value))
            };
            let values = (0..members).map(value).collect::<Option<_>>()?;
            (Type::Enumeration { size: word, is_signed: flag, name, values }, 12 + 8 * members)
        }
        19 => {
            let value = |index: usize| {
                let (low, high) = (u32_at(more, 12 * index + 4)?, i32_at(more, 12 * index + 8)?);
                Some((text_at(strings, u32_at(more, 12 * index)?)?.to_owned(), i64::from(high) << 32 | low as i64))
            };
            let values = (0..members).map(value).collect::<Option<_>>()?;
            (Type::Enumeration { size: word, is_signed: flag, name, values }, 12 + 12 * members)
        }
        8..=11 | 18 => (Type::Alias { name, target }, 12),
        14 => (Type::Variable { name, target }, 16),
        // Pointer, forward, function, floating-point number.
        2 | 7 | 12 | 16 => (Type::Other, 12),
        // Prototype.
        13 => (Type::Other, 12 + 8 * members),
        // Section.
        15 => (Type::Other, 12 + 12 * members),
        // Declaration tag.
        17 => (Type::Other, 16),
        _ => return None,
    })
}

fn parse_field(strings: &[u8], bytes: &[u8], has_bit_fields: bool) -> Option<Field> {
    let (name, target, place) = (text_at(strings, u32_at(bytes, 0)?)?, u32_at(bytes, 4)?, u32_at(bytes, 8)?);
    let (bits, width) = if has_bit_fields { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
    let offset = (width == 0 && bits % 8 == 0).then_some(bits / 8);
    Some(Field { name: name.to_owned(), target: u32::try_from(target).ok()?, offset })
}
