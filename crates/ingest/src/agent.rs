//! What Parca Agent sends: Arrow streams of two schemas, decoded column by column into sample batches.
//!
//! ```text
//! first (`Write`):        samples with the sender's stacktrace ids ─► ids back ─► locations of these ids
//! second (`WriteArrow`):  samples with their stacktraces, which share entries and locations
//! both:  common columns ─► series (type, labels, period, duration) + attributes (cpu, thread, what differs inside a thread)
//! ```
//! A sender's stacktrace id is used inside one request only: it is the hash of addresses and not of names, so that
//! different stacktraces share one. Labels that describe a single sample become attributes, since as labels they would make a
//! series for each thread; see [`samples`]. Samples of value 0 say nothing and are left out. No I/O, no clock. Start at
//! `second::decode` and `first::samples`; [`batch_of`] and [`batch_of_exchange`] are these without anything around them.

pub(crate) mod first;
#[cfg(test)]
mod malformed;
mod samples;
pub(crate) mod second;
mod symbols;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, ops::Range};

use decima_profile::{
    SampleBatch,
    batch::{StringId, Strings},
};

use crate::{
    arrow::{self, Array, ArrowError, Batch, Fault, NULL, Schemas, Value},
    push::{Limits, PushError},
};

/// Key of the schema's metadata that names the schema, and its two values.
const VERSION_KEY: &str = "parca_write_schema_version";
const FIRST: &str = "v1";
const SECOND: &str = "v2";

/// Labels that belong to samples whatever their values are, unless settings name others.
pub const SAMPLE_LABELS: [&str; 3] = ["cpu", "thread_id", "thread_name"];

/// Record batches of one request. An agent sends one, and each brings all its tables again.
const BATCHES_MAX: usize = 64;
/// Text of one request in bytes. Columns may name the same bytes in every row.
const TEXT_BYTES_MAX: usize = 1 << 27;
/// Cells of all label columns of one request.
const CELLS_MAX: usize = 1 << 24;
/// Samples of one request. An agent sends those of five seconds: at 19 Hz on 256 CPUs under load, 25,000.
const ROWS_MAX: usize = 1 << 20;
/// Entries of all stacktraces of one request, and so of any array in it; 128 MiB of ids.
const ENTRIES_MAX: usize = 1 << 25;
/// Locations, and lines of locations, of one request.
const LOCATIONS_MAX: usize = 1 << 20;

/// A decoded request.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) batch: SampleBatch,
    /// Strings that were not UTF-8 and were repaired.
    pub(crate) repaired_strings: u64,
    /// The first `node` label; empty if there is none.
    pub(crate) node: String,
    /// Labels that turned out to belong to samples.
    pub(crate) sample_labels: BTreeSet<String>,
}

impl Decoded {
    fn add(&mut self, other: Self) {
        if self.batch.series.is_empty() {
            self.batch = other.batch;
        } else if !other.batch.series.is_empty() {
            self.batch.append(other.batch);
        }
        self.repaired_strings += other.repaired_strings;
        self.sample_labels.extend(other.sample_labels);
        if self.node.is_empty() {
            self.node = other.node;
        }
    }
}

/// What decoding needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) limits: &'a Limits,
    /// Labels that belong to samples by the settings, or as earlier requests have shown.
    pub(crate) sample_labels: &'a BTreeSet<String>,
    /// Schemas of earlier requests.
    pub(crate) schemas: Option<&'a Schemas>,
}

/// Decodes an Arrow stream of the second schema, or names the column and row that is wrong.
pub fn batch_of(stream: &[u8], limits: &Limits) -> Result<SampleBatch, PushError> {
    let sample_labels = sample_labels();
    Ok(second::decode(stream, Context { limits, sample_labels: &sample_labels, schemas: None })?.batch)
}

/// Decodes both Arrow streams of an exchange in the first schema, or names the column and row that is wrong.
pub fn batch_of_exchange(
    samples: &[u8],
    locations: &[u8],
    limits: &Limits,
) -> Result<SampleBatch, PushError> {
    let sample_labels = sample_labels();
    let context = Context { limits, sample_labels: &sample_labels, schemas: None };
    Ok(first::samples(samples, context)?.with_locations(locations, context)?.batch)
}

