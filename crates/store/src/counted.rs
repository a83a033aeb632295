//! Counts what is asked of an object store: each request of a bucket costs money and a round trip.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use crate::query_cost::QueryCosts;

/// Ranges of one object that are farther apart are never one request: at the speed of a bucket, so much takes about as long as a
/// round trip.
const GAP_MAX_BYTES: u64 = 1 << 20;
/// So much of what nobody wants may be read between ranges, however little is wanted.
const WASTE_MIN_BYTES: u64 = 64 << 10;

/// Requests for ranges of one object that are under way at once.
const RUNS_AT_ONCE: usize = 10;

/// What to ask for, to have `ranges`: as few requests as possible, by closing the smallest gaps first, and at most twice the bytes wanted
/// (or [`WASTE_MIN_BYTES`] more).
fn runs(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut wanted: Vec<Range<u64>> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
    wanted.sort_unstable_by_key(|range| range.start);
    let mut runs: Vec<Range<u64>> = Vec::with_capacity(wanted.len());
    for range in wanted {
        match runs.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => runs.push(range),
        }
    }
    let mut gaps: Vec<(u64, usize)> =
        runs.windows(2).enumerate().map(|(at, pair)| (pair[1].start - pair[0].end, at + 1)).collect();
    gaps.sort_unstable();
    let mut left = runs.iter().map(|run| run.end - run.start).sum::<u64>().max(WASTE_MIN_BYTES);
    let mut closed = vec![false; runs.len()];
    for (bytes, at) in gaps {
        if bytes > left.min(GAP_MAX_BYTES) {
            break;
        }
        left -= bytes;
        closed[at] = true;
    }
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(runs.len());
    for (run, closed) in runs.into_iter().zip(closed) {
        match joined.last_mut() {
            Some(last) if closed => last.end = run.end,
            _ => joined.push(run),
        }
    }
    joined
}

/// Requests since the start.
#[derive(Debug)]
pub(crate) struct Requests {
    gets: AtomicU64,
    read_bytes: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
    /// Told of them in the end, if they are those of one query.
    costs: Option<Arc<QueryCosts>>,
}

impl Drop for Requests {
    fn drop(&mut self) {
        if let Some(costs) = &self.costs {
            costs.add(self.counts());
        }
    }
}

/// Requests of the object store, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// Objects or ranges of objects read, or asked for their size.
    pub gets: u64,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Objects put.
    pub puts: u64,
    /// Lists begun; one of more than a thousand objects is several requests of a bucket.
    pub lists: u64,
    /// Objects deleted; a bucket takes up to a thousand in one request.
    pub deletes: u64,
}

impl Default for Requests {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Requests {
    /// Those of one query.
    pub(crate) fn of_query(costs: Arc<QueryCosts>) -> Self {
        Self::new(Some(costs))
    }

    fn new(costs: Option<Arc<QueryCosts>>) -> Self {
        Self {
            gets: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
            puts: AtomicU64::new(0),
            lists: AtomicU64::new(0),
            deletes: AtomicU64::new(0),
            costs,
        }
    }

    fn read(&self, bytes: u64) {
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> RequestCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            gets: get(&self.gets),
            read_bytes: get(&self.read_bytes),
            puts: get(&self.puts),
            lists: get(&self.lists),
            deletes: get(&self.deletes),
        }
    }
}

/// An object store whose requests are counted.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) requests: Arc<Requests>,
    /// Whether objects are files here, for which the store beneath knows best how to read ranges.
    pub(crate) is_local: bool,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[async_trait]
