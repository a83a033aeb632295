//! A bucket in memory that remembers what it was asked for.

use std::{fmt, ops::Range, sync::Mutex};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetRange, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};

/// A range of a file of a block that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Get {
    pub(crate) block: String,
    pub(crate) file: String,
    pub(crate) range: Range<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) inner: InMemory,
    gets: Mutex<Vec<Get>>,
}

impl Recorded {
    /// What was read of blocks since the last call.
    pub(crate) fn take(&self) -> Vec<Get> {
        std::mem::take(&mut self.gets.lock().unwrap())
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("recorded")
    }
}

#[async_trait]
impl ObjectStore for Recorded {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let bounded = matches!(options.range, Some(GetRange::Bounded(_)));
        let got = self.inner.get_opts(path, options).await?;
        if let Some((_, name)) = path.as_ref().split_once("blocks/")
            && let Some((block, file)) = name.split_once('/')
        {
            assert!(bounded || file == "block.json", "{path} is read by ranges");
            let get = Get { block: block.to_owned(), file: file.to_owned(), range: got.range.clone() };
            self.gets.lock().unwrap().push(get);
        }
        Ok(got)
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