/// The message that asks the sender of samples in the first schema for their stacktraces, all of them; `None` if there are
/// none to ask for. Names the column and row of samples that are wrong.
pub fn question(samples: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, PushError> {
    let sample_labels = sample_labels();
    let pending = first::samples(samples, Context { limits, sample_labels: &sample_labels, schemas: None })?;
    if pending.is_empty() {
        return Ok(None);
    }
    pending.question().map(Some).map_err(|error| PushError::unanswerable(&error))
}

/// The first `node` label of a stream of samples that is wrong, of either schema, as far as it can be read; empty if it
/// cannot.
pub(crate) fn node_of_wrong(stream: &[u8], limits: &Limits) -> String {
    let mut node = String::new();
    // What comes before a mistake counts.
    let _ = arrow::read(stream, bounds(limits), None, |_, batch| {
        check("samples", batch.rows(), ROWS_MAX)?;
        let of_second =
            || batch.column("labels")?.children().iter().find(|label| label.name() == samples::NODE);
        if let Some(column) = batch.column(first::NODE).or_else(of_second) {
            let mut text = Text::default();
            let ids = text.column(batch, column)?;
            let id = ids.into_iter().find(|&id| id != 0).unwrap_or_default();
            node = text.strings.get(id).to_owned();
        }
        // Further batches would be those of the same sender.
        Err(ArrowError::column("", Fault::Missing))
    });
    if node.len() > limits.label_value_bytes_max { String::new() } else { node }
}

/// [`SAMPLE_LABELS`] as a set.
pub(crate) fn sample_labels() -> BTreeSet<String> {
    SAMPLE_LABELS.iter().map(|&name| name.to_owned()).collect()
}

fn bounds(limits: &Limits) -> arrow::Bounds {
    arrow::Bounds { plain_bytes_max: limits.profile_bytes_max, rows_max: ENTRIES_MAX }
}

/// Refuses a stream of another schema.
fn check_version(found: Option<&str>, expected: &'static str) -> Result<(), ArrowError> {
    match found {
        Some(version) if version == expected => Ok(()),
        Some(version) => {
            let start: String = version.chars().take(20).collect();
            let message = format!("{VERSION_KEY} is {start:?} instead of {expected:?}");
            Err(ArrowError::column("(schema)", Fault::Value(message)))
        }
        None => Err(ArrowError::column("(schema)", Fault::Value(format!("{VERSION_KEY} is missing")))),
    }
}

/// What a request has had so far.
#[derive(Debug, Default)]
struct Totals {
    batches: usize,
    rows: usize,
    text_bytes: usize,
}

impl Totals {
    /// Adds a batch, unless that is too much.
    fn add(&mut self, rows: usize) -> Result<(), ArrowError> {
        self.batches += 1;
        self.rows = self.rows.saturating_add(rows);
        check("record batches", self.batches, BATCHES_MAX)?;
        check("samples", self.rows, ROWS_MAX)
    }

    /// Whether the batch that was added last is the first.
    fn is_first(&self) -> bool {
        self.batches == 1
    }

    /// Adds the text of a batch, unless that is too much.
    fn add_text(&mut self, size_bytes: usize) -> Result<(), ArrowError> {
        self.text_bytes = self.text_bytes.saturating_add(size_bytes);
        check("bytes of text", self.text_bytes, TEXT_BYTES_MAX)
    }

    /// Looks at the tables of all batches.
    fn check(batch: &SampleBatch) -> Result<(), ArrowError> {
        check("bytes of text", batch.strings.buffer().len(), TEXT_BYTES_MAX)?;
        check("locations", batch.locations.len(), LOCATIONS_MAX)?;
        check("lines", batch.lines.len(), LOCATIONS_MAX)?;
        check("entries of stacktraces", batch.stacktrace_locations.len(), ENTRIES_MAX)
    }
}

fn check(what: &'static str, found: usize, limit: usize) -> Result<(), ArrowError> {
    if found <= limit {
        Ok(())
    } else {
        Err(ArrowError::column("(all batches)", Fault::Limit { what, found, limit }))
    }
}

/// Text of a request on its way into the tables of a batch.
#[derive(Debug, Default)]
struct Text {
    strings: Strings,
    repaired: u64,
    /// There was more than is taken.
    is_full: bool,
}

impl Text {
    /// Nothing yet, with room for so many bytes.
    fn with_room(size_bytes: usize) -> Self {
        Self { strings: Strings::with_room(size_bytes), ..Self::default() }
    }

    /// The id of a text, a new one each time; what is not UTF-8 is replaced by U+FFFD and counted.
    fn add(&mut self, value: Value<'_>) -> StringId {
        let bytes = value.bytes();
        if bytes.is_empty() {
            return 0;
        }
        if bytes.len() > TEXT_BYTES_MAX - self.strings.buffer().len().min(TEXT_BYTES_MAX) {
            self.is_full = true;
            return 0;
        }
        let text = match value {
            Value::Text(text) => Ok(text),
            Value::Bytes(bytes) => std::str::from_utf8(bytes),
        };
        match text {
            Ok(text) => self.strings.push(text),
            Err(_) => {
                self.repaired += 1;
                self.strings.push(&String::from_utf8_lossy(bytes))
            }
        }
    }

    /// The id of the next text.
    fn next_id(&self) -> StringId {
        self.strings.len().max(1) as StringId
    }

    /// One string a row, 0 for null, of a column of text behind a dictionary, run ends, both or neither.
    fn column<'a>(&mut self, batch: &Batch<'a, '_>, array: &Array<'a>) -> Result<Vec<StringId>, ArrowError> {
        if let Some(values) = batch.dictionary_of(array)? {
            let ids = self.column(batch, values)?;
            let codes = batch.codes(array, ids.len())?;
            return Ok(arrow::looked_up(&codes, ids));
        }
        if array.is_runs() {
            let (ends, values) = batch.runs(array)?;
            return Ok(arrow::expand(&ends, &self.column(batch, values)?, array.len()));
        }
        let mut ids = Vec::with_capacity(array.len());
        self.strings.reserve(array.len().min(ROWS_MAX));
        batch.visit_bytes(array, |_, value| ids.push(value.map_or(0, |value| self.add(value))))?;
        if self.is_full {
            let fault = Fault::Limit {
                what: "bytes of text or more",
                found: TEXT_BYTES_MAX + 1,
                limit: TEXT_BYTES_MAX,
            };
            return Err(array.rows(fault));
        }
        Ok(ids)
    }

    /// As [`column`](Self::column), nothing if the column is not there: see [`at`].
    fn optional_column<'a>(
        &mut self,
        batch: &Batch<'a, '_>,
        array: Option<&Array<'a>>,
    ) -> Result<Vec<StringId>, ArrowError> {
        array.map_or_else(|| Ok(Vec::new()), |array| self.column(batch, array))
    }
}

