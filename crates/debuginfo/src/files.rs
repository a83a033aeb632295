//! Copies of stored files on the local disk, mapped into memory: debug information is larger than memory and little of
//! it is read.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use decima_symbols::ObjectBytes;
use futures::TryStreamExt as _;
use memmap2::Mmap;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use tempfile::NamedTempFile;

/// A file that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The object store does not give it.
    #[error("cannot read {object}")]
    Stored {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The copy cannot be written or mapped.
    #[error("cannot keep a copy of {object}")]
    Copy {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl FileError {
    /// What a caller can do about it.
    pub fn kind(&self) -> decima_base::ErrorKind {
        use decima_base::ErrorKind;
        match self {
            Self::Stored { source: object_store::Error::NotFound { .. }, .. } => ErrorKind::NotFound,
            Self::Stored { .. } => ErrorKind::Unavailable,
            Self::Copy { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

/// A copy that is held. It goes with the last that reads it.
struct Copy {
    map: Option<Mmap>,
    _file: NamedTempFile,
}

impl AsRef<[u8]> for Copy {
    fn as_ref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// Copies by object, with the number of the use that was last.
#[derive(Default)]
struct Held {
    copies: HashMap<Path, (ObjectBytes, u64)>,
    uses: u64,
    bytes: u64,
}

/// The copies.
pub(crate) struct Files {
    folder: PathBuf,
    bytes_max: u64,
    held: Mutex<Held>,
}

impl Files {
    pub(crate) fn new(folder: PathBuf, bytes_max: u64) -> Self {
        Self { folder, bytes_max, held: Mutex::default() }
    }

    /// The bytes of an object, which must never change under its name.
    pub(crate) async fn get(&self, objects: &dyn ObjectStore, path: &Path) -> Result<ObjectBytes, FileError> {
        if let Some(bytes) = self.held.lock().use_of(path) {
            return Ok(bytes);
        }
        let stored = |source| FileError::Stored { object: path.to_string(), source };
        let copy = |source| FileError::Copy { object: path.to_string(), source };
        let mut file = NamedTempFile::with_prefix_in("decima-debuginfo-", &self.folder).map_err(copy)?;
        let mut chunks = objects.get(path).await.map_err(stored)?.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(stored)? {
            file = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file))
                .await
                .map_err(|error| copy(io::Error::other(error)))?
                .map_err(copy)?;
        }
        let bytes = map(file).map_err(copy)?;
        self.held.lock().hold(path.clone(), Arc::clone(&bytes), self.bytes_max);
        Ok(bytes)
    }

    /// Lets a copy go; who reads it keeps it.
    pub(crate) fn forget(&self, path: &Path) {
        self.held.lock().forget(path);
    }
}

/// Maps a file that nobody else can name.
pub(crate) fn map(file: NamedTempFile) -> io::Result<ObjectBytes> {
    // An empty file cannot be mapped.
    let map = match file.as_file().metadata()?.len() {
        0 => None,
        #[expect(
            unsafe_code,
            reason = "the file is ours alone: written once, under a random name, and deleted when it is let go"
        )]
        _ => Some(unsafe { Mmap::map(file.as_file()) }?),
    };
    Ok(Arc::new(Copy { map, _file: file }))
}

impl Held {
    fn use_of(&mut self, path: &Path) -> Option<ObjectBytes> {
        self.uses += 1;
        let (bytes, last_use) = self.copies.get_mut(path)?;
        *last_use = self.uses;
        Some(Arc::clone(bytes))
    }

    fn hold(&mut self, path: Path, bytes: ObjectBytes, bytes_max: u64) {
        self.forget(&path);
        self.uses += 1;
        self.bytes += size(&bytes);
        self.copies.insert(path, (bytes, self.uses));
        while self.bytes > bytes_max && self.copies.len() > 1 {
            let oldest =
                self.copies.iter().min_by_key(|(_, (_, last_use))| *last_use).map(|(path, _)| path.clone());
            let Some(oldest) = oldest else { break };
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some((bytes, _)) = self.copies.remove(path) {
            self.bytes -= size(&bytes);
        }
    }
}

fn size(bytes: &ObjectBytes) -> u64 {
    (**bytes).as_ref().len() as u64
}
