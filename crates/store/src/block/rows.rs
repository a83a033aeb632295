//! Row ranges of a block's files, as they are in Parquet.

use std::{collections::VecDeque, ops::Range, panic::AssertUnwindSafe};

use arrow_array::RecordBatch;
use futures::{FutureExt, StreamExt};
use parquet::arrow::{
    ParquetRecordBatchStreamBuilder, ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection},
    async_reader::{AsyncFileReader, ParquetRecordBatchStream},
};

use super::{
    ahead::{self, Ahead, Pages},
    file::BlockFile,
    read::{BlockReader, Cached, Part},
};
use crate::error::ReadError;

/// Rows decoded at a time: large enough to decode in bulk, small enough for the processor's cache.
const BATCH_ROWS: usize = 32_768;

impl BlockReader {
    /// A file's footer and offset index.
    async fn footer(&self, file: &mut BlockFile) -> Result<ArrowReaderMetadata, ReadError> {
        let key = (self.id.clone(), Part::Footer(file.name));
        if let Some(Cached::Footer(footer)) = self.cache.get(&key) {
            return Ok(footer);
        }
        let metadata = file.get_metadata(None).await.map_err(|e| file.error(&e))?;
        let footer =
            ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new()).map_err(|e| file.error(&e))?;
        self.cache.insert(key, Cached::Footer(footer.clone()));
        Ok(footer)
    }

    /// Reads row ranges (ascending, disjoint) of some columns, batch by batch.
    pub(crate) async fn rows(
        &self,
        name: &'static str,
        wanted: Option<&[Range<usize>]>,
        columns: &[&str],
        each: impl FnMut(&RecordBatch) -> Result<(), String> + Send,
    ) -> Result<(), ReadError> {
        self.chosen(name, wanted, columns).await?.each(Pages::default(), each).await
    }

    /// Row ranges (ascending, disjoint; `None` = all) of some columns (none = all).
    pub(crate) async fn chosen(
        &self,
        name: &'static str,
        wanted: Option<&[Range<usize>]>,
        columns: &[&str],
    ) -> Result<Chosen, ReadError> {
        let mut file = self.file(name)?;
        let footer = self.footer(&mut file).await?;
        let total = footer.metadata().file_metadata().num_rows().max(0) as usize;
        if wanted.is_some_and(|w| w.iter().any(|r| r.end > total)) {
            return Err(file.corrupt(format!("it has {total} rows, fewer than series.parquet says")));
        }
        let schema = footer.schema().clone();
        let columns = if columns.is_empty() {
            ProjectionMask::all()
        } else {
            let leaves = columns.iter().filter_map(|c| schema.index_of(c).ok());
            ProjectionMask::roots(footer.parquet_schema(), leaves)
        };
        let rows = wanted.map(|wanted| {
            let wanted = wanted.iter().filter(|r| !r.is_empty()).cloned();
            RowSelection::from_consecutive_ranges(wanted, total)
        });
        Ok(Chosen { file, footer, columns, rows })
    }

    /// Rows of a file.
    pub(crate) async fn row_count(&self, name: &'static str) -> Result<usize, ReadError> {
        let mut file = self.file(name)?;
        let footer = self.footer(&mut file).await?;
        Ok(footer.metadata().file_metadata().num_rows().max(0) as usize)
    }

    /// The last row at which a page ends among so many from the first on; that many rows if none does.
    pub(crate) async fn page_end(
        &self,
        name: &'static str,
        first: usize,
        count: usize,
    ) -> Result<usize, ReadError> {
        let mut file = self.file(name)?;
        let footer = self.footer(&mut file).await?;
        let (mut end, mut group_start) = (None, 0);
        for (number, group) in footer.metadata().row_groups().iter().enumerate() {
            let index = footer.metadata().offset_index().and_then(|groups| groups.get(number));
            let pages = index.and_then(|columns| columns.first()).map(|index| index.page_locations());
            // A page ends where the next one starts.
            let starts = pages.into_iter().flatten().map(|page| page.first_row_index.max(0) as usize);
            let starts = starts.map(|start| group_start + start);
            end = starts.filter(|start| (first + 1..=first + count).contains(start)).max().or(end);
            group_start += group.num_rows().max(0) as usize;
            if group_start > first + count {
                break;
            }
        }
        Ok(end.unwrap_or(first + count))
    }
}

/// Rows and columns of a file that are to be read.
pub(crate) struct Chosen {
    pub(crate) file: BlockFile,
    footer: ArrowReaderMetadata,
    columns: ProjectionMask,
    /// `None` = all.
    rows: Option<RowSelection>,
}

impl Chosen {
    /// The bytes that hold them, by row group.
    pub(super) fn pages(&self) -> VecDeque<Vec<Range<u64>>> {
        ahead::pages(self.footer.metadata(), &self.columns, self.rows.clone())
    }

    /// Reads them so many at a time, but for pages that are there already.
    pub(crate) fn stream(self, held: Pages, batch_rows: usize) -> Result<Batches, ReadError> {
        let pages = self.pages();
        let Self { file, footer, columns, rows } = self;
        let ahead = Ahead::new(file.clone(), pages, held);
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(ahead, footer)
            .with_batch_size(batch_rows)
            .with_projection(columns);
        if let Some(rows) = rows {
            builder = builder.with_row_selection(rows);
        }
        let stream = builder.build().map_err(|e| file.error(&e))?;
        Ok(Batches { file, stream: Some(stream) })
    }

    /// The same, batch by batch.
    pub(super) async fn each(
        self,
        held: Pages,
        mut each: impl FnMut(&RecordBatch) -> Result<(), String> + Send,
    ) -> Result<(), ReadError> {
        let file = self.file.clone();
        let mut batches = self.stream(held, BATCH_ROWS)?;
        while let Some(batch) = batches.next().await? {
            each(&batch).map_err(|reason| file.corrupt(reason))?;
            // What is fetched already never waits: others are to go on meanwhile, and whoever asked may be gone.
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Rows of a file, batch by batch.
pub(crate) struct Batches {
    file: BlockFile,
    stream: Option<ParquetRecordBatchStream<Ahead>>,
}

impl Batches {
    /// The next rows, if any are left.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, ReadError> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        // Checksums keep damage from it. What was written wrong makes it panic, where a page's header says that the page is
        // longer than its column.
        let next = AssertUnwindSafe(stream.next()).catch_unwind().await;
        match next {
            Ok(batch) => batch.transpose().map_err(|e| self.file.error(&e)),
            Err(_) => {
                self.stream = None;
                Err(self.file.corrupt("its pages do not hold together"))
            }
        }
    }
}
