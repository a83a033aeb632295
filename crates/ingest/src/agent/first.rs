//! The first schema: samples that name stacktraces by the sender's ids, then, asked for, their locations.
//!
//! ```text
//! samples:   labels.<name> text …, stacktrace_id binary, value, timestamp, producer, sample_type, sample_unit, period_type,
//!            period_unit, period, duration                        ignored: temporality, everything else
//! answer:    stacktrace_id binary
//! locations: stacktrace_id binary, is_complete (ignored), locations list<location>
//! location = address, frame_type, mapping_start, mapping_limit, mapping_offset, mapping_file, mapping_build_id,
//!            lines list<line>
//! line = line, column, function_name, function_system_name, function_filename, function_start_line
//! ```
//! All ids are always asked for: they are not the content of stacktraces, so nothing that is known about one is worth keeping.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{ArrayRef, BinaryArray, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use decima_profile::SampleBatch;

use super::{
    Context, Decoded, ENTRIES_MAX, FIRST, Structs, Text, Totals, VERSION_KEY, bounds, check_version,
    samples::Samples,
    symbols::{self, Symbols},
};
use crate::arrow::{self, Array, ArrowError, Batch, Fault, NULL, Value};

const LABEL_PREFIX: &str = "labels.";
/// The column of the label that names the sender.
pub(super) const NODE: &str = "labels.node";
const ID: &str = "stacktrace_id";
const LOCATIONS: &str = "locations";
/// Bytes of all ids of a request, which columns may take from each other's middle. An agent's have 16 each.
const ID_BYTES_MAX: usize = 1 << 26;

/// Samples whose stacktraces are not known yet.
pub(crate) struct Pending {
    batches: Vec<PendingBatch>,
    ids: Ids,
}

struct PendingBatch {
    samples: Samples,
    text: Text,
    /// For each row, where its id is in `ids`.
    rows: Vec<u32>,
}

/// Decodes the first message.
pub(crate) fn samples(stream: &[u8], context: Context<'_>) -> Result<Pending, ArrowError> {
    let mut pending = Pending { batches: Vec::new(), ids: Ids::default() };
    let mut totals = Totals::default();
    arrow::read(stream, bounds(context.limits), context.schemas, |schema, batch| {
        check_version(schema.metadata(VERSION_KEY), FIRST)?;
        totals.add(batch.rows())?;
        let labels: Vec<(&str, &Array<'_>)> = batch
            .columns()
            .iter()
            .filter_map(|column| Some((column.name().strip_prefix(LABEL_PREFIX)?, column)))
            .collect();
        let mut text = Text::default();
        let samples = Samples::read(batch, &labels, &mut text, context)?;
        let rows = pending.ids.numbers(batch, batch.required(ID)?)?;
        totals.add_text(text.strings.buffer().len())?;
        if totals.is_first() {
            text.repaired += schema.repaired_names;
        }
        pending.batches.push(PendingBatch { samples, text, rows });
        Ok::<_, ArrowError>(())
    })?;
    Ok(pending)
}

/// Distinct ids in the order of their appearance.
#[derive(Default)]
struct Ids {
    all: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, u32>,
    size_bytes: usize,
}

impl Ids {
    /// The number of each row's id, adding ids that are new; the column may be behind a dictionary, run ends, or both.
    fn numbers<'a>(&mut self, batch: &Batch<'a, '_>, column: &Array<'a>) -> Result<Vec<u32>, ArrowError> {
        if let Some(words) = batch.dictionary_of(column)? {
            let codes = batch.codes(column, words.len())?;
            if let Some(row) = codes.iter().position(|&code| code == NULL) {
                return Err(column.at(row, Fault::Inconsistent("is null")));
            }
            let numbers = self.numbers(batch, words)?;
            return Ok(codes.iter().map(|&code| numbers[code as usize]).collect());
        }
        if column.is_runs() {
            let (ends, values) = batch.runs(column)?;
            return Ok(arrow::expand(&ends, &self.numbers(batch, values)?, column.len()));
        }
        let mut numbers = Vec::with_capacity(column.len());
        batch.visit_bytes(column, |_, id| numbers.push(self.number(id.map_or(&[], Value::bytes))))?;
        let found = self.size_bytes;
        if found > ID_BYTES_MAX {
            let fault = Fault::Limit { what: "bytes of ids", found, limit: ID_BYTES_MAX };
            return Err(column.rows(fault));
        }
        Ok(numbers)
    }

    fn number(&mut self, id: &[u8]) -> u32 {
        if let Some(&number) = self.known.get(id) {
            return number;
        }
        let number = self.all.len() as u32;
        self.size_bytes = self.size_bytes.saturating_add(id.len());
        if self.size_bytes > ID_BYTES_MAX {
            return number;
        }
        self.all.push(id.to_owned());
        self.known.insert(id.to_owned(), number);
        number
    }
}

