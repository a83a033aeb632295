//! The dictionary of a request: tables that everything refers to by index, brought into the form of a sample batch.

use decima_profile::{
    SampleBatch,
    batch::{Function, Line, Location, Mapping, NO_MAPPING, SeriesSamples, StringId, Strings},
    wire::Reader,
};

use super::{
    ENTRIES_MAX, TABLE_ROWS_MAX,
    attribute::{AttributeValue, KeyValue, read_value},
    error::{FieldError, OtlpError, each_field},
};
use crate::push::{Limits, Refusal};

/// Attribute of a location that says what kind of frame it is.
const FRAME_TYPE: &str = "profile.frame.type";
/// Attributes of a mapping that identify its file. The GNU build ID is what debuginfo servers know.
const BUILD_IDS: [&str; 3] = [
    "process.executable.build_id.gnu",
    "process.executable.build_id.htlhash",
    "process.executable.build_id.go",
];

/// The tables. Row 0 of each stands for nothing and is not kept but for strings, attributes and stacks.
#[derive(Debug, Default)]
pub(super) struct Dictionary {
    pub(super) strings: Strings,
    pub(super) repaired: u64,
    /// By index in the message.
    string_ids: Vec<StringId>,
    /// By index in the message.
    pub(super) attributes: Vec<KeyValue>,
    /// Trace and span in hex, by index in the message.
    links: Vec<(StringId, StringId)>,
    mappings: Vec<Mapping>,
    functions: Vec<Function>,
    lines: Vec<Line>,
    locations: Vec<Location>,
    /// Names under which files of this message go: GNU build ID and hash.
    pub(super) aliases: Vec<(StringId, StringId)>,
    stack_offsets: Vec<u32>,
    stack_locations: Vec<u32>,
}

/// Rows of the tables as they came.
#[derive(Default)]
struct RawTables<'a> {
    /// By field number, from 1: mapping, location, function, link, string, attribute, stack.
    tables: [Vec<Reader<'a>>; 7],
}

const TABLES: [&str; 7] = [
    "mapping_table",
    "location_table",
    "function_table",
    "link_table",
    "string_table",
    "attribute_table",
    "stack_table",
];

fn place(table: &str, index: usize) -> String {
    format!("dictionary.{table}[{index}]")
}

