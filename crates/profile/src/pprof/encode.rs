//! Rows in, bytes of a profile out.

use std::collections::HashMap;

use crate::batch::{Function, Line, Mapping, NO_MAPPING, StringId};
use crate::wire::{BYTES, VARINT};

/// A label of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// What it is called; never the empty string.
    pub key: StringId,
    /// What it says.
    pub value: LabelValue,
}

/// The value of a [`Label`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelValue {
    /// Text; the empty text reads as absent.
    Text(StringId),
    /// A whole number.
    Integer {
        /// The number; 0 without a unit reads as absent.
        value: i64,
        /// Its unit, may be the empty string.
        unit: StringId,
    },
}

/// Builds a pprof profile row by row, in any order as long as a row comes before those that refer to it.
///
/// Ids are those of the builder: what [`string`](Self::string), [`mapping`](Self::mapping),
/// [`function`](Self::function) and [`location`](Self::location) returned. Only strings are unified. Rows are encoded
/// as they come, so that the builder holds little more than the message.
#[derive(Debug, Default)]
pub struct ProfileBuilder {
    strings: HashMap<Box<str>, StringId>,
    string_table: Vec<u8>,
    sample_types: Vec<u8>,
    samples: Vec<u8>,
    mappings: Vec<MappingRow>,
    locations: Vec<u8>,
    location_count: u32,
    functions: Vec<u8>,
    function_count: u32,
    comments: Vec<u8>,
    period_type: Option<(StringId, StringId)>,
    period: i64,
    time_ns: i64,
    duration_ns: i64,
    default_sample_type: StringId,
    message: Vec<u8>,
    packed: Vec<u8>,
}

#[derive(Debug)]
struct MappingRow {
    mapping: Mapping,
    has_locations: bool,
    /// Whether all its locations have lines: tools then look nothing up themselves.
    is_symbolized: bool,
}

impl ProfileBuilder {
    /// An empty profile.
    pub fn new() -> Self {
        Self::default()
    }

    /// The id of a string; the empty string is 0.
    pub fn string(&mut self, text: &str) -> StringId {
        if text.is_empty() {
            return 0;
        }
        if let Some(&id) = self.strings.get(text) {
            return id;
        }
        let id = self.strings.len() as StringId + 1;
        self.strings.insert(text.into(), id);
        put_bytes(&mut self.string_table, 6, text.as_bytes());
        id
    }

    /// Adds a type of value; each sample has one value for each, in this order.
    pub fn sample_type(&mut self, sample_type: &str, unit: &str) {
        let value_type = (self.string(sample_type), self.string(unit));
        put_value_type(&mut self.sample_types, 1, value_type, &mut self.message);
    }

    /// Sets which sample type tools show first.
    pub fn default_sample_type(&mut self, sample_type: &str) {
        self.default_sample_type = self.string(sample_type);
    }

    /// Sets what the period is counted in, and the number of these between samples.
    pub fn period(&mut self, period_type: &str, unit: &str, period: i64) {
        self.period_type = Some((self.string(period_type), self.string(unit)));
        self.period = period;
    }

    /// Sets the Unix time of the profile and the time it covers (0 = a state at one instant).
    pub fn time(&mut self, time_ns: i64, duration_ns: i64) {
        self.time_ns = time_ns;
        self.duration_ns = duration_ns;
    }

    /// Adds a remark for people.
    pub fn comment(&mut self, text: &str) {
        let id = self.string(text);
        put_varint(&mut self.comments, id.into());
    }

    /// Adds a mapping and returns its id.
    pub fn mapping(&mut self, mapping: &Mapping) -> u32 {
        self.mappings.push(MappingRow { mapping: *mapping, has_locations: false, is_symbolized: true });
        (self.mappings.len() - 1) as u32
    }

    /// Adds a function and returns its id.
    pub fn function(&mut self, function: &Function) -> u32 {
        let id = self.function_count;
        self.function_count += 1;
        self.message.clear();
        put_field(&mut self.message, 1, u64::from(id) + 1);
        put_field(&mut self.message, 2, function.name.into());
        put_field(&mut self.message, 3, function.system_name.into());
        put_field(&mut self.message, 4, function.filename.into());
        put_field(&mut self.message, 5, function.start_line as u64);
        put_bytes(&mut self.functions, 5, &self.message);
        id
    }

