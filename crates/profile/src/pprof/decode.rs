//! Bytes of a profile in, tables of a batch out, in one pass.
//!
//! The tables of a profile may come in any order (Go writes samples first, the strings they need last), so references
//! cannot be checked where they are read. The pass only keeps the largest of each kind; when one turns out too large,
//! [`super::explain`] walks the message again, slowly, to say which it was. Rows are appended to the batch's columns as
//! they are met: nothing is allocated per sample.

use std::mem::take;

use super::{
    DecodeError, Foreign, Limits,
    attributes::{self, RawLabel},
    explain::{self, Counts},
    wire::{Fault, Reader},
};
use crate::{
    ProfileType,
    batch::{Function, Line, Location, Mapping, NO_MAPPING, SampleBatch, SeriesSamples, StringId, Strings},
};

/// Rows of mappings. Like the bounds below it is far above what real profiles have (10^5 locations in a large heap
/// profile) and keeps what a hostile message of few bytes per row can make us hold below a gigabyte.
const MAPPINGS_MAX: usize = 1 << 20;
/// Rows of functions, and of locations.
const ROWS_MAX: usize = 1 << 22;
/// Rows of lines, strings and samples.
const SMALL_ROWS_MAX: usize = 1 << 23;
/// Locations of all stacktraces together.
const STACK_ENTRIES_MAX: usize = 1 << 26;
/// Values of all samples together, zeros included.
const VALUES_MAX: usize = 1 << 25;
/// Room is made for as many rows of a table as would fit into the rest of the message at this size: about what profiles
/// have of locations, and too little rather than too much for a message of other things.
const BYTES_PER_ROW: usize = 48;

/// A decoded profile: a batch with one series per sample type that has samples, to be given its name and labels.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// The tables, and the series in the order of their sample types. Profile types have no name yet, series no labels;
    /// each series has one time for all samples, [`time_ns`](Self::time_ns).
    pub batch: SampleBatch,
    /// Unix time of the profile; 0 if it does not say.
    pub time_ns: i64,
    /// Strings that were not UTF-8; their bad bytes are U+FFFD now.
    pub repaired_strings: usize,
}

/// Decodes a decompressed profile.
///
/// Values of 0 are skipped; sample types without any other have no series. A function without a name gets its system
/// name as name. Sample labels become attributes; the `n`th label of the same name in one sample is an attribute of its own.
pub fn decode(bytes: Vec<u8>, limits: &Limits) -> Result<Profile, DecodeError> {
    if let Some(found) = Foreign::of(&bytes) {
        return Err(DecodeError::Foreign { found });
    }
    if bytes.len() >= u32::MAX as usize {
        return Err(DecodeError::Limit {
            field: "profile".to_owned(),
            what: "bytes",
            limit: u32::MAX as usize - 1,
            offset: bytes.len(),
        });
    }
    let mut decoder = Decoder::default();
    decoder.profile(&bytes, limits)?;
    decoder.check(&bytes)?;
    decoder.finish(bytes, limits)
}

/// What all references of a kind need their table to have.
#[derive(Default)]
struct Needed {
    /// Largest index of a string.
    string: u32,
    /// Rows; more than a table can have if an id is too large or must not be 0 but is.
    mappings: u64,
    functions: u64,
    locations: u64,
    has_line_without_function: bool,
    has_key_zero: bool,
}

#[derive(Default)]
struct Decoder {
    spans: Vec<(u32, u32)>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
    stacktrace_offsets: Vec<u32>,
    stacktrace_locations: Vec<u32>,
    /// Type and unit.
    sample_types: Vec<(StringId, StringId)>,
    /// Values of the kept samples, sample by sample.
    values: Vec<i64>,
    labels: Vec<RawLabel>,
    sample_count: usize,
    /// Values of the first sample, which all others must match.
    values_per_sample: usize,
    has_uneven_values: bool,
    needed: Needed,
    period_type: (StringId, StringId),
    period: i64,
    time_ns: i64,
    duration_ns: i64,
}

