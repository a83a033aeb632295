//! One request's samples, as columns over shared tables.
//!
//! Codecs build a [`SampleBatch`], the store takes it. Everything refers to everything by `u32` index within the batch:
//!
//! ```text
//! string 0 = "" ;  mapping, function: rows of string ids ;  location = mapping?, address, frame type, lines
//! stacktrace = location ids, leaf first ;  sample = stacktrace id, time, value, attributes
//! ```
//!
//! Invariants a codec guarantees (the store indexes by them without checking again): every id is in range; strings are
//! valid UTF-8; lines of a location run from the innermost inlined function to the function that holds the code;
//! all columns of one [`SeriesSamples`] have the same length; series label sets are sorted by name, unique, and have no
//! empty values; `times_ns` holds either one time for all samples or one each.

use crate::ProfileType;

/// Index of a string in [`Strings`]; 0 is the empty string.
pub type StringId = u32;

/// Strings of a batch, kept as spans of one buffer so that a decoder need not copy them.
#[derive(Debug, Clone, Default)]
pub struct Strings {
    buffer: Vec<u8>,
    spans: Vec<(u32, u32)>,
}

impl Strings {
    /// Starts from the decoded message itself; spans will point into it. String 0 is the empty string.
    pub fn over(buffer: Vec<u8>) -> Self {
        Self { buffer, spans: vec![(0, 0)] }
    }

    /// Starts from the decoded message and the spans of all its strings, the first of which is the empty string; `repaired`
    /// replaces some of them. All other spans must be valid UTF-8.
    pub(crate) fn over_spans(
        buffer: Vec<u8>,
        mut spans: Vec<(u32, u32)>,
        repaired: Vec<(usize, String)>,
    ) -> Self {
        if spans.is_empty() {
            spans.push((0, 0));
        }
        let mut strings = Self { buffer, spans };
        for (index, text) in repaired {
            let id = strings.push(&text);
            if let (Some(span), Some(target)) = (strings.spans.pop(), strings.spans.get_mut(index)) {
                debug_assert!(index < id as usize);
                *target = span;
            }
        }
        strings
    }

    /// Makes room for so many more strings.
    pub fn reserve(&mut self, count: usize) {
        self.spans.reserve(count);
    }

    /// Nothing yet, with room for so many bytes of text.
    pub fn with_room(text_bytes: usize) -> Self {
        Self { buffer: Vec::with_capacity(text_bytes), spans: Vec::new() }
    }

    /// The bytes that spans point into.
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Adds the string at `start..start + len` of the buffer, which must be valid UTF-8 (the codec has checked), and
    /// returns its id. Repeated contents get ids of their own.
    pub fn push_span(&mut self, start: u32, len: u32) -> StringId {
        debug_assert!(std::str::from_utf8(&self.buffer[start as usize..(start + len) as usize]).is_ok());
        self.spans.push((start, len));
        (self.spans.len() - 1) as StringId
    }

    /// Copies `text` to the end of the buffer and returns its id. The buffer stays below 4 GiB by the message limits.
    pub fn push(&mut self, text: &str) -> StringId {
        if self.spans.is_empty() {
            self.spans.push((0, 0));
        }
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(text.as_bytes());
        self.spans.push((start, text.len() as u32));
        (self.spans.len() - 1) as StringId
    }

    /// The bytes of a string.
    pub fn bytes(&self, id: StringId) -> &[u8] {
        match self.spans.get(id as usize) {
            Some(&(start, len)) => &self.buffer[start as usize..(start + len) as usize],
            None => &[],
        }
    }

    /// The text of a string.
    pub fn get(&self, id: StringId) -> &str {
        std::str::from_utf8(self.bytes(id)).unwrap_or_default()
    }

    /// Number of strings, the empty one included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether not even the empty string is there.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// An object file mapped into the profiled process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mapping {
    /// First address of the mapping.
    pub start: u64,
    /// One past its last address.
    pub limit: u64,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Path of the file.
    pub file: StringId,
    /// Build ID of the file, in hex as the sender gave it; empty if unknown.
    pub build_id: StringId,
}

/// A function of the profiled program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Function {
    /// Name for people.
    pub name: StringId,
    /// Name as the linker or runtime knows it (mangled).
    pub system_name: StringId,
    /// Source file.
    pub filename: StringId,
    /// First line of the function; 0 if unknown.
    pub start_line: i64,
}

/// One line of a location: a function and the position inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Line {
    /// Index of the function.
    pub function: u32,
    /// Source line; 0 if unknown.
    pub line: i64,
    /// Source column; 0 if unknown.
    pub column: i64,
}

/// Marks a location without a mapping.
pub const NO_MAPPING: u32 = u32::MAX;

/// A place in a program: an address in a mapping, and the lines it expands to (none if not symbolised).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Location {
    /// Index of the mapping or [`NO_MAPPING`].
    pub mapping: u32,
    /// Address as the sender gave it; 0 for interpreted frames.
    pub address: u64,
    /// Kind of frame (`native`, `kernel`, `python` …); empty if the sender does not say.
    pub frame_type: StringId,
    /// First of its lines in [`SampleBatch::lines`].
    pub first_line: u32,
    /// Number of its lines, innermost inlined function first.
    pub line_count: u32,
}

/// An attribute column of one series: values of one sample label.
#[derive(Debug, Clone)]
pub struct Attribute {
    /// Name of the attribute, already sanitised to `[a-zA-Z_][a-zA-Z0-9_]*`.
    pub name: StringId,
    /// One value a sample.
    pub values: AttributeValues,
}

