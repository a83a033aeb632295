//! Reads of a Parquet file some row groups ahead.
//!
//! The decoder asks for one row group after another. What it will ask for is known beforehand, from the rows and columns wanted and the
//! file's offset index, so that row groups that lie beside each other are read at once: a bucket is asked less often, and a local file is
//! opened less often. What was not foreseen is read when it is asked for.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderOptions, RowSelection},
        async_reader::AsyncFileReader,
    },
    file::metadata::ParquetMetaData,
};

use super::file::{BlockFile, external, joined};
use crate::error::ReadError;

/// Row groups are read together until they have so many bytes: about what a row group of the largest size has, so that memory is bounded
/// by it as if each was read alone.
const AHEAD_BYTES: u64 = 4 << 20;

/// Bytes of a file that are there, in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pages {
    /// By where they begin.
    pieces: BTreeMap<u64, Bytes>,
}

impl Pages {
    /// Bytes of ranges.
    pub(crate) fn new(ranges: &[Range<u64>], bytes: Vec<Bytes>) -> Self {
        Self { pieces: ranges.iter().map(|range| range.start).zip(bytes).collect() }
    }

    /// The bytes of a range, if they are there in one piece.
    pub(crate) fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, bytes) = self.pieces.range(..=range.start).next_back()?;
        let (from, to) = (range.start - start, range.end.checked_sub(*start)?);
        (from <= to && to <= bytes.len() as u64).then(|| bytes.slice(from as usize..to as usize))
    }

    /// Adds others. Of two pieces that begin together the new one stays.
    pub(crate) fn extend(&mut self, others: Self) {
        self.pieces.extend(others.pieces);
    }

    /// Memory held, if the pieces are parts of nothing larger.
    pub(crate) fn size_bytes(&self) -> usize {
        self.pieces.values().map(Bytes::len).sum()
    }
}

/// What the decoder asks for, by row group. Pages that follow each other are one range: where all rows of a row group are wanted, the
/// decoder asks for whole columns.
pub(crate) fn pages(
    metadata: &ParquetMetaData,
    columns: &ProjectionMask,
    mut rows: Option<RowSelection>,
) -> VecDeque<Vec<Range<u64>>> {
    let mut groups = VecDeque::new();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let own = rows.as_mut().map(|rows| rows.split_off(group.num_rows().max(0) as usize));
        if own.as_ref().is_some_and(|own| !own.selects_any()) {
            continue;
        }
        let index = metadata.offset_index().and_then(|of_groups| of_groups.get(number));
        let mut wanted = Vec::new();
        for (at, column) in group.columns().iter().enumerate().filter(|(at, _)| columns.leaf_included(*at)) {
            let (start, length) = column.byte_range();
            let pages = index.and_then(|columns| columns.get(at)).map(|index| index.page_locations());
            match own.as_ref().zip(pages) {
                Some((own, pages)) => {
                    // A dictionary is before the first page.
                    let first = pages.first().map_or(start, |page| page.offset.max(0) as u64);
                    wanted.extend((first > start).then_some(start..first));
                    wanted.extend(own.scan_ranges(pages));
                }
                None => wanted.push(start..start.saturating_add(length)),
            }
        }
        groups.push_back(joined(wanted.into_iter()));
    }
    groups
}

/// A file of which rows are read in order.
pub(crate) struct Ahead {
    file: BlockFile,
    /// What is still to be read, by row group.
    unread: VecDeque<Vec<Range<u64>>>,
    held: Pages,
}

impl Ahead {
    /// Reads what is `unread`, but for pages that are there already.
    pub(crate) fn new(file: BlockFile, unread: VecDeque<Vec<Range<u64>>>, held: Pages) -> Self {
        Self { file, unread, held }
    }

    /// The bytes of ranges, if all are there.
    fn get(&self, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
        ranges.iter().map(|range| self.held.get(range)).collect()
    }

    /// Reads the next row groups in place of those that are there.
    async fn advance(&mut self) -> Result<(), ReadError> {
        let mut ranges = Vec::new();
        let mut size_bytes = 0;
        while size_bytes < AHEAD_BYTES
            && let Some(group) = self.unread.pop_front()
        {
            size_bytes += group.iter().map(|range| range.end.saturating_sub(range.start)).sum::<u64>();
            ranges.extend(group);
        }
        self.held = Pages::default();
        let read = self.file.read(&ranges).await?;
        self.held = Pages::new(&ranges, read);
        Ok(())
    }

    async fn read(&mut self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        if let Some(bytes) = self.get(ranges) {
            return Ok(bytes);
        }
        self.advance().await?;
        match self.get(ranges) {
            Some(bytes) => Ok(bytes),
            None => self.file.read(ranges).await,
        }
    }
}

impl AsyncFileReader for Ahead {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move {
            let mut read = self.read(std::slice::from_ref(&range)).await.map_err(external)?;
            Ok(read.pop().unwrap_or_default())
        }
        .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move { self.read(&ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        self.file.get_metadata(options)
    }
}
