//! What is put to free space, when there is none.
//!
//! A disk that is full takes no manifest either, and without one no block can be dropped. Versions of the manifest that nobody needs
//! any more are what is kept for that: one goes, and the next version has its place. As many stay as were there before, so that
//! this can be done again and again. The oldest goes first: those that are left are one after the other, which is how
//! [the newest](Storage::manifest) is found.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;

use super::{PutError, Storage};
use crate::manifest;

impl Storage {
    /// Puts an object that must not exist; if there is no space left, in the place of old versions of the manifest.
    pub(crate) async fn create_in_any_case(&self, path: &Path, bytes: Bytes) -> Result<(), PutError> {
        for _ in 0..manifest::VERSIONS_KEPT {
            match self.create(path, bytes.clone()).await {
                Err(PutError::Full) if self.drop_oldest_manifest(path).await => {}
                outcome => return outcome,
            }
        }
        self.create(path, bytes).await
    }

    /// Deletes the oldest version of the manifest, if there is a newer one and it frees space where the path is; whether it did.
    async fn drop_oldest_manifest(&self, path: &Path) -> bool {
        if !Arc::ptr_eq(self.of(path), &self.objects) {
            return false;
        }
        let Ok(names) = self.names(&Self::path(&["manifest"])).await else { return false };
        let mut versions: Vec<u64> =
            names.iter().filter_map(|path| manifest::version_of(path.filename()?)).collect();
        versions.sort_unstable();
        match versions[..] {
            [oldest, _, ..] => self.delete(&Self::manifest_path(oldest)).await.is_ok(),
            _ => false,
        }
    }
}
