//! Where a store is: its objects, its log if that is elsewhere, and what keeps other processes out.
//!
//! ```text
//! directory            log and blocks in it; its lock is held
//! bucket               log and blocks in it; who opens it last is the writer (fencing, see `open`)
//! bucket + log path    blocks in the bucket, the log in a directory that is locked
//! ```
//! A log in a directory has a name, which the manifest keeps: blocks of one log are not mixed with those of another.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use object_store::{ObjectStore, local::LocalFileSystem};
use ulid::Ulid;

use crate::{
    bucket::Bucket,
    counted::{Counted, Requests},
    error::OpenError,
    hidden,
    host::{Handle, Host},
    read_cache::{self, ReadCache},
    read_only::ReadOnly,
    storage::{self, PutError, Storage, TENANT},
};

/// Name of the file in a data directory that is locked.
const LOCK: &str = "lock";

/// Where a store is. Holds the locks of its directories.
pub struct Place {
    objects: Arc<dyn ObjectStore>,
    log: Option<LogPlace>,
    read_cache: Option<Arc<ReadCache>>,
    /// Requests of `objects`; the log's are not, if it is elsewhere.
    pub(crate) requests: Arc<Requests>,
    /// What the place is called in messages.
    name: String,
    /// Whether it is not known to keep create-if-absent.
    is_doubtful: bool,
    /// Whether its objects are files, of which one that cannot be read now cannot be read later either.
    pub(crate) is_local: bool,
    /// The directory that they are in then.
    directory: Option<PathBuf>,
    pub(crate) abandons_log: bool,
    /// The machine it is used from, if it is not this one.
    host: Option<Arc<dyn Host>>,
    /// Held for the life of the process.
    pub(crate) locks: Vec<File>,
}

/// A log that is not where the blocks are.
struct LogPlace {
    objects: Arc<dyn ObjectStore>,
    id: String,
}

impl Place {
    /// A data directory, which is made and locked.
    pub fn directory(path: &Path) -> Result<Self, OpenError> {
        let (lock, objects) = open_directory(path)?;
        let (name, directory) = (path.display().to_string(), Some(path.to_owned()));
        Ok(Self { name, directory, locks: vec![lock], ..Self::counted(objects, true) })
    }

    /// A bucket to write to. A directory is made and locked.
    pub fn bucket(bucket: &Bucket) -> Result<Self, OpenError> {
        match bucket.client()? {
            Some(objects) => {
                Ok(Self { name: bucket.to_string(), is_doubtful: true, ..Self::objects(objects) })
            }
            None => Self::directory(&bucket.local_path().unwrap_or_default()),
        }
    }

    /// A bucket to read from, beside the process that writes it. Nothing is locked or made.
    pub fn shared_bucket(bucket: &Bucket) -> Result<Self, OpenError> {
        let (objects, is_local) = match bucket.client()? {
            Some(objects) => (objects, false),
            None => (read_directory(&bucket.local_path().unwrap_or_default())?, true),
        };
        let objects = Arc::new(ReadOnly(objects));
        let (name, directory) = (bucket.to_string(), bucket.local_path());
        Ok(Self { name, directory, ..Self::counted(objects, is_local) })
    }

    /// A data directory to read from, beside the process that writes it.
    pub fn shared_directory(path: &Path) -> Result<Self, OpenError> {
        Self::shared_bucket(&Bucket::directory(path))
    }

    /// Objects that are kept for this process alone or by something that keeps create-if-absent.
    pub fn objects(objects: Arc<dyn ObjectStore>) -> Self {
        Self::counted(objects, false)
    }

    fn counted(objects: Arc<dyn ObjectStore>, is_local: bool) -> Self {
        let requests = Arc::new(Requests::default());
        Self {
            name: objects.to_string(),
            objects: Arc::new(Counted { inner: objects, requests: requests.clone(), is_local }),
            requests,
            log: None,
            read_cache: None,
            is_doubtful: false,
            is_local,
            directory: None,
            abandons_log: false,
            host: None,
            locks: Vec::new(),
        }
    }

    /// Keeps the log in a directory, which is made and locked.
    pub fn with_log_path(mut self, path: &Path) -> Result<Self, OpenError> {
        let (lock, objects) = open_directory(path)?;
        let id = log_id(path)
            .map_err(|source| OpenError::Directory { path: path.display().to_string(), source })?;
        self.locks.push(lock);
        self.log = Some(LogPlace { objects, id });
        Ok(self)
    }

    /// Keeps what queries read of blocks in a directory, which is made and locked: at most so many bytes, which may be deleted at any
    /// time. Where blocks are files already, nothing is kept.
    pub fn with_read_cache(self, path: &Path, bytes_max: u64) -> Result<Self, OpenError> {
        if self.is_local {
            tracing::warn!(place = self.name, "blocks are on a local disk: the read cache is not used");
            return Ok(self);
        }
        let cache = Arc::new(ReadCache::open(path, bytes_max)?);
        read_cache::index_beside(&cache)
            .map_err(|source| OpenError::Directory { path: path.display().to_string(), source })?;
        Ok(Self { read_cache: Some(cache), ..self })
    }

    /// Begins a new log although the blocks belong to another one. What only that one held is not seen again.
    pub fn abandoning_log(self) -> Self {
        Self { abandons_log: true, ..self }
    }

    /// Uses the place from another machine than this one: a simulated one.
    pub fn from_host(self, host: Arc<dyn Host>) -> Self {
        Self { host: Some(host), ..self }
    }

    /// The machine it is used from.
    pub(crate) fn host(&self) -> Handle {
        self.host.clone().map_or_else(Handle::machine, Handle::new)
    }

    /// Names of what a listing of objects does not show.
    pub(crate) fn hidden(&self) -> Vec<String> {
        self.directory.as_deref().map(hidden::names).unwrap_or_default()
    }

