//! A block's rows, from first to last, a batch at a time.

use std::{collections::HashMap, sync::Arc};

use arrow_array::{Array, DictionaryArray, Int64Array, RecordBatch, StringArray, types::Int32Type};
use futures::StreamExt;
use parquet::arrow::async_reader::ParquetRecordBatchStream;

use crate::{
    block::{
        columns::{self, INTEGER_PREFIX, TEXT_PREFIX},
        file::BlockFile,
        read::{BlockReader, column, ids, numbers},
        scan,
    },
    error::ReadError,
    source::Point,
};

/// Rows decoded at a time: each input of a compaction holds as many.
const BATCH_ROWS: usize = 8_192;

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

/// Makes rows of a batch, or says what is wrong with it.
type Decode<R> = Box<dyn Fn(&RecordBatch) -> Result<R, String> + Send>;

/// Reads one file of a block in the order of its rows.
pub(crate) struct Cursor<R> {
    file: BlockFile,
    stream: ParquetRecordBatchStream<BlockFile>,
    decode: Decode<R>,
    /// The current batch.
    pub(crate) rows: R,
    /// The next row of the batch.
    pub(crate) at: usize,
    /// Rows of the file before the batch.
    before: usize,
}

impl<R: Rows> Cursor<R> {
    /// Number of the next row of the file.
    pub(crate) fn position(&self) -> usize {
        self.before + self.at
    }

    /// Makes sure that there is a next row in the batch.
    pub(crate) async fn fill(&mut self) -> Result<(), ReadError> {
        while self.at >= self.rows.len() {
            let Some(batch) = self.stream.next().await else {
                return Err(self.file.corrupt("it has fewer rows than series.parquet says"));
            };
            let batch = batch.map_err(|e| self.file.error(&e))?;
            self.before += self.rows.len();
            self.at = 0;
            self.rows = (self.decode)(&batch).map_err(|reason| self.file.corrupt(reason))?;
        }
        Ok(())
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
}

/// The samples of a block, with or without their attributes.
pub(crate) async fn samples(
    block: &BlockReader,
    attributes: Attributes,
) -> Result<Cursor<SampleRows>, ReadError> {
    let (text, integer): (Vec<String>, Vec<String>) = match attributes {
        Attributes::Dropped => Default::default(),
        Attributes::Kept => (
            block.meta.text_attributes.iter().map(|name| format!("{TEXT_PREFIX}{name}")).collect(),
            block.meta.integer_attributes.keys().map(|name| format!("{INTEGER_PREFIX}{name}")).collect(),
        ),
    };
    let mut names = vec!["time_ns", "duration_ns", "stacktrace", "value"];
    names.extend(text.iter().chain(&integer).map(String::as_str));
    let (file, stream) = block.row_stream(columns::SAMPLES, None, &names, BATCH_ROWS).await?;
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
    Ok(Cursor { file, stream, decode: Box::new(decode), rows: SampleRows::default(), at: 0, before: 0 })
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
pub(crate) async fn points(block: &BlockReader) -> Result<Cursor<Vec<Point>>, ReadError> {
    let (file, stream) = block.row_stream(columns::POINTS, None, &[], BATCH_ROWS).await?;
    let decode = |batch: &RecordBatch| -> Result<Vec<Point>, String> {
        let points = scan::decode_points(batch)?;
        Ok((0..batch.num_rows()).map(|row| points.get(row)).collect())
    };
    Ok(Cursor { file, stream, decode: Box::new(decode), rows: Vec::new(), at: 0, before: 0 })
}
