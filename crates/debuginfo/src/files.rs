//! Stored files, mapped into memory: debug information is larger than memory and little of it is read.
//!
//! What the object store keeps on the local disk is mapped where it is. Of everything else there are copies, without names:
//! nothing of them is left behind by a process that dies.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use decima_symbols::ObjectBytes;
use futures::TryStreamExt as _;
use memmap2::Mmap;
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use crate::record::checksum_text;

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
    /// What the object store gives is not what was put there.
    #[error("{object} is damaged: its checksum is {found}, and was {expected}")]
    Damaged {
        /// Its name.
        object: String,
        /// What was written down when it arrived.
        expected: String,
        /// What it is.
        found: String,
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
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Copy { .. } => ErrorKind::ResourceExhausted,
        }
    }
}

/// A file that is mapped. A copy goes with the last that reads it. An empty file cannot be mapped.
struct Mapped(Option<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Copies by object, with the number of the use that was last.
#[derive(Default)]
struct Held {
    copies: HashMap<Path, (ObjectBytes, u64)>,
    /// Objects that were held against their checksum: once by each process.
    whole: HashSet<Path>,
    uses: u64,
    bytes: u64,
}

/// The files.
pub(crate) struct Files {
    /// Where objects are files, if they are.
    objects_folder: Option<PathBuf>,
    copies_folder: PathBuf,
    copies_max_bytes: u64,
    held: Mutex<Held>,
}

impl Files {
    pub(crate) fn new(
        objects_folder: Option<PathBuf>,
        copies_folder: PathBuf,
        copies_max_bytes: u64,
    ) -> Self {
        Self { objects_folder, copies_folder, copies_max_bytes, held: Mutex::default() }
    }

    /// The bytes of an object, which must never change under its name. With a checksum they are held against it when they are first
    /// asked for.
    pub(crate) async fn get(
        &self,
        objects: &dyn ObjectStore,
        path: &Path,
        checksum: Option<&str>,
    ) -> Result<ObjectBytes, FileError> {
        let bytes = self.map(objects, path).await?;
        let Some(expected) = checksum.filter(|_| !self.held.lock().whole.contains(path)) else {
            return Ok(bytes);
        };
        let mapped = Arc::clone(&bytes);
        let hashing = tokio::task::spawn_blocking(move || checksum_text(xxh3_64((*mapped).as_ref())));
        let found = hashing.await.map_err(|error| local(path, io::Error::other(error)))?;
        if found != expected {
            self.forget(path);
            let (object, expected) = (path.to_string(), expected.to_owned());
            return Err(FileError::Damaged { object, expected, found });
        }
        self.held.lock().whole.insert(path.clone());
        Ok(bytes)
    }

    async fn map(&self, objects: &dyn ObjectStore, path: &Path) -> Result<ObjectBytes, FileError> {
        if let Some(bytes) = self.held.lock().use_of(path) {
            return Ok(bytes);
        }
        if let Some(folder) = &self.objects_folder {
            let file = folder.join(path.as_ref());
            return match tokio::task::spawn_blocking(move || map(&File::open(file)?)).await {
                Ok(mapped) => mapped.map_err(|source| local(path, source)),
                Err(error) => Err(local(path, io::Error::other(error))),
            };
        }
        let stored = |source| FileError::Stored { object: path.to_string(), source };
        let copy = |source| FileError::Copy { object: path.to_string(), source };
        let mut file = tempfile::tempfile_in(&self.copies_folder).map_err(copy)?;
        let mut chunks = objects.get(path).await.map_err(stored)?.into_stream();
        while let Some(chunk) = chunks.try_next().await.map_err(stored)? {
            file = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file))
                .await
                .map_err(|error| copy(io::Error::other(error)))?
                .map_err(copy)?;
        }
        let bytes = map(&file).map_err(copy)?;
        self.held.lock().hold(path.clone(), Arc::clone(&bytes), self.copies_max_bytes);
        Ok(bytes)
    }

    /// Lets a copy go; who reads it keeps it.
    pub(crate) fn forget(&self, path: &Path) {
        self.held.lock().forget(path);
    }
}

/// A file of the object store that cannot be had, in its own words.
fn local(path: &Path, source: io::Error) -> FileError {
    let object = path.to_string();
    let source = match source.kind() {
        io::ErrorKind::NotFound => {
            object_store::Error::NotFound { path: object.clone(), source: Box::new(source) }
        }
        _ => object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(source) },
    };
    FileError::Stored { object, source }
}

/// Maps a file that nobody changes any more.
pub(crate) fn map(file: &File) -> io::Result<ObjectBytes> {
    let map = match file.metadata()?.len() {
        0 => None,
        #[expect(
            unsafe_code,
            reason = "objects are put once under a name of their own and only ever deleted; copies have no name at all"
        )]
        _ => Some(unsafe { Mmap::map(file) }?),
    };
    Ok(Arc::new(Mapped(map)))
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
        self.whole.remove(path);
        if let Some((bytes, _)) = self.copies.remove(path) {
            self.bytes -= size(&bytes);
        }
    }
}

fn size(bytes: &ObjectBytes) -> u64 {
    (**bytes).as_ref().len() as u64
}
