//! Pprof: its messages, and a builder for profiles whose totals a test knows.

use std::{collections::HashMap, io::Write};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

/// A profile as `profile.proto` has it. Strings are indexes into `string_table`, whose first entry is empty.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    #[prost(int64, tag = "8")]
    pub keep_frames: i64,
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub period: i64,
    #[prost(int64, repeated, tag = "13")]
    pub comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// A type and its unit.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct ValueType {
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// A stacktrace, leaf first, with its values.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A label of a sample.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Label {
    #[prost(int64, tag = "1")]
    pub key: i64,
    #[prost(int64, tag = "2")]
    pub str: i64,
    #[prost(int64, tag = "3")]
    pub num: i64,
    #[prost(int64, tag = "4")]
    pub num_unit: i64,
}

/// A mapped object file.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Mapping {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    #[prost(int64, tag = "5")]
    pub filename: i64,
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// An address and the lines it stands for, innermost inlined function first.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Location {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub address: u64,
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
    #[prost(bool, tag = "5")]
    pub is_folded: bool,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Line {
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    #[prost(int64, tag = "2")]
    pub line: i64,
    #[prost(int64, tag = "3")]
    pub column: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "the fields of profile.proto, by its names")]
pub struct Function {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(int64, tag = "2")]
    pub name: i64,
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    #[prost(int64, tag = "4")]
    pub filename: i64,
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}

impl Profile {
    /// The message, gzipped as Go's runtime sends it.
    pub fn gzip(&self) -> Vec<u8> {
        gzip(&self.encode_to_vec())
    }
}

/// Compresses with gzip at its default level.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 3), Compression::default());
    match encoder.write_all(bytes).and_then(|()| encoder.finish()) {
        Ok(compressed) => compressed,
        Err(_) => unreachable!("writing to memory does not fail"),
    }
}

/// Strings of a profile by content.
#[derive(Debug, Clone)]
pub(crate) struct StringTable {
    ids: HashMap<String, i64>,
    pub(crate) strings: Vec<String>,
}

impl StringTable {
    pub(crate) fn new() -> Self {
        Self { ids: HashMap::from([(String::new(), 0)]), strings: vec![String::new()] }
    }

    pub(crate) fn id(&mut self, text: &str) -> i64 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.strings.len() as i64;
        self.strings.push(text.to_owned());
        self.ids.insert(text.to_owned(), id);
        id
    }
}

/// Builds a small profile from function names. Every function is one location, in one mapping, at an address of its own.
///
/// ```
/// use decima_testkit::pprof::ProfileBuilder;
/// let profile = ProfileBuilder::cpu()
///     .at(1_700_000_000_000_000_000)
///     .sample(&["leaf", "middle", "main"], &[30])
///     .sample(&["main"], &[12])
///     .build();
/// assert_eq!(profile.sample.len(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct ProfileBuilder {
    profile: Profile,
    strings: StringTable,
    locations: HashMap<String, u64>,
}

impl ProfileBuilder {
    /// A profile with these sample types and period type, each (type, unit).
    pub fn new(sample_types: &[(&str, &str)], period_type: (&str, &str), period: i64) -> Self {
        let mut strings = StringTable::new();
        let mut value_type =
            |(kind, unit): (&str, &str)| ValueType { r#type: strings.id(kind), unit: strings.id(unit) };
        let mut profile = Profile {
            sample_type: sample_types.iter().map(|&pair| value_type(pair)).collect(),
            period_type: Some(value_type(period_type)),
            period,
            ..Profile::default()
        };
        profile.mapping.push(Mapping {
            id: 1,
            memory_start: 0x40_0000,
            memory_limit: 0x80_0000,
            filename: strings.id("/app/program"),
            build_id: strings.id("0123456789abcdef0123456789abcdef01234567"),
            has_functions: true,
            ..Mapping::default()
        });
        Self { profile, strings, locations: HashMap::new() }
    }

    /// CPU time over 10 s, a sample every 10 ms.
    pub fn cpu() -> Self {
        Self::new(&[("cpu", "nanoseconds")], ("cpu", "nanoseconds"), 10_000_000).lasting(10_000_000_000)
    }

    /// Memory as Go reports it; an instant's state.
    pub fn memory() -> Self {
        let types = [
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ];
        Self::new(&types, ("space", "bytes"), 524_288)
    }

    /// Sets the time at which it was taken; without, the receiver's clock counts.
    #[must_use]
    pub fn at(mut self, time_ns: i64) -> Self {
        self.profile.time_nanos = time_ns;
        self
    }

    /// Sets how long it was taken; 0 for an instant's state.
    #[must_use]
    pub fn lasting(mut self, duration_ns: i64) -> Self {
        self.profile.duration_nanos = duration_ns;
        self
    }

    /// Adds a sample: functions leaf first, one value per sample type.
    #[must_use]
    pub fn sample(self, functions: &[&str], values: &[i64]) -> Self {
        self.labelled_sample(functions, values, &[])
    }

    /// Adds a sample with text labels.
    #[must_use]
    pub fn labelled_sample(mut self, functions: &[&str], values: &[i64], labels: &[(&str, &str)]) -> Self {
        let location_id = functions.iter().map(|name| self.location(name)).collect();
        let label = labels
            .iter()
            .map(|(key, value)| Label {
                key: self.strings.id(key),
                str: self.strings.id(value),
                ..Label::default()
            })
            .collect();
        self.profile.sample.push(Sample { location_id, value: values.to_vec(), label });
        self
    }

    fn location(&mut self, name: &str) -> u64 {
        if let Some(&id) = self.locations.get(name) {
            return id;
        }
        let id = self.profile.location.len() as u64 + 1;
        let text = self.strings.id(name);
        let filename = self.strings.id("/src/program.rs");
        self.profile.function.push(Function {
            id,
            name: text,
            system_name: text,
            filename,
            start_line: 10 * id as i64,
        });
        let line = vec![Line { function_id: id, line: 10 * id as i64 + 3, column: 0 }];
        self.profile.location.push(Location {
            id,
            mapping_id: 1,
            address: 0x40_0000 + 0x10 * id,
            line,
            is_folded: false,
        });
        self.locations.insert(name.to_owned(), id);
        id
    }

    /// The message.
    pub fn build(mut self) -> Profile {
        self.profile.string_table = self.strings.strings;
        self.profile
    }

    /// The message, gzipped.
    pub fn gzip(self) -> Vec<u8> {
        self.build().gzip()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_built_profile_reads_back() {
        let built = ProfileBuilder::cpu()
            .at(5)
            .labelled_sample(&["a", "b"], &[7], &[("k", "v")])
            .sample(&["b"], &[1])
            .build();
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(built.gzip().as_slice()).read_to_end(&mut bytes).unwrap();
        let read = Profile::decode(bytes.as_slice()).unwrap();
        assert_eq!(read, built);
        assert_eq!(read.sample[0].location_id, [1, 2]);
        assert_eq!(read.sample[1].location_id, [2]);
        assert_eq!(read.string_table[read.function[1].name as usize], "b");
        assert_eq!(read.string_table[0], "");
    }
}