impl Pending {
    /// Whether there is nothing to ask for.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.all.is_empty()
    }

    /// The first `node` label.
    pub(crate) fn node(&self) -> String {
        let mut nodes = self.batches.iter().map(|batch| batch.samples.node(&batch.text));
        nodes.find(|node| !node.is_empty()).unwrap_or_default()
    }

    /// The answer that asks for all ids.
    ///
    /// Fails only if Arrow's writer does, which would be a fault of our own.
    pub(crate) fn question(&self) -> Result<Vec<u8>, arrow_schema::ArrowError> {
        let metadata = HashMap::from([(VERSION_KEY.to_owned(), FIRST.to_owned())]);
        let field = Field::new(ID, DataType::Binary, false);
        let schema = Arc::new(Schema::new(vec![field]).with_metadata(metadata));
        let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(&self.ids.all));
        let batch = RecordBatch::try_new(schema.clone(), vec![column])?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        writer.into_inner()
    }

    /// Puts the locations of the second message to the samples.
    pub(crate) fn with_locations(self, stream: &[u8], context: Context<'_>) -> Result<Decoded, ArrowError> {
        let mut table = Table::default();
        arrow::read(stream, bounds(context.limits), context.schemas, |schema, batch| {
            check_version(schema.metadata(VERSION_KEY), FIRST)?;
            table.add(batch, context.limits.stack_depth_max)
        })?;
        let stacktraces = self.ids.all.iter().enumerate().map(|(number, id)| {
            table.by_id.get(id).copied().ok_or_else(|| {
                let hex: String = id.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
                let message = format!("the locations of {hex} (number {number}) are missing");
                let mut rows = self.batches.iter().map(|batch| &batch.rows);
                let row = rows.find_map(|rows| rows.iter().position(|&of| of as usize == number));
                ArrowError::row(ID, row.unwrap_or_default(), Fault::Value(message))
            })
        });
        let stacktraces: Vec<u32> = stacktraces.collect::<Result<_, _>>()?;
        let mut decoded = Decoded { repaired_strings: table.text.repaired, ..Decoded::default() };
        decoded.batch = table.into_batch();
        for PendingBatch { mut samples, mut text, rows } in self.batches {
            let rows: Vec<u32> = rows.iter().map(|&number| stacktraces[number as usize]).collect();
            let series = samples.series(&rows, &mut text);
            decoded.node = if decoded.node.is_empty() { samples.node(&text) } else { decoded.node };
            decoded.repaired_strings += text.repaired;
            decoded.sample_labels.append(&mut samples.found);
            // Stacktraces are in the table already, so only text and series are added.
            decoded.batch.append_series(text.strings, series);
        }
        Ok(decoded)
    }
}

/// The locations of a request.
#[derive(Default)]
struct Table {
    text: Text,
    symbols: Symbols,
    offsets: Vec<u32>,
    locations: Vec<u32>,
    by_id: HashMap<Vec<u8>, u32>,
}

impl Table {
    fn add(&mut self, batch: &Batch<'_, '_>, depth_max: usize) -> Result<(), ArrowError> {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        } else {
            let fault = Fault::Unsupported("several batches of locations in one message");
            return Err(ArrowError::column(LOCATIONS, fault));
        }
        let column = batch.required(LOCATIONS)?;
        let lists = batch.lists(column)?;
        let structs = Structs::of(batch, lists.entries)?;
        self.symbols = symbols::locations(batch, structs.table, &mut self.text)?;
        for (row, &(start, count)) in lists.spans.iter().enumerate() {
            let found = count as usize;
            if found > depth_max {
                let what = "locations in one stacktrace";
                return Err(column.at(row, Fault::Limit { what, found, limit: depth_max }));
            }
            let found = self.locations.len() + found;
            if found > ENTRIES_MAX {
                let what = "entries of stacktraces";
                return Err(column.at(row, Fault::Limit { what, found, limit: ENTRIES_MAX }));
            }
            structs.extend(&mut self.locations, start..start + count);
            self.offsets.push(self.locations.len() as u32);
        }
        let mut ids = Ids::default();
        let numbers = ids.numbers(batch, batch.required(ID)?)?;
        for (row, number) in numbers.into_iter().enumerate() {
            if let Some(id) = ids.all.get(number as usize) {
                // A repeated id keeps its first stacktrace, as the sender's own table does.
                self.by_id.entry(id.clone()).or_insert(row as u32);
            }
        }
        Ok(())
    }

    fn into_batch(self) -> SampleBatch {
        let Symbols { mappings, functions, lines, locations } = self.symbols;
        SampleBatch {
            strings: self.text.strings,
            mappings,
            functions,
            lines,
            locations,
            stacktrace_offsets: if self.offsets.is_empty() { vec![0] } else { self.offsets },
            stacktrace_locations: self.locations,
            series: Vec::new(),
        }
    }
}