/// Why one message inside the profile is refused; becomes a [`DecodeError`] where its path is known.
enum Refusal {
    Fault(Fault),
    TooMany { what: &'static str, limit: usize, offset: usize },
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Refusal {
    #[cold]
    fn at_row(self, table: &'static str, index: usize) -> DecodeError {
        self.at(&format!("{table}[{index}]"))
    }

    #[cold]
    fn at(self, field: &str) -> DecodeError {
        let field = field.to_owned();
        match self {
            Self::Fault(fault) => DecodeError::malformed(field, fault),
            Self::TooMany { what, limit, offset } => DecodeError::Limit { field, what, limit, offset },
        }
    }
}

#[cold]
fn malformed(fault: Fault) -> DecodeError {
    DecodeError::malformed("profile".to_owned(), fault)
}

/// What does not fit becomes `u32::MAX`, which no table reaches.
#[inline(always)]
fn saturate(value: u64) -> u32 {
    value.min(u64::from(u32::MAX)) as u32
}

/// Index of a one-based id; `u32::MAX` for 0.
#[inline(always)]
fn index_of(id: u64) -> u32 {
    // Saturated to the last but one, so that only 0 gives `u32::MAX`.
    saturate(id).wrapping_sub(1)
}

impl Decoder {
    fn profile(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
        self.stacktrace_offsets.push(0);
        let mut reader = Reader::new(bytes);
        while !reader.is_done() {
            self.field(&mut reader, limits)?;
        }
        Ok(())
    }

    /// One field, or a run of rows of one table.
    fn field(&mut self, reader: &mut Reader<'_>, limits: &Limits) -> Result<(), DecodeError> {
        let (tag, value) = reader.field().map_err(malformed)?;
        match tag {
            0x12 => self.run::<0x12>(reader, value, |decoder, inner| decoder.sample(inner, limits)),
            0x1a => self.run::<0x1a>(reader, value, Self::mapping),
            0x22 => {
                self.locations.reserve(reader.remaining() / BYTES_PER_ROW);
                self.lines.reserve(reader.remaining() / BYTES_PER_ROW);
                self.run::<0x22>(reader, value, Self::location)
            }
            0x2a => {
                self.functions.reserve(reader.remaining() / BYTES_PER_ROW);
                self.run::<0x2a>(reader, value, Self::function)
            }
            0x32 => {
                self.spans.reserve(reader.remaining() / BYTES_PER_ROW);
                self.run::<0x32>(reader, value, Self::string_table)
            }
            0x0a => self.run::<0x0a>(reader, value, |decoder, inner| decoder.sample_type(inner, limits)),
            0x5a => {
                let inner = reader.body(value).map_err(malformed)?;
                self.period_type = self.value_type(inner).map_err(|r| r.at("period_type"))?;
                Ok(())
            }
            _ => self.scalar((tag, value), reader).map_err(malformed),
        }
    }

    /// Rows of the table with `TAG`, the first of which has `len` bytes, as long as they follow each other.
    #[inline(always)]
    fn run<const TAG: u8>(
        &mut self,
        reader: &mut Reader<'_>,
        mut len: u64,
        row: impl Fn(&mut Self, Reader<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        loop {
            row(self, reader.body(len).map_err(malformed)?)?;
            match reader.field_if::<TAG>() {
                Some(next) => len = next,
                None => return Ok(()),
            }
        }
    }

    #[cold]
    fn scalar(&mut self, (tag, value): (u32, u64), reader: &mut Reader<'_>) -> Result<(), Fault> {
        match tag {
            0x48 => self.time_ns = value as i64,
            0x50 => self.duration_ns = value as i64,
            0x60 => self.period = value as i64,
            // drop_frames, keep_frames, comment, default_sample_type, doc_url: checked, not kept.
            0x38 | 0x40 | 0x68 | 0x70 | 0x78 => {
                self.string(value);
            }
            0x6a => {
                let mut packed = reader.body(value)?;
                while !packed.is_done() {
                    self.string(packed.varint()?);
                }
            }
            _ => reader.skip_unknown((tag, value), 15)?,
        }
        Ok(())
    }

    /// A reference to a string.
    #[inline(always)]
    fn string(&mut self, value: u64) -> StringId {
        let id = saturate(value);
        self.needed.string = self.needed.string.max(id);
        id
    }

    fn sample_type(&mut self, reader: Reader<'_>, limits: &Limits) -> Result<(), DecodeError> {
        let (start, index) = (reader.offset(), self.sample_types.len());
        let value_type = self.value_type(reader).map_err(|r| r.at_row("sample_type", index))?;
        self.sample_types.push(value_type);
        within(self.sample_types.len(), limits.sample_types_max, "sample_type", "sample types", start)
    }

    fn value_type(&mut self, mut reader: Reader<'_>) -> Result<(StringId, StringId), Refusal> {
        let mut value_type = (0, 0);
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => value_type.0 = self.string(value),
                0x10 => value_type.1 = self.string(value),
                _ => reader.skip_unknown((tag, value), 2)?,
            }
        }
        Ok(value_type)
    }

    #[inline(always)]
    fn sample(&mut self, reader: Reader<'_>, limits: &Limits) -> Result<(), DecodeError> {
        let (start, index) = (reader.offset(), self.sample_count);
        self.read_sample(reader, limits).map_err(|r| r.at_row("sample", index))?;
        self.sample_count += 1;
        within(self.sample_count, SMALL_ROWS_MAX, "sample", "samples", start)
    }

    #[inline(always)]
    fn read_sample(&mut self, mut reader: Reader<'_>, limits: &Limits) -> Result<(), Refusal> {
        let start = reader.offset();
        let first_location = self.stacktrace_locations.len();
        let first_value = self.values.len();
        let first_label = self.labels.len();
        if let Some(len) = reader.field_if::<0x0a>() {
            self.stacktrace(reader.body(len)?)?;
        }
        if let Some(len) = reader.field_if::<0x12>() {
            self.packed_values(reader.body(len)?)?;
        }
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x0a => self.stacktrace(reader.body(value)?)?,
                0x08 => {
                    let index = index_of(value);
                    self.needed.locations = self.needed.locations.max(u64::from(index) + 1);
                    self.stacktrace_locations.push(index);
                }
                0x12 => self.packed_values(reader.body(value)?)?,
                0x10 => self.values.push(value as i64),
                0x1a => self.label(reader.body(value)?)?,
                _ => reader.skip_unknown((tag, value), 3)?,
            }
        }
        let too_many = |what, limit| Refusal::TooMany { what, limit, offset: start };
        if self.stacktrace_locations.len() - first_location > limits.stack_depth_max {
            return Err(too_many("locations in a stacktrace", limits.stack_depth_max));
        }
        if self.stacktrace_locations.len() > STACK_ENTRIES_MAX {
            return Err(too_many("locations in all stacktraces", STACK_ENTRIES_MAX));
        }
        if self.values.len() > VALUES_MAX {
            return Err(too_many("values", VALUES_MAX));
        }
        if self.labels.len() > SMALL_ROWS_MAX {
            return Err(too_many("labels", SMALL_ROWS_MAX));
        }
        let values = self.values.get(first_value..).unwrap_or_default();
        if self.sample_count == 0 {
            self.values_per_sample = values.len();
        }
        self.has_uneven_values |= values.len() != self.values_per_sample;
        if values.iter().all(|&value| value == 0) {
            self.stacktrace_locations.truncate(first_location);
            self.values.truncate(first_value);
            self.labels.truncate(first_label);
        } else {
            self.stacktrace_offsets.push(self.stacktrace_locations.len() as u32);
        }
        Ok(())
    }

    /// Packed location ids: most bytes of a sample.
    #[inline]
    fn stacktrace(&mut self, mut packed: Reader<'_>) -> Result<(), Fault> {
        if packed.is_done() {
            return Ok(());
        }
        let mut largest = 0;
        self.stacktrace_locations.reserve(packed.remaining());
        while let Some(ids) = packed.four_short_varints() {
            let indexes = ids.map(|id| id.wrapping_sub(1));
            largest = indexes.iter().fold(largest, |largest, &index| largest.max(index));
            self.stacktrace_locations.extend_from_slice(&indexes);
        }
        while !packed.is_done() {
            let index = index_of(packed.varint()?);
            largest = largest.max(index);
            self.stacktrace_locations.push(index);
        }
        self.needed.locations = self.needed.locations.max(u64::from(largest) + 1);
        Ok(())
    }

    #[inline]
    fn packed_values(&mut self, mut packed: Reader<'_>) -> Result<(), Fault> {
        while !packed.is_done() {
            self.values.push(packed.varint()? as i64);
        }
        Ok(())
    }

    fn label(&mut self, mut reader: Reader<'_>) -> Result<(), Fault> {
        let mut label = RawLabel {
            row: (self.stacktrace_offsets.len() - 1) as u32,
            offset: reader.offset() as u32,
            ..RawLabel::default()
        };
        label.key = self.string(reader.field_if::<0x08>().unwrap_or_default());
        label.text = self.string(reader.field_if::<0x10>().unwrap_or_default());
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => label.key = self.string(value),
                0x10 => label.text = self.string(value),
                0x18 => label.number = value as i64,
                0x20 => label.unit = self.string(value),
                _ => reader.skip_unknown((tag, value), 4)?,
            }
        }
        self.needed.has_key_zero |= label.key == 0;
        self.labels.push(label);
        Ok(())
    }

    #[inline(always)]
    fn mapping(&mut self, reader: Reader<'_>) -> Result<(), DecodeError> {
        let (start, index) = (reader.offset(), self.mappings.len());
        let id = self.read_mapping(reader).map_err(|r| r.at_row("mapping", index))?;
        in_order(id, index, "mapping", start)?;
        within(self.mappings.len(), MAPPINGS_MAX, "mapping", "mappings", start)
    }

    /// Appends a row and returns its id.
    #[inline(always)]
    fn read_mapping(&mut self, mut reader: Reader<'_>) -> Result<u64, Refusal> {
        let mut id = 0;
        let mut mapping = Mapping::default();
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => id = value,
                0x10 => mapping.start = value,
                0x18 => mapping.limit = value,
                0x20 => mapping.offset = value,
                0x28 => mapping.file = self.string(value),
                0x30 => mapping.build_id = self.string(value),
                // has_functions, has_filenames, has_line_numbers, has_inline_frames
                0x38 | 0x40 | 0x48 | 0x50 => {}
                _ => reader.skip_unknown((tag, value), 10)?,
            }
        }
        self.mappings.push(mapping);
        Ok(id)
    }

    #[inline(always)]
    fn location(&mut self, reader: Reader<'_>) -> Result<(), DecodeError> {
        let (start, index) = (reader.offset(), self.locations.len());
        let id = self.read_location(reader).map_err(|r| r.at_row("location", index))?;
        in_order(id, index, "location", start)?;
        within(self.lines.len(), SMALL_ROWS_MAX, "location", "lines", start)?;
        within(self.locations.len(), ROWS_MAX, "location", "locations", start)
    }

    /// Appends a row and returns its id.
    #[inline(always)]
    fn read_location(&mut self, mut reader: Reader<'_>) -> Result<u64, Refusal> {
        let first_line = self.lines.len();
        let mut id = reader.field_if::<0x08>().unwrap_or_default();
        let mut mapping = index_of(reader.field_if::<0x10>().unwrap_or_default());
        let mut address = reader.field_if::<0x18>().unwrap_or_default();
        while let Some(len) = reader.field_if::<0x22>() {
            let inner = reader.body(len)?;
            self.line(inner)?;
        }
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => id = value,
                0x10 => mapping = index_of(value),
                0x18 => address = value,
                0x22 => {
                    let inner = reader.body(value)?;
                    self.line(inner)?;
                }
                // is_folded
                0x28 => {}
                _ => reader.skip_unknown((tag, value), 5)?,
            }
        }
        if mapping != NO_MAPPING {
            self.needed.mappings = self.needed.mappings.max(u64::from(mapping) + 1);
        }
        self.locations.push(Location {
            mapping,
            address,
            frame_type: 0,
            first_line: first_line as u32,
            line_count: (self.lines.len() - first_line) as u32,
        });
        Ok(id)
    }

    #[inline]
    fn line(&mut self, mut reader: Reader<'_>) -> Result<(), Fault> {
        let mut line = Line {
            function: index_of(reader.field_if::<0x08>().unwrap_or_default()),
            line: reader.field_if::<0x10>().unwrap_or_default() as i64,
            column: reader.field_if::<0x18>().unwrap_or_default() as i64,
        };
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => line.function = index_of(value),
                0x10 => line.line = value as i64,
                0x18 => line.column = value as i64,
                _ => reader.skip_unknown((tag, value), 3)?,
            }
        }
        if line.function == u32::MAX {
            self.needed.has_line_without_function = true;
        } else {
            self.needed.functions = self.needed.functions.max(u64::from(line.function) + 1);
        }
        self.lines.push(line);
        Ok(())
    }

    #[inline(always)]
    fn function(&mut self, reader: Reader<'_>) -> Result<(), DecodeError> {
        let (start, index) = (reader.offset(), self.functions.len());
        let id = self.read_function(reader).map_err(|r| r.at_row("function", index))?;
        in_order(id, index, "function", start)?;
        within(self.functions.len(), ROWS_MAX, "function", "functions", start)
    }

    /// Appends a row and returns its id.
    #[inline(always)]
    fn read_function(&mut self, mut reader: Reader<'_>) -> Result<u64, Refusal> {
        let mut id = reader.field_if::<0x08>().unwrap_or_default();
        let mut function = Function {
            name: self.string(reader.field_if::<0x10>().unwrap_or_default()),
            system_name: self.string(reader.field_if::<0x18>().unwrap_or_default()),
            filename: self.string(reader.field_if::<0x20>().unwrap_or_default()),
            start_line: reader.field_if::<0x28>().unwrap_or_default() as i64,
        };
        while !reader.is_done() {
            let (tag, value) = reader.field()?;
            match tag {
                0x08 => id = value,
                0x10 => function.name = self.string(value),
                0x18 => function.system_name = self.string(value),
                0x20 => function.filename = self.string(value),
                0x28 => function.start_line = value as i64,
                _ => reader.skip_unknown((tag, value), 5)?,
            }
        }
        self.functions.push(function);
        Ok(id)
    }

    #[inline(always)]
    fn string_table(&mut self, text: Reader<'_>) -> Result<(), DecodeError> {
        if self.spans.is_empty() && !text.is_done() {
            return Err(DecodeError::FirstString { offset: text.offset() });
        }
        self.spans.push((text.offset() as u32, text.remaining() as u32));
        within(self.spans.len(), SMALL_ROWS_MAX, "string_table", "strings", text.offset())
    }

    /// Checks what could not be checked before the end.
    fn check(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        let counts = Counts {
            strings: self.spans.len().max(1),
            mappings: self.mappings.len(),
            functions: self.functions.len(),
            locations: self.locations.len(),
            sample_types: self.sample_types.len(),
        };
        let needed = &self.needed;
        let is_sound = (needed.string as usize) < counts.strings
            && needed.mappings <= counts.mappings as u64
            && needed.functions <= counts.functions as u64
            && needed.locations <= counts.locations as u64
            && !needed.has_key_zero
            && !self.has_uneven_values
            && (self.sample_count == 0
                || self.values_per_sample == counts.sample_types && counts.sample_types > 0);
        if is_sound { Ok(()) } else { Err(explain::explain(bytes, &counts)) }
    }

    fn finish(mut self, bytes: Vec<u8>, limits: &Limits) -> Result<Profile, DecodeError> {
        self.complete_functions();
        let repaired = repaired_strings(&bytes, &self.spans);
        let repaired_strings = repaired.len();
        let mut strings = Strings::over_spans(bytes, take(&mut self.spans), repaired);
        let series = self.series(&mut strings, limits)?;
        let batch = SampleBatch {
            strings,
            mappings: self.mappings,
            functions: self.functions,
            lines: self.lines,
            locations: self.locations,
            stacktrace_offsets: self.stacktrace_offsets,
            stacktrace_locations: self.stacktrace_locations,
            series,
        };
        Ok(Profile { batch, time_ns: self.time_ns, repaired_strings })
    }

    /// Gives nameless functions their system name, and lines without a function a nameless one.
    fn complete_functions(&mut self) {
        let is_empty = |id: StringId| self.spans.get(id as usize).is_none_or(|&(_, len)| len == 0);
        for function in &mut self.functions {
            if is_empty(function.name) {
                function.name = function.system_name;
            }
        }
        if self.needed.has_line_without_function {
            let nameless = self.functions.len() as u32;
            self.functions.push(Function::default());
            for line in self.lines.iter_mut().filter(|line| line.function == u32::MAX) {
                line.function = nameless;
            }
        }
    }

    fn series(&self, strings: &mut Strings, limits: &Limits) -> Result<Vec<SeriesSamples>, DecodeError> {
        let columns = attributes::columns(&self.labels, strings, self.stacktrace_offsets.len() - 1, limits)?;
        let width = self.values_per_sample;
        let non_zero_count = self.values.iter().filter(|&&value| value != 0).count();
        attributes::check_cells(columns.len(), non_zero_count, strings.buffer().len())?;
        let mut series = Vec::with_capacity(width);
        for (index, &(sample_type, sample_unit)) in self.sample_types.iter().enumerate() {
            let mut stacktraces = Vec::new();
            let mut values = Vec::new();
            for (row, sample) in self.values.chunks_exact(width.max(1)).enumerate() {
                if let Some(&value) = sample.get(index)
                    && value != 0
                {
                    stacktraces.push(row as u32);
                    values.push(value);
                }
            }
            if values.is_empty() {
                continue;
            }
            series.push(SeriesSamples {
                profile_type: ProfileType {
                    name: String::new(),
                    sample_type: strings.get(sample_type).to_owned(),
                    sample_unit: strings.get(sample_unit).to_owned(),
                    period_type: strings.get(self.period_type.0).to_owned(),
                    period_unit: strings.get(self.period_type.1).to_owned(),
                    delta: self.duration_ns != 0,
                },
                labels: Vec::new(),
                period: self.period,
                duration_ns: self.duration_ns,
                times_ns: vec![self.time_ns],
                // A kept sample has the stacktrace of its own row.
                attributes: columns.iter().filter_map(|column| column.at_rows(&stacktraces)).collect(),
                stacktraces,
                values,
            });
        }
        Ok(series)
    }
}

