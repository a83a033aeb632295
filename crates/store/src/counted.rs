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
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, coalesce_ranges, path::Path,
};

/// Ranges of one object that are at most so far apart are one request: what lies between costs less than another round trip.
const GAP_BYTES: u64 = 64 << 10;

/// Requests since the start.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    gets: AtomicU64,
    read_bytes: AtomicU64,
    puts: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
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

impl Requests {
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
        let fetch = |range: Range<u64>| async move {
            one(&self.requests.gets);
            let bytes = self.inner.get_range(path, range).await?;
            self.requests.read(bytes.len() as u64);
            Ok(bytes)
        };
        coalesce_ranges(ranges, fetch, GAP_BYTES).await
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