    /// Adds a location in a mapping (or [`NO_MAPPING`]) and returns its id. Lines run from the innermost inlined function outwards.
    pub fn location(&mut self, mapping: u32, address: u64, lines: &[Line]) -> u32 {
        let id = self.location_count;
        self.location_count += 1;
        self.message.clear();
        put_field(&mut self.message, 1, u64::from(id) + 1);
        if mapping != NO_MAPPING {
            put_field(&mut self.message, 2, u64::from(mapping) + 1);
        }
        put_field(&mut self.message, 3, address);
        for line in lines {
            self.packed.clear();
            put_field(&mut self.packed, 1, u64::from(line.function) + 1);
            put_field(&mut self.packed, 2, line.line as u64);
            put_field(&mut self.packed, 3, line.column as u64);
            put_bytes(&mut self.message, 4, &self.packed);
        }
        put_bytes(&mut self.locations, 4, &self.message);
        if let Some(row) = self.mappings.get_mut(mapping as usize) {
            row.has_locations = true;
            row.is_symbolized &= !lines.is_empty();
        }
        id
    }

    /// Adds a sample: the ids of its locations, leaf first, and one value per sample type.
    pub fn sample(&mut self, stacktrace: &[u32], values: &[i64], labels: &[Label]) {
        self.message.clear();
        if !stacktrace.is_empty() {
            self.packed.clear();
            stacktrace.iter().for_each(|&id| put_varint(&mut self.packed, u64::from(id) + 1));
            put_bytes(&mut self.message, 1, &self.packed);
        }
        self.packed.clear();
        values.iter().for_each(|&value| put_varint(&mut self.packed, value as u64));
        put_bytes(&mut self.message, 2, &self.packed);
        for label in labels {
            self.packed.clear();
            put_field(&mut self.packed, 1, label.key.into());
            match label.value {
                LabelValue::Text(text) => put_field(&mut self.packed, 2, text.into()),
                LabelValue::Integer { value, unit } => {
                    put_field(&mut self.packed, 3, value as u64);
                    put_field(&mut self.packed, 4, unit.into());
                }
            }
            put_bytes(&mut self.message, 3, &self.packed);
        }
        put_bytes(&mut self.samples, 2, &self.message);
    }

    /// The message, not compressed; tools expect it [gzipped](crate::compression::gzip).
    pub fn encode(mut self) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.sample_types);
        out.reserve_exact(
            self.samples.len() + self.locations.len() + self.functions.len() + self.string_table.len() + 1024,
        );
        out.append(&mut self.samples);
        for (index, row) in self.mappings.iter().enumerate() {
            self.message.clear();
            put_mapping(&mut self.message, index, row);
            put_bytes(&mut out, 3, &self.message);
        }
        out.append(&mut self.locations);
        out.append(&mut self.functions);
        put_bytes(&mut out, 6, b"");
        out.append(&mut self.string_table);
        put_field(&mut out, 9, self.time_ns as u64);
        put_field(&mut out, 10, self.duration_ns as u64);
        if let Some(period_type) = self.period_type {
            put_value_type(&mut out, 11, period_type, &mut self.message);
        }
        put_field(&mut out, 12, self.period as u64);
        if !self.comments.is_empty() {
            put_bytes(&mut out, 13, &self.comments);
        }
        put_field(&mut out, 14, self.default_sample_type.into());
        out
    }
}

fn put_mapping(out: &mut Vec<u8>, index: usize, row: &MappingRow) {
    let MappingRow { mapping, has_locations, is_symbolized } = row;
    put_field(out, 1, index as u64 + 1);
    put_field(out, 2, mapping.start);
    put_field(out, 3, mapping.limit);
    put_field(out, 4, mapping.offset);
    put_field(out, 5, mapping.file.into());
    put_field(out, 6, mapping.build_id.into());
    // has_functions, has_filenames, has_line_numbers, has_inline_frames
    for number in 7..=10 {
        put_field(out, number, (*has_locations && *is_symbolized).into());
    }
}

fn put_value_type(out: &mut Vec<u8>, number: u32, value_type: (StringId, StringId), message: &mut Vec<u8>) {
    message.clear();
    put_field(message, 1, value_type.0.into());
    put_field(message, 2, value_type.1.into());
    put_bytes(out, number, message);
}

/// A number, left out if it is 0.
fn put_field(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(number << 3 | u32::from(VARINT)));
        put_varint(out, value);
    }
}

pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number << 3 | u32::from(BYTES)));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