impl Dictionary {
    pub(super) fn read(message: &[u8], parts: &[Reader<'_>], limits: &Limits) -> Result<Self, OtlpError> {
        let mut raw = RawTables::default();
        let mut rows = 0;
        for &part in parts {
            each_field(part, "dictionary", &TABLES, |number, field| {
                let index = (number as usize).wrapping_sub(1);
                let Some((table, name)) = raw.tables.get_mut(index).zip(TABLES.get(index)) else {
                    return Ok(());
                };
                rows += 1;
                if rows > TABLE_ROWS_MAX {
                    let place = format!("dictionary.{name}");
                    return Err(OtlpError::limit(place, "rows of all tables", rows, TABLE_ROWS_MAX).into());
                }
                table.push(field.message()?);
                Ok(())
            })?;
        }
        let [mappings, locations, functions, links, strings, attributes, stacks] = raw.tables;
        // Text stays where it is in the message.
        let mut tables = Self { strings: Strings::over(message.to_vec()), ..Self::default() };
        tables.string_ids = strings.iter().map(|&text| tables.text(text)).collect();
        tables.read_attributes(&attributes)?;
        tables.read_links(&links)?;
        tables.read_mappings(&mappings)?;
        tables.read_functions(&functions)?;
        tables.read_locations(&locations, mappings.len(), functions.len())?;
        tables.read_stacks(&stacks, locations.len(), limits)?;
        Ok(tables)
    }

    /// The strings alone, as far as they are right.
    pub(super) fn of_strings(message: &[u8], parts: &[Reader<'_>]) -> Self {
        let mut tables = Self { strings: Strings::over(message.to_vec()), ..Self::default() };
        for &part in parts {
            let _ = each_field(part, "", &TABLES, |number, field| {
                if number == 5 && tables.string_ids.len() < TABLE_ROWS_MAX {
                    let id = tables.text(field.message()?);
                    tables.string_ids.push(id);
                }
                Ok(())
            });
        }
        tables
    }

    /// The id of text in the message; bytes that are not UTF-8 are replaced by U+FFFD and counted.
    pub(super) fn text(&mut self, text: Reader<'_>) -> StringId {
        let bytes = text.rest();
        if bytes.is_empty() {
            return 0;
        }
        if std::str::from_utf8(bytes).is_ok() {
            return self.strings.push_span((text.offset()) as u32, bytes.len() as u32);
        }
        self.repaired += 1;
        self.strings.push(&String::from_utf8_lossy(bytes))
    }

    /// The id of text that is not in the message.
    pub(super) fn push(&mut self, text: &str) -> StringId {
        if text.is_empty() { 0 } else { self.strings.push(text) }
    }

    /// The string at an index.
    pub(super) fn string(&self, index: u64, place: &str) -> Result<StringId, OtlpError> {
        let id = usize::try_from(index).ok().and_then(|index| self.string_ids.get(index));
        id.copied().ok_or_else(|| OtlpError::out_of_range(place, "string", index, self.string_ids.len()))
    }

    /// The attribute at an index; none at 0, or if it has no key or value.
    pub(super) fn attribute(&self, index: u64, place: &str) -> Result<Option<KeyValue>, OtlpError> {
        let pair = usize::try_from(index).ok().and_then(|index| self.attributes.get(index));
        match pair {
            Some(pair) => Ok(Some(*pair).filter(|pair| pair.key != 0 && pair.value != AttributeValue::None)),
            None if index == 0 => Ok(None),
            None => Err(OtlpError::out_of_range(place, "attribute", index, self.attributes.len())),
        }
    }

    /// Trace and span of a link, in hex; empty at 0.
    pub(super) fn link(&self, index: u64, place: &str) -> Result<(StringId, StringId), OtlpError> {
        let link = usize::try_from(index).ok().and_then(|index| self.links.get(index));
        match link {
            Some(link) => Ok(*link),
            None if index == 0 => Ok((0, 0)),
            None => Err(OtlpError::out_of_range(place, "link", index, self.links.len())),
        }
    }

    /// Checks the index of a stack. Without a table, 0 is the empty stack.
    pub(super) fn stack(&self, index: u64, place: &str) -> Result<u32, OtlpError> {
        let count = self.stack_offsets.len().saturating_sub(1);
        if index < count as u64 {
            return Ok(index as u32);
        }
        Err(OtlpError::out_of_range(place, "stack", index, count))
    }

    fn read_attributes(&mut self, rows: &[Reader<'_>]) -> Result<(), OtlpError> {
        for (index, &row) in rows.iter().enumerate() {
            let place = place("attribute_table", index);
            let mut pair = KeyValue { key: 0, value: AttributeValue::None };
            each_field(row, &place, &["key_strindex", "value", "unit_strindex"], |number, field| {
                match number {
                    1 => pair.key = self.string(field.varint()?, &place)?,
                    2 => pair.value = read_value(field.message()?, &place, self)?,
                    _ => {}
                }
                Ok(())
            })?;
            self.attributes.push(pair);
        }
        Ok(())
    }

    fn read_links(&mut self, rows: &[Reader<'_>]) -> Result<(), OtlpError> {
        for (index, &row) in rows.iter().enumerate() {
            let place = place("link_table", index);
            let mut link = (0, 0);
            each_field(row, &place, &["trace_id", "span_id"], |number, field| {
                match number {
                    1 => link.0 = self.hex(field.message()?.rest(), 16, &place)?,
                    2 => link.1 = self.hex(field.message()?.rest(), 8, &place)?,
                    _ => {}
                }
                Ok(())
            })?;
            self.links.push(link);
        }
        Ok(())
    }

    /// An id of so many bytes in hex; nothing for none or one of zeros.
    fn hex(&mut self, bytes: &[u8], width: usize, place: &str) -> Result<StringId, OtlpError> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(0);
        }
        if bytes.len() != width {
            let message = format!("an id of {} bytes instead of {width}", bytes.len());
            return Err(OtlpError::new(place, Refusal::Value, message));
        }
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.push(&text))
    }

    fn read_mappings(&mut self, rows: &[Reader<'_>]) -> Result<(), OtlpError> {
        for (index, &row) in rows.iter().enumerate() {
            let place = place("mapping_table", index);
            let (mut file, mut ids) = (0, [0; BUILD_IDS.len()]);
            each_field(
                row,
                &place,
                &["memory_start", "memory_limit", "file_offset", "filename_strindex", "attribute_indices"],
                |number, field| {
                    match number {
                        4 => file = self.string(field.varint()?, &place)?,
                        5 => self.each_attribute(field, &place, |tables, pair| {
                            let name = tables.strings.get(pair.key);
                            let known = BUILD_IDS.iter().position(|known| *known == name);
                            if let (Some(known), AttributeValue::Text(id)) = (known, pair.value) {
                                ids[known] = id;
                            }
                        })?,
                        _ => {}
                    }
                    Ok(())
                },
            )?;
            let [gnu, hash, _] = ids;
            if gnu != 0 && hash != 0 {
                self.aliases.push((gnu, hash));
            }
            if index > 0 {
                // Addresses are those of the file already, so the range, which is too, must not move them again.
                let build_id = ids.into_iter().find(|&id| id != 0).unwrap_or(0);
                self.mappings.push(Mapping { file, build_id, ..Mapping::default() });
            }
        }
        Ok(())
    }

    fn each_attribute(
        &self,
        field: super::error::Value<'_>,
        place: &str,
        mut take: impl FnMut(&Self, KeyValue),
    ) -> Result<(), FieldError> {
        let mut indices = Vec::new();
        field.varints(|index| indices.push(index))?;
        for index in indices {
            if let Some(pair) = self.attribute(index, place)? {
                take(self, pair);
            }
        }
        Ok(())
    }

    fn read_functions(&mut self, rows: &[Reader<'_>]) -> Result<(), OtlpError> {
        for (index, &row) in rows.iter().enumerate() {
            let place = place("function_table", index);
            let mut function = Function::default();
            each_field(
                row,
                &place,
                &["name_strindex", "system_name_strindex", "filename_strindex", "start_line"],
                |number, field| {
                    match number {
                        1 => function.name = self.string(field.varint()?, &place)?,
                        2 => function.system_name = self.string(field.varint()?, &place)?,
                        3 => function.filename = self.string(field.varint()?, &place)?,
                        4 => function.start_line = field.varint()? as i64,
                        _ => {}
                    }
                    Ok(())
                },
            )?;
            if function.name == 0 {
                function.name = function.system_name;
            }
            if index > 0 {
                self.functions.push(function);
            }
        }
        Ok(())
    }

    fn read_locations(
        &mut self,
        rows: &[Reader<'_>],
        mapping_count: usize,
        function_count: usize,
    ) -> Result<(), OtlpError> {
        let row_of = |index: u64, table: &'static str, count: usize, place: &str| match index {
            0 => Ok(NO_MAPPING),
            index if index < count as u64 => Ok((index - 1) as u32),
            index => Err(OtlpError::out_of_range(place, table, index, count)),
        };
        for (index, &row) in rows.iter().enumerate() {
            let place = place("location_table", index);
            let first_line = self.lines.len() as u32;
            let (mut mapping, mut address, mut frame_type, mut lines) = (NO_MAPPING, 0, 0, Vec::new());
            each_field(
                row,
                &place,
                &["mapping_index", "address", "lines", "attribute_indices"],
                |number, field| {
                    match number {
                        1 => mapping = row_of(field.varint()?, "mapping", mapping_count, &place)?,
                        2 => address = field.varint()?,
                        3 => lines.push(field.message()?),
                        4 => self.each_attribute(field, &place, |tables, pair| {
                            if let AttributeValue::Text(id) = pair.value
                                && tables.strings.get(pair.key) == FRAME_TYPE
                            {
                                frame_type = id;
                            }
                        })?,
                        _ => {}
                    }
                    Ok(())
                },
            )?;
            for line in lines {
                let mut read = Line { function: NO_MAPPING, line: 0, column: 0 };
                each_field(line, &place, &["function_index", "line", "column"], |number, field| {
                    match number {
                        1 => read.function = row_of(field.varint()?, "function", function_count, &place)?,
                        2 => read.line = field.varint()? as i64,
                        3 => read.column = field.varint()? as i64,
                        _ => {}
                    }
                    Ok(())
                })?;
                if read.function != NO_MAPPING {
                    self.lines.push(read);
                }
            }
            if self.lines.len() > TABLE_ROWS_MAX {
                return Err(OtlpError::limit(place, "lines", self.lines.len(), TABLE_ROWS_MAX));
            }
            if index == 0 {
                self.lines.clear();
                continue;
            }
            let line_count = self.lines.len() as u32 - first_line;
            self.locations.push(Location { mapping, address, frame_type, first_line, line_count });
        }
        Ok(())
    }

    fn read_stacks(
        &mut self,
        rows: &[Reader<'_>],
        location_count: usize,
        limits: &Limits,
    ) -> Result<(), OtlpError> {
        self.stack_offsets.push(0);
        for (index, &row) in rows.iter().enumerate() {
            let place = place("stack_table", index);
            let first = self.stack_locations.len();
            let (mut wrong, limit) = (None, (first + limits.stack_depth_max + 1).min(ENTRIES_MAX + 1));
            each_field(row, &place, &["location_indices"], |number, field| {
                if number == 1 {
                    let locations = &mut self.stack_locations;
                    field.varints(|index| match index {
                        // Stands for nothing.
                        0 => {}
                        index if index >= location_count as u64 => wrong = Some(index),
                        // One more than is allowed is enough to refuse it.
                        index if locations.len() < limit => locations.push((index - 1) as u32),
                        _ => {}
                    })?;
                }
                Ok(())
            })?;
            if let Some(found) = wrong {
                return Err(OtlpError::out_of_range(place, "location", found, location_count));
            }
            let found = self.stack_locations.len() - first;
            if found > limits.stack_depth_max {
                let what = "locations or more in one stack";
                return Err(OtlpError::limit(place, what, found, limits.stack_depth_max));
            }
            if self.stack_locations.len() > ENTRIES_MAX {
                return Err(OtlpError::limit(place, "entries of stacks", ENTRIES_MAX + 1, ENTRIES_MAX));
            }
            self.stack_offsets.push(self.stack_locations.len() as u32);
        }
        // Without a table, samples can only mean the empty stack.
        if rows.is_empty() {
            self.stack_offsets.push(0);
        }
        Ok(())
    }

    /// The tables with samples over them.
    pub(super) fn into_batch(self, series: Vec<SeriesSamples>) -> SampleBatch {
        SampleBatch {
            strings: self.strings,
            mappings: self.mappings,
            functions: self.functions,
            lines: self.lines,
            locations: self.locations,
            stacktrace_offsets: self.stack_offsets,
            stacktrace_locations: self.stack_locations,
            series,
        }
    }
}
