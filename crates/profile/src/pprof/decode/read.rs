//! The messages of a profile, each appended to its columns.

use super::Decoder;
use crate::{
    batch::{Function, Line, Location, Mapping, NO_MAPPING, StringId},
    pprof::{DecodeError, Limits, attributes::RawLabel},
    wire::{Fault, Reader},
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

impl Decoder {
    /// Reads the whole message. References are not checked yet.
    pub(super) fn profile(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), DecodeError> {
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
        self.note_id(id, index);
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
        self.note_id(id, index);
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
        self.note_id(id, index);
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

    /// Notes whether an id is anything else than its row.
    #[inline(always)]
    fn note_id(&mut self, id: u64, index: usize) {
        self.needed.has_other_ids |= id != index as u64 + 1;
    }

    #[inline(always)]
    fn string_table(&mut self, text: Reader<'_>) -> Result<(), DecodeError> {
        if self.spans.is_empty() && !text.is_done() {
            return Err(DecodeError::FirstString { offset: text.offset() });
        }
        self.spans.push((text.offset() as u32, text.remaining() as u32));
        within(self.spans.len(), SMALL_ROWS_MAX, "string_table", "strings", text.offset())
    }
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
