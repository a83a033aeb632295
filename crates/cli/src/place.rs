//! Where the store is: `object_storage` of the configuration, or else the data directory, and the log's directory.

use std::path::{Path, PathBuf};

use decima_store::{OpenError, Place, bucket::Bucket};

/// What the flags say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlaceFlags {
    /// Data directory, for a configuration that names no bucket.
    pub(crate) storage_path: PathBuf,
    /// Whether somebody said so.
    pub(crate) is_storage_path_given: bool,
    /// Directory of the log, if it is not beside the blocks.
    pub(crate) log_path: Option<PathBuf>,
    /// Begin a new log although the blocks belong to another one.
    pub(crate) abandon_log: bool,
    /// Directory of the read cache and its size, if there is to be one.
    pub(crate) read_cache: Option<(PathBuf, u64)>,
}

impl PlaceFlags {
    /// Opens it to write.
    pub(crate) fn open(&self, configured: Option<&Bucket>) -> Result<Place, OpenError> {
        let mut place = match configured {
            Some(bucket) => {
                self.warn_of_another_store(bucket);
                Place::bucket(bucket)?
            }
            None => Place::directory(&self.storage_path)?,
        };
        if let Some(path) = &self.log_path {
            place = place.with_log_path(path)?;
        }
        let place = self.with_read_cache(place)?;
        Ok(if self.abandon_log { place.abandoning_log() } else { place })
    }

    fn with_read_cache(&self, place: Place) -> Result<Place, OpenError> {
        match &self.read_cache {
            Some((path, size_bytes)) => place.with_read_cache(path, *size_bytes),
            None => Ok(place),
        }
    }

    /// Opens it to answer only.
    pub(crate) fn share(&self, configured: Option<&Bucket>) -> Result<Place, OpenError> {
        self.with_read_cache(match configured {
            Some(bucket) => Place::shared_bucket(bucket)?,
            None => Place::shared_directory(&self.storage_path)?,
        })
    }

    /// The directory in which objects are files, if they are.
    pub(crate) fn files(&self, configured: Option<&Bucket>) -> Option<PathBuf> {
        match configured {
            Some(bucket) => bucket.local_path(),
            None => Some(self.storage_path.clone()),
        }
    }

    /// A store in the data directory is not looked at once the configuration names a bucket.
    fn warn_of_another_store(&self, bucket: &Bucket) {
        tracing::info!(%bucket, "profiles are kept where the configuration says");
        if bucket.local_path().is_some_and(|path| is_same_directory(&path, &self.storage_path)) {
            return;
        }
        if self.storage_path.join("default/manifest").is_dir() {
            tracing::warn!(
                storage_path = %self.storage_path.display(),
                "there is a store in --storage-path too, which is not used"
            );
        } else if self.is_storage_path_given {
            tracing::warn!(
                storage_path = %self.storage_path.display(),
                "no profiles are kept in --storage-path: the configuration says where"
            );
        }
    }
}

fn is_same_directory(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}
