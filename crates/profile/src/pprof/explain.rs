//! Says what is wrong with a profile of which only *that* something is wrong is known.
//!
//! [`decode`](super::decode()) checks references by their maximum and value counts by a flag. When one does not fit, this
//! walks the message by its schema until it meets the first such field. It runs at most once per refused profile.

use super::DecodeError;
use crate::wire::{BYTES, MalformedReason, Reader, VARINT};

/// Rows of the tables that references point into.
pub(super) struct Counts {
    pub(super) strings: usize,
    pub(super) mappings: usize,
    pub(super) functions: usize,
    pub(super) locations: usize,
    pub(super) sample_types: usize,
}

impl Counts {
    /// For a profile whose ids are known to be good, though they do not count rows.
    pub(super) fn with_any_id(self) -> Self {
        Self { mappings: usize::MAX, functions: usize::MAX, locations: usize::MAX, ..self }
    }
}

/// What a field holds, as far as references go.
enum Holds {
    String,
    /// A string that must not be the empty one.
    Key,
    Mapping,
    Function,
    /// A location, never 0.
    Location,
    /// A value of a sample.
    Value,
    Message(&'static [Field]),
}

struct Field {
    number: u32,
    name: &'static str,
    is_repeated: bool,
    holds: Holds,
}

const fn one(number: u32, name: &'static str, holds: Holds) -> Field {
    Field { number, name, is_repeated: false, holds }
}

const fn many(number: u32, name: &'static str, holds: Holds) -> Field {
    Field { number, name, is_repeated: true, holds }
}

const VALUE_TYPE: &[Field] = &[one(1, "type", Holds::String), one(2, "unit", Holds::String)];
const LABEL: &[Field] =
    &[one(1, "key", Holds::Key), one(2, "str", Holds::String), one(4, "num_unit", Holds::String)];
const SAMPLE: &[Field] = &[
    many(1, "location_id", Holds::Location),
    many(2, "value", Holds::Value),
    many(3, "label", Holds::Message(LABEL)),
];
const MAPPING: &[Field] = &[one(5, "filename", Holds::String), one(6, "build_id", Holds::String)];
const LINE: &[Field] = &[one(1, "function_id", Holds::Function)];
const LOCATION: &[Field] = &[one(2, "mapping_id", Holds::Mapping), many(4, "line", Holds::Message(LINE))];
const FUNCTION: &[Field] =
    &[one(2, "name", Holds::String), one(3, "system_name", Holds::String), one(4, "filename", Holds::String)];
const PROFILE: &[Field] = &[
    many(1, "sample_type", Holds::Message(VALUE_TYPE)),
    many(2, "sample", Holds::Message(SAMPLE)),
    many(3, "mapping", Holds::Message(MAPPING)),
    many(4, "location", Holds::Message(LOCATION)),
    many(5, "function", Holds::Message(FUNCTION)),
    one(7, "drop_frames", Holds::String),
    one(8, "keep_frames", Holds::String),
    one(11, "period_type", Holds::Message(VALUE_TYPE)),
    many(13, "comment", Holds::String),
    one(14, "default_sample_type", Holds::String),
    one(15, "doc_url", Holds::String),
];

/// The first field that refers to nothing, or the first sample whose values do not match the sample types.
#[cold]
pub(super) fn explain(bytes: &[u8], counts: &Counts) -> DecodeError {
    let mut walk = Walk { counts, path: Vec::new() };
    let found = walk.message(Reader::new(bytes), PROFILE).err();
    found.unwrap_or_else(|| {
        // Only reached if the pass and this walk disagree about what is sound.
        DecodeError::Malformed {
            field: "profile".to_owned(),
            reason: MalformedReason::WrongWireType,
            offset: 0,
        }
    })
}

struct Walk<'a> {
    counts: &'a Counts,
    /// Fields from the outside in, repeated ones with their index.
    path: Vec<(&'static str, Option<usize>)>,
}

impl Walk<'_> {
    /// At most three deep, as the schema is.
    fn message(&mut self, mut reader: Reader<'_>, fields: &'static [Field]) -> Result<(), DecodeError> {
        let start = reader.offset();
        let mut seen = vec![0usize; fields.len()];
        // A label without the field has key 0 too.
        let mut has_key = false;
        while !reader.is_done() {
            let offset = reader.offset();
            let (tag, value) = reader.field().map_err(|fault| DecodeError::malformed(self.path(), fault))?;
            let known = fields.iter().zip(&mut seen).find(|(field, _)| field.number == tag >> 3);
            let Some((field, seen)) = known else {
                reader.skip((tag, value)).map_err(|fault| DecodeError::malformed(self.path(), fault))?;
                continue;
            };
            has_key |= matches!(field.holds, Holds::Key);
            let inner = match (tag & 7) as u8 {
                VARINT => {
                    self.reference(field, seen, value, offset)?;
                    continue;
                }
                BYTES => reader.body(value),
                _ => reader.skip((tag, value)).map(|()| Reader::new(&[])),
            };
            let inner = inner.map_err(|fault| DecodeError::malformed(self.path(), fault))?;
            self.body(field, seen, inner)?;
        }
        if fields.iter().any(|field| matches!(field.holds, Holds::Key)) && !has_key {
            self.path.push(("key", None));
            return Err(DecodeError::Zero { field: self.path(), offset: start });
        }
        let values = fields.iter().zip(&seen).find(|(field, _)| matches!(field.holds, Holds::Value));
        if let Some((_, &found)) = values
            && (found != self.counts.sample_types || found == 0)
        {
            let expected = self.counts.sample_types;
            return Err(DecodeError::ValueCount { field: self.path(), found, expected, offset: start });
        }
        Ok(())
    }

