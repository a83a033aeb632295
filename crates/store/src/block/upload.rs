//! A file of a block that is put while it is made, so that memory does not grow with it.

use bytes::Bytes;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path,
};

use super::{
    meta::{Checksums, FileMeta},
    write::Encoded,
};

/// Size of the parts of an upload: buckets want at least 5 MiB, all alike.
const UPLOAD_PART_BYTES: usize = 8 << 20;

/// A file in the making. Until it is finished there is no object; names of blocks are random, so that none is overwritten.
pub(crate) struct Upload {
    path: Path,
    pending: Vec<u8>,
    checksums: Checksums,
    multipart: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    pub(crate) fn new(path: Path) -> Self {
        Self { path, pending: Vec::new(), checksums: Checksums::default(), multipart: None }
    }

    /// Adds the next bytes.
    pub(crate) async fn add(
        &mut self,
        objects: &dyn ObjectStore,
        Encoded { bytes, group_ends }: Encoded,
    ) -> Result<(), object_store::Error> {
        self.checksums.expect_ends(&group_ends);
        self.checksums.add(&bytes);
        if self.pending.is_empty() {
            self.pending = bytes;
        } else {
            self.pending.extend_from_slice(&bytes);
        }
        while self.pending.len() > UPLOAD_PART_BYTES {
            let rest = self.pending.split_off(UPLOAD_PART_BYTES);
            let part = std::mem::replace(&mut self.pending, rest);
            self.put_part(objects, part).await?;
        }
        Ok(())
    }

    async fn put_part(
        &mut self,
        objects: &dyn ObjectStore,
        part: Vec<u8>,
    ) -> Result<(), object_store::Error> {
        let upload = match &mut self.multipart {
            Some(upload) => upload,
            None => self.multipart.insert(objects.put_multipart(&self.path).await?),
        };
        upload.put_part(PutPayload::from_bytes(Bytes::from(part))).await
    }

    /// Ends the file.
    pub(crate) async fn finish(
        &mut self,
        objects: &dyn ObjectStore,
    ) -> Result<FileMeta, object_store::Error> {
        let rest = std::mem::take(&mut self.pending);
        if self.multipart.is_some() {
            self.put_part(objects, rest).await?;
            if let Some(upload) = &mut self.multipart {
                upload.complete().await?;
            }
            self.multipart = None;
        } else {
            let payload = PutPayload::from_bytes(Bytes::from(rest));
            objects.put_opts(&self.path, payload, PutOptions::from(PutMode::Create)).await?;
        }
        Ok(std::mem::take(&mut self.checksums).finish())
    }

    /// Gives up: parts that were put are dropped.
    pub(crate) async fn abort(&mut self) -> Result<(), object_store::Error> {
        match &mut self.multipart {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn check(sizes: &[usize]) {
        let objects = InMemory::new();
        let path = Path::from("file");
        let mut upload = Upload::new(path.clone());
        let mut expected = Vec::new();
        let mut group_ends = Vec::new();
        for (at, &size) in sizes.iter().enumerate() {
            let bytes: Vec<u8> = (0..size).map(|n| (n * 31 + at) as u8).collect();
            expected.extend_from_slice(&bytes);
            // Each piece is a row group.
            let ends = if size == 0 { Vec::new() } else { vec![expected.len() as u64] };
            group_ends.extend(&ends);
            upload.add(&objects, Encoded { bytes, group_ends: ends }).await.unwrap();
        }
        let meta = upload.finish(&objects).await.unwrap();
        assert_eq!(meta, FileMeta::of(&expected, &group_ends), "{sizes:?}");
        assert_eq!(objects.get(&path).await.unwrap().bytes().await.unwrap(), expected, "{sizes:?}");
    }

    #[tokio::test]
    async fn files_of_any_size_in_any_pieces() {
        check(&[]).await;
        check(&[1, 2, 3]).await;
        check(&[32 << 10, 1]).await;
        check(&[UPLOAD_PART_BYTES]).await;
        check(&[UPLOAD_PART_BYTES - 1, 2, 100_000]).await;
        check(&[3 * UPLOAD_PART_BYTES + 7, 0, 40_000]).await;
    }
}
