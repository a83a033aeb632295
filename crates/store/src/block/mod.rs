//! A block: samples that never change again, as plain Parquet files that any engine reads.
//!
//! ```text
//! blocks/<ULID>/samples.parquet      one row a sample, sorted by partition, series, time, stacktrace
//!               points.parquet       one row a series and time: sum, count
//!               nodes.parquet        stacktrace tree, preorder within the partition
//!               stacktraces.parquet  leaf node of each stacktrace
//!               locations.parquet    one row a location and line, shared by partitions first
//!               series.parquet       labels, and the row ranges of the series and of its partition in the files above
//!               attributes.parquet   which series have which sample attributes, with which values
//!               requests.parquet     hashes of the requests, for repeats
//!               block.json           ranges, counts, sizes, checksums of all files
//! ```
//! Ids are dense over the block and contiguous by partition, so that one partition is a range of rows in every file. `block.json` is put
//! last; its own checksum is in the manifest. Every read of a file is checked against the checksums of its parts (32 KiB or less),
//! so damage is found before a number is computed from it.
//!
//! [`encode`] makes a block of a head, [`read`] answers queries from it; [`compact`](crate::compact) makes one of several.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use object_store::ObjectStore;

use self::{
    meta::BlockMeta,
    read::{BlockCache, BlockReader},
};
use crate::{
    error::ReadError,
    manifest::BlockEntry,
    source::{Point, SampleRun, ScanRequest, SeriesTable, Source, Symbols, TimeRange, Tree},
    storage::Storage,
};

pub(crate) mod ahead;
pub(crate) mod columns;
pub(crate) mod encode;
pub(crate) mod file;
pub(crate) mod locations;
pub(crate) mod meta;
pub(crate) mod read;
pub(crate) mod rows;
pub(crate) mod scan;
pub(crate) mod upload;
pub(crate) mod write;

/// A block of the manifest, as queries see it.
#[derive(Clone)]
pub(crate) struct ListedBlock {
    pub(crate) entry: BlockEntry,
    pub(crate) source: Arc<dyn Source>,
    /// The same, if it can be read.
    pub(crate) reader: Option<Arc<BlockReader>>,
}

impl ListedBlock {
    /// The block read from somewhere else, with what is known of it already.
    pub(crate) fn over(&self, objects: &Arc<dyn ObjectStore>) -> Arc<dyn Source> {
        match &self.reader {
            Some(reader) => Arc::new(reader.over(objects.clone())),
            None => self.source.clone(),
        }
    }

    /// A block whose description is known.
    pub(crate) fn readable(
        entry: BlockEntry,
        meta: BlockMeta,
        storage: &Storage,
        cache: &Arc<BlockCache>,
    ) -> Self {
        let directory = Storage::block_path(&entry.id);
        let reader = BlockReader::new(meta, directory, storage.objects.clone(), cache.clone())
            .through(storage.read_cache.clone());
        let reader = Arc::new(reader);
        Self { entry, source: reader.clone(), reader: Some(reader) }
    }

    /// A block whose description cannot be read: every query that needs it fails with `error`, the others do not.
    pub(crate) fn unreadable(entry: BlockEntry, error: ReadError) -> Self {
        let source = Arc::new(Unreadable { name: entry.id.clone(), range: entry.range(), error });
        Self { entry, source, reader: None }
    }
}

struct Unreadable {
    name: String,
    range: TimeRange,
    error: ReadError,
}

#[async_trait]
impl Source for Unreadable {
    fn name(&self) -> &str {
        &self.name
    }

    fn range(&self) -> TimeRange {
        self.range
    }

    async fn series(&self) -> Result<Arc<SeriesTable>, ReadError> {
        Err(self.error.clone())
    }

    async fn symbols(&self, _partitions: &[u32]) -> Result<Arc<Symbols>, ReadError> {
        Err(self.error.clone())
    }

    async fn trees(&self, _partitions: &[u32], _wanted: Range<usize>) -> Result<Vec<Arc<Tree>>, ReadError> {
        Err(self.error.clone())
    }

    async fn scan(
        &self,
        _request: &ScanRequest,
        _sink: &mut (dyn for<'a> FnMut(SampleRun<'a>) + Send),
    ) -> Result<(), ReadError> {
        Err(self.error.clone())
    }

    async fn points(
        &self,
        _request: &ScanRequest,
        _sink: &mut (dyn for<'a> FnMut(u32, &'a [Point]) + Send),
    ) -> Result<(), ReadError> {
        Err(self.error.clone())
    }
}
