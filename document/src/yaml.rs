//! YAML: the parser's events as a value and its places.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::{Map, Number, Value};

use crate::error::{Language, ParseError, Reason};
use crate::place::{Inner, Node, Place};

/// Levels of lists and mappings at most. A document of ours has a handful, and reading takes stack for each.
const DEPTH: usize = 64;

/// Bytes of memory that the aliases of a document may stand for. Nine lists of nine aliases each would be gigabytes.
const EXPANSION: usize = 16 << 20;

/// Bytes that a value takes besides its text, with its places.
const VALUE: usize = 160;

pub(crate) fn parse(text: &str) -> Result<(Value, Node), ParseError> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), expanded: 0 };
    let mut found = None;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(found.unwrap_or_default()),
            (Event::DocumentStart(_), place) if found.is_some() => return Err(error(place, Reason::SecondDocument)),
            (Event::DocumentStart(_), _) => {
                let event = reader.next()?;
                let Read { value, node, .. } = reader.value(event, 0)?;
                found = Some((value, node));
            }
            _ => {}
        }
    }
}

/// A value that was read.
#[derive(Clone)]
struct Read {
    value: Value,
    node: Node,
    /// Bytes of memory that it takes.
    weight: usize,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// Anchored values that are complete.
    anchors: BTreeMap<usize, Read>,
    /// What anchors and aliases copied until now, in bytes.
    expanded: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), ParseError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place(&span.start))),
            Some(Err(failure)) => Err(error(place(failure.marker()), Reason::Syntax(failure.info().to_owned()))),
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    /// Reads the value that begins with `event`, `depth` levels below the document.
    fn value(&mut self, (event, place): (Event<'a>, Place), depth: usize) -> Result<Read, ParseError> {
        if depth > DEPTH {
            return Err(error(place, Reason::Depth(DEPTH)));
        }
        let (anchor, read) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref()).map_err(|reason| error(place, reason))?;
                let node = Node { place, inner: Inner::Scalar };
                (anchor, Read { value, node, weight: VALUE + text.len() })
            }
            Event::SequenceStart(anchor, tag) => {
                untagged(tag.as_deref(), "seq").map_err(|reason| error(place, reason))?;
                (anchor, self.list(place, depth)?)
            }
            Event::MappingStart(anchor, tag) => {
                untagged(tag.as_deref(), "map").map_err(|reason| error(place, reason))?;
                (anchor, self.mapping(place, depth)?)
            }
            Event::Alias(anchor) => return self.alias(anchor, place),
            _ => return Err(error(place, Reason::Syntax("a value is missing".to_owned()))),
        };
        // The parser counts anchors from 1.
        if anchor > 0 {
            self.expand(read.weight, place)?;
            self.anchors.insert(anchor, read.clone());
        }
        Ok(read)
    }

    /// Counts a copy of a value.
    fn expand(&mut self, weight: usize, place: Place) -> Result<(), ParseError> {
        self.expanded = self.expanded.saturating_add(weight);
        if self.expanded > EXPANSION { Err(error(place, Reason::Expansion(EXPANSION))) } else { Ok(()) }
    }

    fn list(&mut self, place: Place, depth: usize) -> Result<Read, ParseError> {
        let (mut list, mut nodes, mut weight) = (Vec::new(), Vec::new(), VALUE);
        loop {
            let event = self.next()?;
            if event.0 == Event::SequenceEnd {
                let node = Node { place, inner: Inner::List(nodes) };
                return Ok(Read { value: Value::Array(list), node, weight });
            }
            let read = self.value(event, depth + 1)?;
            list.push(read.value);
            nodes.push(read.node);
            weight += read.weight;
        }
    }

    fn mapping(&mut self, place: Place, depth: usize) -> Result<Read, ParseError> {
        let (mut object, mut members, mut weight) = (Map::new(), BTreeMap::<String, (Place, Node)>::new(), VALUE);
        loop {
            let (event, at) = self.next()?;
            let key = match event {
                Event::MappingEnd => {
                    let node = Node { place, inner: Inner::Members(members) };
                    return Ok(Read { value: Value::Object(object), node, weight });
                }
                Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => {
                    return Err(error(at, Reason::MergeKey));
                }
                Event::Scalar(text, ..) => text.into_owned(),
                Event::Alias(anchor) => match self.alias(anchor, at)?.value {
                    Value::String(text) => text,
                    _ => return Err(error(at, Reason::Key)),
                },
                _ => return Err(error(at, Reason::Key)),
            };
            if let Some((first, _)) = members.get(&key) {
                return Err(error(at, Reason::Twice { key, first_line: Some(first.line) }));
            }
            let event = self.next()?;
            let read = self.value(event, depth + 1)?;
            weight += key.len() + read.weight;
            object.insert(key.clone(), read.value);
            members.insert(key, (at, read.node));
        }
    }

    /// What an alias stands for. A copy of an anchored value keeps the place where it was written.
    fn alias(&mut self, anchor: usize, place: Place) -> Result<Read, ParseError> {
        // The weight first: a copy that is too large is never made.
        let weight = self.anchors.get(&anchor).ok_or_else(|| error(place, Reason::Alias))?.weight;
        self.expand(weight, place)?;
        Ok(self.anchors[&anchor].clone())
    }
}

fn error(place: Place, reason: Reason) -> ParseError {
    ParseError { language: Language::Yaml, line: place.line, column: place.column, reason }
}

fn place(marker: &Marker) -> Place {
    Place { document: 0, line: marker.line(), column: marker.col() + 1 }
}

/// Refuses tags other than YAML's own for this kind of collection.
fn untagged(tag: Option<&Tag>, own: &str) -> Result<(), Reason> {
    match tag {
        Some(tag) if !(tag.is_yaml_core_schema() && tag.suffix == own) => Err(Reason::Tag(tag.to_string())),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, Reason> {
    match tag {
        None if style == ScalarStyle::Plain => Ok(plain(text)),
        None => Ok(text.into()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(text.into()),
        Some(tag) => Err(Reason::Tag(tag.to_string())),
    }
}

/// A word without quotes: the core schema's (YAML 1.2.2 section 10.3.2), of whose numbers only those that JSON has.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => serde_json::from_str::<Number>(text).map_or_else(|_| text.into(), Value::Number),
    }
}