    /// A message, or packed numbers.
    fn body(
        &mut self,
        field: &'static Field,
        seen: &mut usize,
        mut inner: Reader<'_>,
    ) -> Result<(), DecodeError> {
        match field.holds {
            Holds::Message(fields) => {
                self.path.push((field.name, field.is_repeated.then_some(*seen)));
                *seen += 1;
                self.message(inner, fields)?;
                self.path.pop();
            }
            _ => {
                while !inner.is_done() {
                    let offset = inner.offset();
                    let value = inner.varint().map_err(|fault| DecodeError::malformed(self.path(), fault))?;
                    self.reference(field, seen, value, offset)?;
                }
            }
        }
        Ok(())
    }

    fn reference(
        &mut self,
        field: &'static Field,
        seen: &mut usize,
        value: u64,
        offset: usize,
    ) -> Result<(), DecodeError> {
        self.path.push((field.name, field.is_repeated.then_some(*seen)));
        *seen += 1;
        let counts = self.counts;
        // Strings count from 0, ids from 1 with 0 for none.
        let (count, is_in_range, table) = match field.holds {
            Holds::String | Holds::Key => (counts.strings, value < counts.strings as u64, "strings"),
            Holds::Mapping => (counts.mappings, value <= counts.mappings as u64, "mappings"),
            Holds::Function => (counts.functions, value <= counts.functions as u64, "functions"),
            Holds::Location => (counts.locations, value <= counts.locations as u64, "locations"),
            Holds::Value | Holds::Message(_) => (0, true, ""),
        };
        if !is_in_range {
            let is_string = matches!(field.holds, Holds::String | Holds::Key);
            let found = if is_string { i128::from(value as i64) } else { i128::from(value) };
            return Err(DecodeError::OutOfRange { field: self.path(), found, count, table, offset });
        }
        if value == 0 && matches!(field.holds, Holds::Key | Holds::Location) {
            return Err(DecodeError::Zero { field: self.path(), offset });
        }
        self.path.pop();
        Ok(())
    }

    fn path(&self) -> String {
        let parts = self.path.iter().map(|(name, index)| match index {
            Some(index) => format!("{name}[{index}]"),
            None => (*name).to_owned(),
        });
        let path = parts.collect::<Vec<_>>().join(".");
        if path.is_empty() { "profile".to_owned() } else { path }
    }
}