#[inline(always)]
fn within(
    count: usize,
    limit: usize,
    field: &'static str,
    what: &'static str,
    offset: usize,
) -> Result<(), DecodeError> {
    if count > limit {
        Err(DecodeError::Limit { field: field.to_owned(), what, limit, offset })
    } else {
        Ok(())
    }
}

#[inline(always)]
fn in_order(id: u64, index: usize, table: &'static str, offset: usize) -> Result<(), DecodeError> {
    let expected = index as u64 + 1;
    if id == expected { Ok(()) } else { Err(out_of_order(id, index, table, offset)) }
}

#[cold]
fn out_of_order(found: u64, index: usize, table: &'static str, offset: usize) -> DecodeError {
    DecodeError::IdOrder { field: format!("{table}[{index}].id"), found, expected: index as u64 + 1, offset }
}

/// The strings that are not UTF-8, by index, with U+FFFD in place of the bad bytes.
fn repaired_strings(bytes: &[u8], spans: &[(u32, u32)]) -> Vec<(usize, String)> {
    /// Strings looked at together: they lie one after the other, and one look at the whole range, tags and lengths
    /// included, is much faster than one at each.
    const TOGETHER: usize = 32;
    let mut repaired = Vec::new();
    for (chunk_index, chunk) in spans.chunks(TOGETHER).enumerate() {
        let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else { continue };
        let range = first.0 as usize..(last.0 + last.1) as usize;
        if bytes.get(range).is_some_and(<[u8]>::is_ascii) {
            continue;
        }
        for (index, &(start, len)) in chunk.iter().enumerate() {
            let text = bytes.get(start as usize..(start + len) as usize).unwrap_or_default();
            if std::str::from_utf8(text).is_err() {
                repaired.push((chunk_index * TOGETHER + index, String::from_utf8_lossy(text).into_owned()));
            }
        }
    }
    repaired
}
