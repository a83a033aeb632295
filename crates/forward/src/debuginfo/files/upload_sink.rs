//! A file while its bytes arrive.

use std::sync::Arc;

use bytes::Bytes;
use decima_debuginfo::DebuginfoError;
use object_store::{ObjectStoreExt as _, WriteMultipart};
use xxhash_rust::xxh3::Xxh3;

use super::{Files, Part, bytes_path, delete};
use crate::debuginfo::{UploadError, record::Name};

/// Parts of an upload that are written at one time.
const PARTS_MAX: usize = 2;

/// A file while its bytes arrive. One that is dropped leaves nothing.
pub struct UploadSink {
    files: Arc<Files>,
    name: Name,
    upload_id: String,
    number: u64,
    announced_bytes: u64,
    parts: Option<WriteMultipart>,
    size_bytes: u64,
    checksum: Xxh3,
}

impl UploadSink {
    /// The bytes of an announced file, which go to the object of this number. From here on, whatever happens ends the arriving.
    pub(super) fn new(
        files: Arc<Files>,
        name: Name,
        upload_id: &str,
        number: u64,
        announced_bytes: u64,
    ) -> Self {
        let (upload_id, checksum) = (upload_id.to_owned(), Xxh3::new());
        Self { files, name, upload_id, number, announced_bytes, parts: None, size_bytes: 0, checksum }
    }

    /// Opens the object.
    pub(super) async fn open(&mut self) -> Result<(), UploadError> {
        let parts = self.files.objects.put_multipart(&bytes_path(self.number)).await?;
        self.parts = Some(WriteMultipart::new(parts));
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// If there are more than were announced, or the disk does not take them. The upload is over then.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        self.size_bytes += bytes.len() as u64;
        if self.size_bytes > self.announced_bytes {
            return Err(self.wrong_size());
        }
        let Some(parts) = &mut self.parts else { return Err(DebuginfoError::NotInitiated.into()) };
        parts.wait_for_capacity(PARTS_MAX).await?;
        self.checksum.update(&bytes);
        parts.put(bytes);
        Ok(())
    }

    /// All bytes have arrived: makes them durable, and gives how many there are.
    ///
    /// # Errors
    /// If there are fewer than were announced, another upload was announced meanwhile, or the disk does not take them.
    pub async fn finish(mut self) -> Result<u64, UploadError> {
        if self.size_bytes != self.announced_bytes {
            let error = self.wrong_size();
            self.abort().await;
            return Err(error);
        }
        if let Some(parts) = self.parts.take() {
            parts.finish().await?;
        }
        let arrived = Part::Arrived { number: self.number, checksum: self.checksum.digest() };
        if !self.end(arrived) {
            delete(&*self.files.objects, &bytes_path(self.number)).await;
            return Err(DebuginfoError::OtherUpload.into());
        }
        Ok(self.size_bytes)
    }

    /// Gives up; what has arrived is forgotten.
    pub async fn abort(mut self) {
        if let Some(parts) = self.parts.take() {
            // What cannot be removed now goes at the next start.
            let _ = parts.abort().await;
        }
    }

    fn wrong_size(&self) -> UploadError {
        UploadError::Size { arrived_bytes: self.size_bytes, announced_bytes: self.announced_bytes }
    }

    /// Ends the arriving of the upload, if it is still the one that was announced last.
    fn end(&self, part: Part) -> bool {
        let mut index = self.files.index.lock();
        let receiving = index.receiving.get_mut(&self.name);
        let Some(receiving) = receiving.filter(|receiving| receiving.upload_id == self.upload_id) else {
            return false;
        };
        if matches!(receiving.part, Part::Arriving) {
            receiving.part = part;
        }
        true
    }
}

impl Drop for UploadSink {
    fn drop(&mut self) {
        self.end(Part::Announced);
    }
}
