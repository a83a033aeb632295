//! A block's rows, from first to last, a batch at a time, whose pages are fetched a few at a time.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow_array::{Array, DictionaryArray, Int64Array, RecordBatch, StringArray, types::Int32Type};

use crate::{
    block::{
        ahead::Pages,
        columns::{self, INTEGER_PREFIX, PAGE_ROWS, TEXT_PREFIX},
        file::BlockFile,
        meta::LocationCounts,
        read::{BlockReader, PartitionRows, column, ids, numbers},
        rows::Batches,
        scan,
        write::NodeColumns,
    },
    error::ReadError,
    source::Point,
};

/// Rows decoded at a time: each input of a compaction holds as many.
const BATCH_ROWS: usize = 8_192;
/// Rows whose pages are fetched at a time. A row has some bytes, so that this is a few megabytes at most.
const FETCH_ROWS: usize = 8 * PAGE_ROWS;

/// Text of the rows decoded at a time, about.
const BATCH_TEXT_BYTES: u64 = 2 << 20;
/// So many rows are decoded at a time however long their texts are.
const TEXT_ROWS_MIN: usize = 256;

/// A batch of samples.
#[derive(Default)]
pub(crate) struct SampleRows {
    pub(crate) times_ns: Vec<i64>,
    pub(crate) durations_ns: Vec<i64>,
    /// Ids of the block.
    pub(crate) stacktraces: Vec<u32>,
    pub(crate) values: Vec<i64>,
    /// By text attribute of the block.
    pub(crate) texts: Vec<Vec<Option<Arc<str>>>>,
    /// By integer attribute of the block.
    pub(crate) integers: Vec<Vec<Option<i64>>>,
}

/// Whether the attributes of samples are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    Kept,
    Dropped,
}

/// What a batch becomes.
pub(crate) trait Rows: Sized + Default {
    /// Number of rows.
    fn len(&self) -> usize;
}

impl Rows for SampleRows {
    fn len(&self) -> usize {
        self.values.len()
    }
}

impl Rows for Vec<Point> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

impl Rows for NodeColumns {
    fn len(&self) -> usize {
        self.distances.len()
    }
}

impl Rows for Vec<i32> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

/// A batch as it is.
#[derive(Default)]
pub(crate) struct Batch(pub(crate) Option<RecordBatch>);

impl Rows for Batch {
    fn len(&self) -> usize {
        self.0.as_ref().map_or(0, RecordBatch::num_rows)
    }
}

/// Makes rows of a batch, or says what is wrong with it.
type Decode<R> = Box<dyn Fn(&RecordBatch) -> Result<R, String> + Send>;

/// Reads rows of one file of a block in their order.
pub(crate) struct Cursor<'a, R> {
    block: &'a BlockReader,
    file: BlockFile,
    columns: Vec<String>,
    /// Rows decoded at a time.
    batch_rows: usize,
    /// Rows whose pages are not fetched yet.
    unread: Range<usize>,
    /// Rows whose pages are fetched, a batch at a time.
    fetched: Option<Batches>,
    decode: Decode<R>,
    /// The current batch.
    pub(crate) rows: R,
    /// The next row of the batch.
    pub(crate) at: usize,
    /// Number of the first row of the batch.
    before: usize,
}

impl<'a, R: Rows> Cursor<'a, R> {
    /// Reads `rows` of a file, of some columns (none = all).
    fn new(
        block: &'a BlockReader,
        name: &'static str,
        columns: Vec<String>,
        rows: Range<usize>,
        decode: Decode<R>,
    ) -> Result<Self, ReadError> {
        let (file, before) = (block.file(name)?, rows.start);
        let (fetched, empty, batch_rows) = (None, R::default(), BATCH_ROWS);
        Ok(Self {
            block,
            file,
            columns,
            batch_rows,
            unread: rows,
            fetched,
            decode,
            rows: empty,
            at: 0,
            before,
        })
    }

    /// Number of the next row of the file.
    pub(crate) fn position(&self) -> usize {
        self.before + self.at
    }

    /// Makes sure that there is a next row in the batch.
    pub(crate) async fn fill(&mut self) -> Result<(), ReadError> {
        if self.fill_if_any().await? {
            return Ok(());
        }
        Err(self.file.corrupt("it has fewer rows than series.parquet says"))
    }

    /// The same, unless all were read; whether there is one.
    pub(crate) async fn fill_if_any(&mut self) -> Result<bool, ReadError> {
        while self.at >= self.rows.len() {
            let Some(batch) = self.next_batch().await? else { return Ok(false) };
            self.before += self.rows.len();
            self.at = 0;
            self.rows = (self.decode)(&batch).map_err(|reason| self.file.corrupt(reason))?;
        }
        Ok(true)
    }

    async fn next_batch(&mut self) -> Result<Option<RecordBatch>, ReadError> {
        loop {
            if let Some(fetched) = &mut self.fetched
                && let Some(batch) = fetched.next().await?
            {
                return Ok(Some(batch));
            }
            if self.unread.is_empty() {
                self.fetched = None;
                return Ok(None);
            }
            // Up to the end of a page, so that none is fetched twice.
            let fetch_rows = FETCH_ROWS * self.batch_rows / BATCH_ROWS;
            let end = if self.unread.len() > fetch_rows {
                self.block.page_end(self.file.name, self.unread.start, fetch_rows).await?
            } else {
                self.unread.end
            };
            let next = self.unread.start..end;
            self.unread.start = next.end;
            let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
            let chosen = self.block.chosen(self.file.name, Some(&[next]), &columns).await?;
            self.fetched = Some(chosen.stream(Pages::default(), self.batch_rows)?);
        }
    }