impl ObjectStore for Counted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        one(&self.requests.puts);
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        one(&self.requests.puts);
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        one(&self.requests.gets);
        let is_head = options.head;
        let got = self.inner.get_opts(path, options).await?;
        if !is_head {
            self.requests.read(got.range.end - got.range.start);
        }
        Ok(got)
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.is_local {
            // One piece of work that opens the file once.
            one(&self.requests.gets);
            let bytes = self.inner.get_ranges(path, ranges).await?;
            self.requests.read(bytes.iter().map(|b| b.len() as u64).sum());
            return Ok(bytes);
        }
        let runs = runs(ranges);
        let fetch = |run: Range<u64>| async move {
            one(&self.requests.gets);
            let bytes = self.inner.get_range(path, run).await?;
            self.requests.read(bytes.len() as u64);
            Ok::<_, object_store::Error>(bytes)
        };
        let fetched: Vec<Bytes> =
            stream::iter(runs.clone()).map(fetch).buffered(RUNS_AT_ONCE).try_collect().await?;
        let slice = |range: &Range<u64>| {
            // An empty one is in no run.
            if range.is_empty() {
                return Bytes::new();
            }
            let at = runs.partition_point(|run| run.end < range.end);
            let (Some(run), Some(bytes)) = (runs.get(at), fetched.get(at)) else { return Bytes::new() };
            // An object that ends early gives less than was asked for.
            let end = ((range.end - run.start) as usize).min(bytes.len());
            bytes.slice(((range.start - run.start) as usize).min(end)..end)
        };
        Ok(ranges.iter().map(slice).collect())
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let requests = self.requests.clone();
        self.inner.delete_stream(paths.inspect(move |_| one(&requests.deletes)).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        one(&self.requests.lists);
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        one(&self.requests.lists);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        one(&self.requests.puts);
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1 << 10;

    #[test]
    fn gaps_are_closed_as_far_as_twice_the_bytes() {
        let check = |ranges: &[(u64, u64)], expected: &[(u64, u64)]| {
            let scaled = |ranges: &[(u64, u64)]| -> Vec<Range<u64>> {
                ranges.iter().map(|&(start, end)| start * KIB..end * KIB).collect()
            };
            assert_eq!(runs(&scaled(ranges)), scaled(expected), "{ranges:?}");
        };
        check(&[], &[]);
        check(&[(5, 5)], &[]);
        check(&[(96, 128), (0, 32)], &[(0, 128)]);
        check(&[(0, 32), (97, 128)], &[(0, 32), (97, 128)]);
        check(&[(0, 32), (32, 64), (32, 40)], &[(0, 64)]);
        // 300 are wanted: the smaller two gaps have 120 together, the third 200.
        check(&[(0, 100), (210, 310), (510, 560), (570, 620)], &[(0, 310), (510, 620)]);
        check(&[(0, 4000), (5000, 9000)], &[(0, 9000)]);
        check(&[(0, 4000), (5100, 9000)], &[(0, 4000), (5100, 9000)]);
    }

    #[test]
    fn an_empty_range_has_no_bytes_wherever_it_is() {
        let (inner, path) = (Arc::new(InMemory::new()), Path::from("file"));
        let counted = Counted { inner, requests: Arc::default(), is_local: false };
        let got = futures::executor::block_on(async {
            counted.put(&path, PutPayload::from_static(b"bytes")).await?;
            counted.get_ranges(&path, &[0..0, 1..2, 5..5]).await
        });
        assert_eq!(got.unwrap(), [&b""[..], b"y", b""]);
    }

    proptest! {
        #[test]
        fn every_range_is_read_within_the_bound(
            ranges in prop::collection::vec((0u64..400_000, 0u64..40_000), 0..12),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, size)| start..start + size).collect();
            let bytes: Vec<u8> = (0..440_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            let (inner, path) = (Arc::new(InMemory::new()), Path::from("file"));
            let requests = Arc::new(Requests::default());
            let counted = Counted { inner: inner.clone(), requests: requests.clone(), is_local: false };
            let got = futures::executor::block_on(async {
                inner.put(&path, PutPayload::from(bytes.clone())).await?;
                counted.get_ranges(&path, &ranges).await
            });
            let got = got.map_err(|e| TestCaseError::fail(e.to_string()))?;
            for (range, got) in ranges.iter().zip(&got) {
                prop_assert_eq!(&got[..], &bytes[range.start as usize..range.end as usize]);
            }
            let wanted = (0..440_000).filter(|at| ranges.iter().any(|range| range.contains(at))).count() as u64;
            let counts = requests.counts();
            prop_assert!(counts.read_bytes <= wanted + wanted.max(WASTE_MIN_BYTES));
            prop_assert!(counts.gets as usize <= ranges.len());
        }
    }
}