/// The values of an attribute column.
#[derive(Debug, Clone)]
pub enum AttributeValues {
    /// Text; string 0 (empty) = absent.
    Text(Vec<StringId>),
    /// Whole numbers with their unit; `None` = absent.
    Integer {
        /// Unit of the numbers, may be empty.
        unit: StringId,
        /// One number a sample.
        values: Vec<Option<i64>>,
    },
}

/// Samples of one series in this request.
#[derive(Debug, Clone)]
pub struct SeriesSamples {
    /// What the values measure.
    pub profile_type: ProfileType,
    /// Labels of the series (without `__name__`): sorted by name, unique, values not empty.
    pub labels: Vec<(String, String)>,
    /// Sampling period in units of the period type; 0 if unknown.
    pub period: i64,
    /// What time span these samples cover; 0 for a state at one instant.
    pub duration_ns: i64,
    /// Unix time: one for all samples, or one each.
    pub times_ns: Vec<i64>,
    /// Stacktrace of each sample.
    pub stacktraces: Vec<u32>,
    /// Value of each sample; never 0.
    pub values: Vec<i64>,
    /// Attribute columns; absent values included so that each has the length of `values`.
    pub attributes: Vec<Attribute>,
}

/// One request's samples. See the module's grammar and invariants.
#[derive(Debug, Clone, Default)]
pub struct SampleBatch {
    /// All text.
    pub strings: Strings,
    /// Object files.
    pub mappings: Vec<Mapping>,
    /// Functions.
    pub functions: Vec<Function>,
    /// Lines of locations, contiguous per location.
    pub lines: Vec<Line>,
    /// Locations.
    pub locations: Vec<Location>,
    /// `stacktrace_offsets[i]..stacktrace_offsets[i + 1]` are the entries of stacktrace `i`; starts with 0.
    pub stacktrace_offsets: Vec<u32>,
    /// Location ids of all stacktraces, leaf first.
    pub stacktrace_locations: Vec<u32>,
    /// Samples by series.
    pub series: Vec<SeriesSamples>,
}

impl SampleBatch {
    /// Location ids of one stacktrace, leaf first.
    pub fn stacktrace(&self, id: u32) -> &[u32] {
        let start = self.stacktrace_offsets[id as usize] as usize;
        let end = self.stacktrace_offsets[id as usize + 1] as usize;
        &self.stacktrace_locations[start..end]
    }

    /// Adds everything of `other`. Nothing is unified: strings, functions and stacktraces that both have are there twice.
    ///
    /// Both buffers together stay below 4 GiB, and every table below 2^32 rows, by the message limits.
    pub fn append(&mut self, other: Self) {
        if self.strings.spans.is_empty() {
            self.strings.spans.push((0, 0));
        }
        if self.stacktrace_offsets.is_empty() {
            self.stacktrace_offsets.push(0);
        }
        let first_string = self.strings.spans.len() as u32;
        let string = |id: StringId| if id == 0 { 0 } else { first_string + id - 1 };
        let first_mapping = self.mappings.len() as u32;
        let first_function = self.functions.len() as u32;
        let first_line = self.lines.len() as u32;
        let first_location = self.locations.len() as u32;
        let first_entry = self.stacktrace_locations.len() as u32;
        let first_stacktrace = (self.stacktrace_offsets.len() - 1) as u32;

        let first_byte = self.strings.buffer.len() as u32;
        self.strings.buffer.extend_from_slice(&other.strings.buffer);
        self.strings
            .spans
            .extend(other.strings.spans.iter().skip(1).map(|&(start, len)| (first_byte + start, len)));
        self.mappings.extend(other.mappings.iter().map(|m| Mapping {
            file: string(m.file),
            build_id: string(m.build_id),
            ..*m
        }));
        self.functions.extend(other.functions.iter().map(|f| Function {
            name: string(f.name),
            system_name: string(f.system_name),
            filename: string(f.filename),
            ..*f
        }));
        self.lines.extend(other.lines.iter().map(|l| Line { function: first_function + l.function, ..*l }));
        self.locations.extend(other.locations.iter().map(|l| Location {
            mapping: if l.mapping == NO_MAPPING { NO_MAPPING } else { first_mapping + l.mapping },
            frame_type: string(l.frame_type),
            first_line: first_line + l.first_line,
            ..*l
        }));
        self.stacktrace_locations.extend(other.stacktrace_locations.iter().map(|l| first_location + l));
        self.stacktrace_offsets.extend(other.stacktrace_offsets.iter().skip(1).map(|o| first_entry + o));
        self.series.extend(other.series.into_iter().map(|mut series| {
            series.stacktraces.iter_mut().for_each(|id| *id += first_stacktrace);
            for attribute in &mut series.attributes {
                attribute.name = string(attribute.name);
                match &mut attribute.values {
                    AttributeValues::Text(ids) => ids.iter_mut().for_each(|id| *id = string(*id)),
                    AttributeValues::Integer { unit, .. } => *unit = string(*unit),
                }
            }
            series
        }));
    }

    /// Adds series whose text is in `strings`, and whose stacktraces are in this batch already.
    pub fn append_series(&mut self, strings: Strings, series: Vec<SeriesSamples>) {
        let other = Self { strings, series, ..Self::default() };
        // Moving the ids of stacktraces by none is what appending to a batch without any does.
        let offsets = std::mem::take(&mut self.stacktrace_offsets);
        self.append(other);
        self.stacktrace_offsets = offsets;
    }

    /// Number of samples over all series.
    pub fn sample_count(&self) -> usize {
        self.series.iter().map(|s| s.values.len()).sum()
    }
}