/// Numbers of a column, nothing if it is not there: see [`at`].
fn optional_integers<'a>(batch: &Batch<'a, '_>, array: Option<&Array<'a>>) -> Result<Vec<u64>, ArrowError> {
    array.map_or_else(|| Ok(Vec::new()), |array| batch.integers(array))
}

/// The value of a row: 0 in a column that is not there.
fn at<T: Copy + Default>(column: &[T], row: usize) -> T {
    column.get(row).copied().unwrap_or_default()
}

/// A column of structs: its table, and which row of it each entry is; [`NULL`] for null.
struct Structs<'b, 'a> {
    table: &'b Array<'a>,
    /// `None` if entry and row are the same.
    codes: Option<Vec<u32>>,
    /// Whether any of the codes is.
    has_null: bool,
}

impl<'b, 'a> Structs<'b, 'a> {
    fn of(batch: &'b Batch<'a, '_>, array: &'b Array<'a>) -> Result<Self, ArrowError> {
        let Some(table) = batch.dictionary_of(array)? else {
            return Ok(Self { table: array, codes: None, has_null: false });
        };
        let codes = batch.codes(array, table.len())?;
        Ok(Self { table, has_null: codes.contains(&NULL), codes: Some(codes) })
    }

    fn row(&self, entry: u32) -> u32 {
        match &self.codes {
            Some(codes) => codes.get(entry as usize).copied().unwrap_or(NULL),
            None => entry,
        }
    }

    /// Adds the rows of entries that are not null. The entries must be there.
    fn extend(&self, rows: &mut Vec<u32>, entries: Range<u32>) {
        let Some(codes) = &self.codes else { return rows.extend(entries) };
        let codes = codes.get(entries.start as usize..entries.end as usize).unwrap_or_default();
        if self.has_null {
            rows.extend(codes.iter().filter(|&&code| code != NULL));
        } else {
            rows.extend_from_slice(codes);
        }
    }
}
