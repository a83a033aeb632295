//! Reads of a block's file that cannot return damaged bytes.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader},
};
use xxhash_rust::xxh3::xxh3_64;

use super::meta::Parts;
use crate::{
    error::ReadError,
    read_cache::{self, ReadCache},
};

/// What is read of the end of a file at first: the footer and the offset index of some hundred row groups.
const FOOTER_BYTES: usize = 128 << 10;

/// One file of a block. Reads whole checked parts and hands out what was asked for.
#[derive(Clone)]
pub(crate) struct BlockFile {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Asked first.
    pub(crate) read_cache: Option<Arc<ReadCache>>,
    pub(crate) path: Path,
    /// Name of the block, for messages.
    pub(crate) block: Arc<str>,
    /// Name of the file, for messages.
    pub(crate) name: &'static str,
    pub(crate) size_bytes: u64,
    pub(crate) parts: Arc<Parts>,
}

impl BlockFile {
    pub(crate) fn corrupt(&self, reason: impl Into<String>) -> ReadError {
        ReadError::Corrupt {
            block: self.block.to_string(),
            file: self.name.to_owned(),
            reason: reason.into(),
        }
    }

    /// The failure behind a Parquet error: our own if it is one, damage otherwise.
    pub(crate) fn error(&self, error: &ParquetError) -> ReadError {
        if let ParquetError::External(inner) = error
            && let Some(own) = inner.downcast_ref::<ReadError>()
        {
            return own.clone();
        }
        self.corrupt(error.to_string())
    }

    /// Compares bytes of whole parts with their checksums.
    fn verify(&self, run: &Range<u64>, bytes: &Bytes) -> Result<(), ReadError> {
        for number in self.parts.numbers(run) {
            let part = self.parts.range(number);
            let (start, end) = ((part.start - run.start) as usize, (part.end - run.start) as usize);
            if self.parts.sum(number) != Some(xxh3_64(&bytes[start..end])) {
                return Err(self.corrupt(format!("the checksum of bytes {}.. does not fit", part.start)));
            }
        }
        Ok(())
    }

    /// The bytes of several ranges, each checked.
    pub(crate) async fn read(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        for range in ranges {
            if range.start > range.end || range.end > self.size_bytes {
                return Err(self.corrupt(format!(
                    "bytes {}..{} are asked for, the file has {}",
                    range.start, range.end, self.size_bytes
                )));
            }
        }
        // Neighbouring pages share parts: fetch each run of parts once.
        let mut wanted: Vec<Range<u64>> =
            ranges.iter().filter(|r| !r.is_empty()).map(|r| self.parts.around(r)).collect();
        wanted.sort_by_key(|r| r.start);
        let runs = joined(wanted.into_iter());
        let fetched = match &self.read_cache {
            Some(cache) => self.read_through(cache, &runs).await?,
            None => self.fetch(&runs).await?,
        };
        ranges
            .iter()
            .map(|range| {
                if range.is_empty() {
                    return Ok(Bytes::new());
                }
                let at = runs.partition_point(|run| run.end < range.end);
                let (run, bytes) = (&runs[at], &fetched[at]);
                Ok(bytes.slice((range.start - run.start) as usize..(range.end - run.start) as usize))
            })
            .collect()
    }

    /// Runs of parts from the store, checked.
    async fn fetch(&self, runs: &[Range<u64>]) -> Result<Vec<Bytes>, ReadError> {
        let fetched = self.store.get_ranges(&self.path, runs).await.map_err(|e| match e {
            object_store::Error::NotFound { .. } => {
                ReadError::Missing { block: self.block.to_string(), file: self.name.to_owned() }
            }
            source => self.unavailable(source),
        })?;
        for (run, bytes) in runs.iter().zip(&fetched) {
            if bytes.len() as u64 != run.end - run.start {
                return Err(self.corrupt(format!("the file ends before byte {}", run.end)));
            }
            self.verify(run, bytes)?;
        }
        Ok(fetched)
    }

    /// Runs of parts from the cache, and what is not there from the store.
    async fn read_through(
        &self,
        cache: &Arc<ReadCache>,
        runs: &[Range<u64>],
    ) -> Result<Vec<Bytes>, ReadError> {
        let numbers = |run: &Range<u64>| self.parts.numbers(run);
        let part = |number: usize| {
            let checksum = self.parts.sum(number).unwrap_or_default();
            read_cache::Part::new(&self.path, number, self.parts.range(number), checksum)
        };
        let parts: Vec<_> = runs.iter().flat_map(numbers).map(part).collect();
        let (asked, wanted) = (cache.clone(), parts.clone());
        let mut found = self.blocking(move || asked.get(&wanted)).await?;
        let missing: Vec<usize> = (0..parts.len()).filter(|&at| found[at].is_none()).collect();
        let missing_runs = joined(missing.iter().map(|&at| parts[at].range.clone()));
        if !missing_runs.is_empty() {
            let fetched = self.fetch(&missing_runs).await?;
            let mut new = Vec::with_capacity(missing.len());
            let mut run = 0;
            for at in missing {
                let range = &parts[at].range;
                while missing_runs[run].end < range.end {
                    run += 1;
                }
                let start = (range.start - missing_runs[run].start) as usize;
                let bytes = fetched[run].slice(start..start + (range.end - range.start) as usize);
                found[at] = Some(bytes.clone());
                new.push((parts[at].clone(), bytes));
            }
            let cache = cache.clone();
            self.blocking(move || cache.put(&new)).await?;
        }
        let mut found = found.into_iter().flatten();
        Ok(runs.iter().map(|run| concatenated(found.by_ref().take(numbers(run).count()).collect())).collect())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|source| self.unavailable(object_store::Error::JoinError { source }))
    }

    fn unavailable(&self, source: object_store::Error) -> ReadError {
        ReadError::Unavailable {
            block: self.block.to_string(),
            file: self.name.to_owned(),
            source: Arc::new(source),
        }
    }

    async fn read_one(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let mut all = self.read(std::slice::from_ref(&range)).await?;
        Ok(all.pop().unwrap_or_default())
    }

    /// The whole file, checked.
    pub(crate) async fn read_all(&self) -> Result<Bytes, ReadError> {
        let size = self
            .store
            .head(&self.path)
            .await
            .map_err(|e| match e {
                object_store::Error::NotFound { .. } => {
                    ReadError::Missing { block: self.block.to_string(), file: self.name.to_owned() }
                }
                source => self.unavailable(source),
            })?
            .size;
        if size != self.size_bytes {
            return Err(self.corrupt(format!("it has {size} bytes, not {}", self.size_bytes)));
        }
        self.read_one(0..self.size_bytes).await
    }
}

/// Joins ranges, sorted by their start, that touch.
pub(super) fn joined(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    runs
}

fn concatenated(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all.freeze()
}

/// A failure on its way through Parquet's reader; [`BlockFile::error`] finds it again.
pub(crate) fn external(error: ReadError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for BlockFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.read_one(range).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size_bytes;
            let reader = ParquetMetaDataReader::new()
                .with_column_index_policy(PageIndexPolicy::Skip)
                .with_offset_index_policy(PageIndexPolicy::Required)
                .with_prefetch_hint(Some(FOOTER_BYTES));
            let metadata = reader.load_and_finish(self, size).await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}