    /// Checks that a series begins at the next row.
    pub(crate) fn expect(&self, row: usize) -> Result<(), ReadError> {
        if self.position() == row {
            return Ok(());
        }
        let position = self.position();
        Err(self
            .file
            .corrupt(format!("series.parquet has a series at row {row}, after those up to {position}")))
    }

    /// What is wrong with the file.
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> ReadError {
        self.file.corrupt(reason)
    }
}

/// The samples of a block, with or without their attributes.
pub(crate) async fn samples(
    block: &BlockReader,
    attributes: Attributes,
) -> Result<Cursor<'_, SampleRows>, ReadError> {
    let (text, integer): (Vec<String>, Vec<String>) = match attributes {
        Attributes::Dropped => Default::default(),
        Attributes::Kept => (
            block.meta.text_attributes.iter().map(|name| format!("{TEXT_PREFIX}{name}")).collect(),
            block.meta.integer_attributes.keys().map(|name| format!("{INTEGER_PREFIX}{name}")).collect(),
        ),
    };
    let mut names = vec!["time_ns", "duration_ns", "stacktrace", "value"];
    names.extend(text.iter().chain(&integer).map(String::as_str));
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    let decode = move |batch: &RecordBatch| -> Result<SampleRows, String> {
        Ok(SampleRows {
            times_ns: numbers(batch, "time_ns")?.to_vec(),
            durations_ns: numbers(batch, "duration_ns")?.to_vec(),
            stacktraces: ids(batch, "stacktrace")?.iter().map(|&s| s as u32).collect(),
            values: numbers(batch, "value")?.to_vec(),
            texts: text.iter().map(|name| texts(batch, name)).collect::<Result<_, _>>()?,
            integers: integer
                .iter()
                .map(|name| Ok(column::<Int64Array>(batch, name)?.iter().collect()))
                .collect::<Result<_, String>>()?,
        })
    };
    let rows = 0..block.row_count(columns::SAMPLES).await?;
    Cursor::new(block, columns::SAMPLES, names, rows, Box::new(decode))
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<Option<Arc<str>>>, String> {
    let array = column::<DictionaryArray<Int32Type>>(batch, name)?;
    let values = array
        .values()
        .as_any()
        .downcast_ref::<StringArray>()
        .ok_or_else(|| format!("column {name} is not text"))?;
    let mut known: HashMap<i32, Arc<str>> = HashMap::new();
    let mut text = |key: i32| known.entry(key).or_insert_with(|| values.value(key as usize).into()).clone();
    Ok(array.keys().iter().map(|key| key.map(&mut text)).collect())
}

/// The points of a block.
pub(crate) async fn points(block: &BlockReader) -> Result<Cursor<'_, Vec<Point>>, ReadError> {
    let decode = |batch: &RecordBatch| -> Result<Vec<Point>, String> {
        let points = scan::decode_points(batch)?;
        Ok((0..batch.num_rows()).map(|row| points.get(row)).collect())
    };
    let rows = 0..block.row_count(columns::POINTS).await?;
    Cursor::new(block, columns::POINTS, Vec::new(), rows, Box::new(decode))
}

/// The nodes of a partition, in preorder, its root first.
pub(crate) fn nodes<'a>(
    block: &'a BlockReader,
    rows: &PartitionRows,
) -> Result<Cursor<'a, NodeColumns>, ReadError> {
    let decode = |batch: &RecordBatch| -> Result<NodeColumns, String> {
        Ok(NodeColumns {
            distances: ids(batch, "parent_distance")?.to_vec(),
            locations: ids(batch, "location")?.to_vec(),
        })
    };
    let rows = rows.first_node..rows.first_node + rows.node_count;
    Cursor::new(block, columns::NODES, Vec::new(), rows, Box::new(decode))
}

/// The nodes of the block that the stacktraces of a partition end at.
pub(crate) fn leaves<'a>(
    block: &'a BlockReader,
    rows: &PartitionRows,
) -> Result<Cursor<'a, Vec<i32>>, ReadError> {
    let decode = |batch: &RecordBatch| Ok(ids(batch, "leaf")?.to_vec());
    let rows = rows.first_stacktrace..rows.first_stacktrace + rows.stacktrace_count;
    Cursor::new(block, columns::STACKTRACES, Vec::new(), rows, Box::new(decode))
}

/// Rows of locations, as they are; fewer at a time where their texts are long.
pub(crate) fn locations(block: &BlockReader, rows: Range<usize>) -> Result<Cursor<'_, Batch>, ReadError> {
    let decode = |batch: &RecordBatch| Ok(Batch(Some(batch.clone())));
    let cursor = Cursor::new(block, columns::LOCATIONS, Vec::new(), rows, Box::new(decode))?;
    Ok(Cursor { batch_rows: rows_of_text(block.meta.locations), ..cursor })
}

fn rows_of_text(counts: LocationCounts) -> usize {
    let of_row = counts.text_bytes / counts.rows.max(1) + 1;
    ((BATCH_TEXT_BYTES / of_row) as usize).clamp(TEXT_ROWS_MIN, BATCH_ROWS)
}