    /// Name of the log, if it is not where the blocks are.
    pub(crate) fn log_id(&self) -> Option<&str> {
        self.log.as_ref().map(|log| log.id.as_str())
    }

    /// Where the blocks are, for what is kept beside them.
    pub fn beside_blocks(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    pub(crate) fn storage(&self) -> Storage {
        let log = self.log.as_ref().map_or_else(|| self.objects.clone(), |log| log.objects.clone());
        Storage { objects: self.objects.clone(), log, read_cache: self.read_cache.clone() }
    }

    /// Makes sure that an object that exists is not overwritten, on which everything else stands.
    pub(crate) async fn probe(&self) -> Result<(), OpenError> {
        if !self.is_doubtful {
            return Ok(());
        }
        let unusable = |reason: String| OpenError::Unusable { place: self.name.clone(), reason };
        let storage = self.storage();
        let path = Storage::probe_path(&self.host().ulid().to_string());
        storage
            .create(&path, Bytes::from_static(b"first"))
            .await
            .map_err(|e| unusable(format!("cannot write to it: {e}")))?;
        let second = storage.create(&path, Bytes::from_static(b"second")).await;
        if let Err(e) = storage.delete(&path).await {
            return Err(unusable(format!("cannot delete from it: {e}")));
        }
        match second {
            Err(PutError::Exists) => Ok(()),
            Ok(()) => Err(unusable(
                "it overwrites objects although asked not to (conditional writes, If-None-Match)".to_owned(),
            )),
            Err(e) => Err(unusable(format!("it does not know conditional writes (If-None-Match): {e}"))),
        }
    }
}

/// Opens a directory that another process may be writing.
pub(crate) fn read_directory(path: &Path) -> Result<Arc<dyn ObjectStore>, OpenError> {
    if !path.is_dir() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        return Err(OpenError::Directory { path: path.display().to_string(), source });
    }
    let objects = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| OpenError::Storage { object: path.display().to_string(), source })?;
    Ok(Arc::new(objects))
}

/// Locks a directory and opens it as an object store.
fn open_directory(path: &Path) -> Result<(File, Arc<dyn ObjectStore>), OpenError> {
    let directory_error = |source| OpenError::Directory { path: path.display().to_string(), source };
    std::fs::create_dir_all(path).map_err(directory_error)?;
    let lock = lock(path, LOCK)?;
    probe_hard_links(path).map_err(directory_error)?;
    sweep_staging(path).map_err(directory_error)?;
    let objects = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| OpenError::Storage { object: path.display().to_string(), source })?
        .with_fsync(true);
    Ok((lock, Arc::new(objects)))
}

/// Locks a file in a directory, which is made, so that no other process uses the directory.
pub(crate) fn lock(directory: &Path, name: &str) -> Result<File, OpenError> {
    let directory_error = |source| OpenError::Directory { path: directory.display().to_string(), source };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join(name))
        .map_err(directory_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(OpenError::Locked { path: directory.display().to_string() })
        }
        Err(std::fs::TryLockError::Error(source)) => Err(directory_error(source)),
    }
}

/// The name of the log in a directory, made with the first start.
fn log_id(path: &Path) -> io::Result<String> {
    let file = path.join("id");
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let id = Ulid::new().to_string();
            let staging = path.join("id#1");
            std::fs::write(&staging, &id)?;
            File::open(&staging)?.sync_all()?;
            std::fs::rename(&staging, &file)?;
            File::open(path)?.sync_all()?;
            Ok(id)
        }
        Err(e) => Err(e),
    }
}

/// Create-if-absent on a local disk is a hard link; find out now rather than at the first write.
fn probe_hard_links(path: &Path) -> io::Result<()> {
    let (from, to) = (path.join(LOCK), path.join("lock.probe"));
    match std::fs::remove_file(&to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::hard_link(&from, &to)
        .map_err(|e| io::Error::new(e.kind(), format!("the file system must support hard links: {e}")))?;
    std::fs::remove_file(&to)
}

/// Removes what a killed process was writing (`name#1`); the object store does not list such files. What is not named as the store
/// names its objects is somebody else's, and stays.
fn sweep_staging(path: &Path) -> io::Result<()> {
    let mut pending = vec![path.join(TENANT)];
    while let Some(directory) = pending.pop() {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", directory.display()));
        let entries = match std::fs::read_dir(&directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(named)?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else if is_staging(path, &entry.path()) {
                std::fs::remove_file(entry.path()).map_err(named)?;
            }
        }
    }
    Ok(())
}

/// Whether a file below a store's directory is what an object of it is written to first.
fn is_staging(directory: &Path, file: &Path) -> bool {
    let relative = file.strip_prefix(directory).ok().and_then(Path::to_str);
    let Some((name, number)) = relative.and_then(|path| path.rsplit_once('#')) else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_number && object_store::path::Path::parse(name).is_ok_and(|path| storage::is_known(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_store_was_writing_is_swept() {
        let check = |file: &str, expected| {
            assert_eq!(is_staging(Path::new("/data"), &Path::new("/data").join(file)), expected, "{file}");
        };
        check("default/manifest/00000000000000000007.json#1", true);
        check("default/log/00000000000000000001/00000000000000000002#12", true);
        check("default/blocks/01KB0000000000000000000000/samples.parquet#1", true);
        check("default/debuginfo/ab/cd#3", true);
        check("default/manifest/00000000000000000007.json", false);
        check("default/manifest/00000000000000000007.json#", false);
        check("default/manifest/00000000000000000007.json#x", false);
        check("default/blocks/01KB0000000000000000000000/notes#1", false);
        check("default/my#3", false);
        check("report#2", false);
        check("default/log/99/0#1", false);
    }
}
