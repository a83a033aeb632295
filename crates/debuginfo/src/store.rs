//! The files of all build IDs: uploads, what is held, what has to go. See [`crate::decision`] for what senders are told.
//!
//! ```text
//! <tenant>/debuginfo/<build id>/<kind>.json       record, replaced at each step
//! <tenant>/debuginfo/<build id>/<kind>.<ULID>     bytes, put once
//! ```

mod companions;
pub(crate) mod inspect;
mod upload;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use decima_base::ErrorKind;
use decima_symbols::{BuildId, Unresolved, build_id::BuildIdError};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _, path::Path};
use parking_lot::Mutex;

pub(crate) use self::companions::Held;
pub use self::{
    companions::HeldFiles,
    upload::{Initiated, UploadSink},
};
use crate::{
    debuginfod::{Debuginfod, Lookup},
    files::{FileError, Files},
    record::{
        FileKind, Record, State, Stored,
        codec::{self, RecordError},
    },
    retention::{self, FileName, Limits},
};

/// The tenant of a store that has only one.
const TENANT: &str = "default";
/// Records read at one time when a store is opened.
const READS_MAX: usize = 16;
/// How long between two looks at what has to go.
const MAINTAINED_EVERY: Duration = Duration::from_secs(300);
/// Uses of a file closer together than this are not written down one by one.
const USE_WRITTEN_EVERY_NS: i64 = 3_600 * 1_000_000_000;

/// Bounds.
#[derive(Debug, Clone)]
pub struct DebuginfoOptions {
    /// Largest file that is taken.
    pub upload_max_bytes: u64,
    /// How long an upload may take.
    pub upload_max_duration: Duration,
    /// What is kept for how long.
    pub retention: Limits,
    /// Whether this is the process that takes uploads into this object store. Only that one knows which are under way, and removes
    /// what others left.
    pub writes: bool,
    /// Where the object store keeps its objects as files, if it does: they are read there.
    pub objects_folder: Option<PathBuf>,
    /// Where local copies are, and files while they are fetched.
    pub cache_folder: PathBuf,
    /// How many bytes of local copies there may be.
    pub cache_max_bytes: u64,
    /// What else a file may be called by senders that told, its GNU build ID first. What files tell of themselves is known here.
    pub other_names: OtherNames,
    /// Unix time in nanoseconds.
    pub clock: fn() -> i64,
}

/// Other names of a file.
#[derive(Clone)]
pub struct OtherNames(Arc<Naming>);

type Naming = dyn Fn(&str) -> Vec<String> + Send + Sync;

impl OtherNames {
    /// Asks this for them.
    pub fn by(names: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(names))
    }
}

impl std::fmt::Debug for OtherNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OtherNames")
    }
}

impl Default for DebuginfoOptions {
    /// Parca's bounds for uploads.
    fn default() -> Self {
        Self {
            upload_max_bytes: 1_000_000_000,
            upload_max_duration: Duration::from_secs(15 * 60),
            retention: Limits::default(),
            writes: true,
            objects_folder: None,
            cache_folder: std::env::temp_dir(),
            cache_max_bytes: 10_000_000_000,
            other_names: OtherNames::by(|_| Vec::new()),
            clock: now_ns,
        }
    }
}

fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// A step of an upload that was refused, or a store that failed. The words of refusals are Parca's.
#[derive(Debug, thiserror::Error)]
pub enum DebuginfoError {
    /// What is named as a build ID is none.
    #[error(transparent)]
    BuildId(#[from] BuildIdError),
    /// An upload without a hash.
    #[error("hash must be set")]
    HashMissing,
    /// An upload without a size.
    #[error("size must be set")]
    SizeMissing,
    /// An upload that is too large, as announced or as it arrives.
    #[error("upload size {size_bytes} exceeds maximum allowed size {max_bytes}")]
    TooLarge {
        /// What was announced, or has arrived so far.
        size_bytes: u64,
        /// The bound.
        max_bytes: u64,
    },
    /// An upload that was not asked for.
    #[error(
        "upload should not have been attempted to be initiated, a previous check should have failed with: {reason}"
    )]
    NotWanted {
        /// Why it is not wanted.
        reason: &'static str,
    },
    /// The same unusable file again.
    #[error("{reason}")]
    SameInvalid {
        /// The words for it.
        reason: &'static str,
    },
    /// Bytes for an upload that was not initiated.
    #[error("metadata not found, this indicates that the upload was not previously initiated")]
    NotInitiated,
    /// Bytes for an upload other than the one that was initiated last.
    #[error("the upload ID does not match the one returned by the InitiateUpload call")]
    OtherUpload,
    /// The end of an upload that nobody began.
    #[error("no debuginfo metadata found for build id")]
    Unknown,
    /// The end of an upload other than the one that was initiated last.
    #[error("upload id mismatch")]
    OtherFinished,
    /// The end of an upload without bytes.
    #[error("nothing was uploaded")]
    NothingUploaded,
    /// The object store failed.
    #[error("the object store failed")]
    Store(#[from] object_store::Error),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record is damaged.
    #[error("record {object} is damaged")]
    Record {
        /// Its name.
        object: String,
        /// Why.
        #[source]
        source: RecordError,
    },
}

impl DebuginfoError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BuildId(_)
            | Self::HashMissing
            | Self::SizeMissing
            | Self::TooLarge { .. }
            | Self::OtherUpload
            | Self::OtherFinished => ErrorKind::InvalidArgument,
            Self::NotWanted { .. }
            | Self::SameInvalid { .. }
            | Self::NotInitiated
            | Self::NothingUploaded => ErrorKind::Conflict,
            Self::Unknown => ErrorKind::NotFound,
            Self::Store(_) => ErrorKind::Unavailable,
            Self::File(error) => error.kind(),
            Self::Record { .. } => ErrorKind::Corrupt,
        }
    }
}

/// The files of a build ID.
#[derive(Clone)]
pub enum ObjectFile {
    /// They are here.
    Held(HeldFiles),
    /// Nobody has one, for this reason.
    Missing(Unresolved),
    /// It is not here, and a debuginfod server may have it: [`Debuginfo::fetch`].
    Elsewhere,
}

/// All files of all build IDs.
pub struct Debuginfo {
    objects: Arc<dyn ObjectStore>,
    options: DebuginfoOptions,
    debuginfod: Option<Arc<Debuginfod>>,
    files: Files,
    records: Mutex<Records>,
    /// Records change one at a time: there are few, and each is a small object.
    changes: tokio::sync::Mutex<()>,
    version: AtomicU64,
}

#[derive(Default)]
struct Records {
    by_name: HashMap<FileName, Record>,
    /// Build IDs under which a file is known, by its other names.
    other_names: HashMap<String, String>,
    /// Files by their checksum, and by the units of split DWARF in them. What a file had that is another now may be here still.
    by_crc32: HashMap<u32, FileName>,
    by_split_unit: HashMap<u64, FileName>,
    /// Uses that are not written down yet.
    used: HashMap<FileName, i64>,
}

impl Debuginfo {
    /// Reads what is held, and removes what was left by uploads that never ended.
    ///
    /// A record that is damaged is told about and left alone, with its files.
    ///
    /// # Errors
    /// If the object store fails or the folder for local copies cannot be made.
    pub async fn open(
        objects: Arc<dyn ObjectStore>,
        options: DebuginfoOptions,
        debuginfod: Option<Arc<Debuginfod>>,
    ) -> Result<Self, DebuginfoError> {
        let folder = options.cache_folder.clone();
        let cannot = |source| FileError::Copy { object: folder.display().to_string(), source };
        std::fs::create_dir_all(&folder).map_err(cannot)?;
        let listed: Vec<_> = objects.list(Some(&root())).map_ok(|meta| meta.location).try_collect().await?;
        let (records, others): (Vec<_>, Vec<_>) =
            listed.into_iter().partition(|path| path.as_ref().ends_with(".json"));
        let read = |path: Path| {
            let objects = Arc::clone(&objects);
            async move {
                let bytes = objects.get(&path).await?.bytes().await?;
                Ok::<_, object_store::Error>((codec::decode(&bytes), path))
            }
        };
        let found: Vec<_> = futures::stream::iter(records.into_iter().map(read))
            .buffer_unordered(READS_MAX)
            .try_collect()
            .await?;
        let mut records = Records::default();
        let mut unread = Vec::new();
        for (record, path) in found {
            match record {
                Ok(record) => records.insert(record),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%path, error, "what is known of an object file cannot be read");
                    unread.extend(folder_of(&path));
                }
            }
        }
        let held: HashSet<_> = records.by_name.values().filter_map(stored_path).collect();
        for path in others.into_iter().filter(|_| options.writes) {
            if !held.contains(&path) && folder_of(&path).is_none_or(|folder| !unread.contains(&folder)) {
                objects.delete(&path).await?;
            }
        }
        Ok(Self {
            files: Files::new(
                options.objects_folder.clone(),
                options.cache_folder.clone(),
                options.cache_max_bytes,
            ),
            objects,
            options,
            debuginfod,
            records: Mutex::new(records),
            changes: tokio::sync::Mutex::default(),
            version: AtomicU64::new(0),
        })
    }

    /// Grows whenever a file arrives: what could not be resolved before may be then.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All that is known, by build ID.
    pub fn list(&self) -> Vec<Record> {
        let mut records: Vec<_> = self.records.lock().by_name.values().cloned().collect();
        records.sort_by(|a, b| (&a.build_id, a.kind).cmp(&(&b.build_id, b.kind)));
        records
    }

    /// What is known of a build ID, under any of its names.
    ///
    /// # Errors
    /// If it is no build ID.
    pub fn records_of(&self, build_id: &str) -> Result<Vec<Record>, DebuginfoError> {
        let build_id = BuildId::parse(build_id)?;
        let records = self.records.lock();
        let of_kind = |&kind| records.find(build_id.as_str(), kind).cloned();
        Ok(FileKind::ALL.iter().filter_map(of_kind).collect())
    }

    /// Where local copies are.
    pub fn cache_folder(&self) -> &std::path::Path {
        &self.options.cache_folder
    }

    /// How long an upload may take.
    pub fn upload_max_duration(&self) -> Duration {
        self.options.upload_max_duration
    }

    /// The files to symbolise a build ID with: its debug information, else the program, and what they refer to. Asks nobody
    /// else.
    ///
    /// # Errors
    /// If the store fails; the file may well exist.
    pub async fn object_file(&self, build_id: &BuildId) -> Result<ObjectFile, DebuginfoError> {
        if let Some(found) = self.held(build_id).await? {
            return Ok(ObjectFile::Held(found));
        }
        let known = self.records.lock().find(build_id.as_str(), FileKind::Debuginfo).cloned();
        // An upload that goes on will be better than what a server has.
        if known.as_ref().is_some_and(|record| matches!(record.state, State::Uploading(_))) {
            return Ok(ObjectFile::Missing(Unresolved::Uploading));
        }
        let is_invalid = known.as_ref().is_some_and(Record::is_invalid);
        let missing = |reason| ObjectFile::Missing(if is_invalid { Unresolved::NotAnObject } else { reason });
        let Some(debuginfod) = &self.debuginfod else { return Ok(missing(Unresolved::NoDebuginfo)) };
        // What was given before a restart and was of no use.
        let is_unusable = known.as_ref().is_some_and(|record| {
            let noted = matches!(record.state, State::Debuginfod { stored: None, .. }) && is_invalid;
            let absent_ns = i64::try_from(debuginfod.absent_for().as_nanos()).unwrap_or(i64::MAX);
            noted && (self.options.clock)() < record.last_used_ns.saturating_add(absent_ns)
        });
        if is_unusable {
            return Ok(missing(Unresolved::NotAnObject));
        }
        let answered = debuginfod.known(&self.gnu_build_id(build_id));
        Ok(match answered.and_then(|lookup| lookup.reason()) {
            Some(reason) => missing(reason),
            None => ObjectFile::Elsewhere,
        })
    }

    /// Fetches the debug information of a build ID from a debuginfod server, as long as that takes. `None` if there is a file
    /// now, else why not.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn fetch(&self, build_id: &BuildId) -> Result<Option<Unresolved>, DebuginfoError> {
        let Some(debuginfod) = &self.debuginfod else { return Ok(Some(Unresolved::NoDebuginfo)) };
        // Servers go by GNU build IDs, which is not always the name that a file was asked for by.
        let gnu = self.gnu_build_id(build_id);
        match debuginfod.fetch(&gnu, &self.options.cache_folder).await {
            Ok(fetched) => self.keep_fetched(build_id, fetched).await?,
            Err(nobody) => {
                let reason = nobody.reason();
                if let Lookup::Unusable { server } = nobody {
                    self.note_unusable(build_id, server).await?;
                }
                return Ok(reason);
            }
        }
        if self.held(build_id).await?.is_some() {
            return Ok(None);
        }
        let known = self.records.lock().find(build_id.as_str(), FileKind::Debuginfo).cloned();
        let uploading = known.is_some_and(|record| matches!(record.state, State::Uploading(_)));
        Ok(Some(if uploading { Unresolved::Uploading } else { Unresolved::NotAnObject }))
    }

    fn gnu_build_id(&self, build_id: &BuildId) -> BuildId {
        let known = self.records.lock().find(build_id.as_str(), FileKind::Debuginfo).cloned();
        let recorded = known.and_then(|Record { gnu_build_id, build_id: kept, .. }| {
            gnu_build_id.or_else(|| (kept != build_id.as_str()).then_some(kept))
        });
        let named = || (self.options.other_names.0)(build_id.as_str()).into_iter().next();
        let gnu = recorded.or_else(named).and_then(|gnu| BuildId::parse(&gnu).ok());
        gnu.unwrap_or_else(|| build_id.clone())
    }

    /// Maintains for ever. A round that fails is told about, and the next one does what it left.
    pub async fn keep_maintained(&self) {
        loop {
            tokio::time::sleep(MAINTAINED_EVERY).await;
            match self.maintain().await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "object files went by retention"),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "object files are not maintained"
                    );
                }
            }
        }
    }

    /// Writes down uses and lets go what has to; to be called every some minutes. Gives how many files went.
    ///
    /// # Errors
    /// If the store fails; what is left is done next time.
    pub async fn maintain(&self) -> Result<usize, DebuginfoError> {
        let _changes = self.changes.lock().await;
        let now_ns = (self.options.clock)();
        self.write_uses(USE_WRITTEN_EVERY_NS).await?;
        let gone = self.let_go(now_ns).await?;
        let forgotten =
            retention::forgotten(self.records.lock().by_name.values(), self.options.retention, now_ns);
        for name in &forgotten {
            let Some(record) = self.records.lock().by_name.get(name).cloned() else { continue };
            self.remove(&record_path(&record.build_id, record.kind)).await?;
            self.records.lock().forget(name);
            if let Some(path) = stored_path(&record) {
                self.remove(&path).await?;
            }
        }
        Ok(gone)
    }

    /// Lets files go if one that has just come is too many bytes. Changes are locked by the caller, and what fails is done in the next
    /// round of [`Self::maintain`].
    async fn make_room(&self) {
        let sizes = |record: &Record| record.stored().map(|stored| stored.size_bytes);
        let bytes: u64 = self.records.lock().by_name.values().filter_map(sizes).sum();
        if bytes <= self.options.retention.bytes_max {
            return;
        }
        // Who goes first follows from when each was used, to the moment.
        let gone = match self.write_uses(0).await {
            Ok(()) => self.let_go((self.options.clock)()).await,
            Err(error) => Err(error),
        };
        match gone {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "object files made room for another"),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "object files do not make room");
            }
        }
    }

    /// Writes down uses that are so much later than those written down before.
    async fn write_uses(&self, later_by_ns: i64) -> Result<(), DebuginfoError> {
        let used: Vec<_> = self.records.lock().used.drain().collect();
        for (name, at_ns) in used {
            let record = self.records.lock().by_name.get(&name).cloned();
            if let Some(mut record) = record.filter(|record| record.last_used_ns + later_by_ns < at_ns) {
                record.last_used_ns = at_ns;
                self.write(record).await?;
            }
        }
        Ok(())
    }

    /// Lets the files go that retention does not keep. Gives how many.
    async fn let_go(&self, now_ns: i64) -> Result<usize, DebuginfoError> {
        let gone = retention::expired(self.records.lock().by_name.values(), self.options.retention, now_ns);
        for name in &gone {
            let Some(mut record) = self.records.lock().by_name.get(name).cloned() else { continue };
            let path = stored_path(&record);
            record.state = State::Purged { at_ns: now_ns };
            // First what names it, then the bytes: what is named is there.
            self.write(record).await?;
            if let Some(path) = path {
                self.remove(&path).await?;
            }
        }
        Ok(gone.len())
    }

    async fn remove(&self, path: &Path) -> Result<(), DebuginfoError> {
        self.files.forget(path);
        match self.objects.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a record durable, then visible.
    async fn write(&self, record: Record) -> Result<(), DebuginfoError> {
        let path = record_path(&record.build_id, record.kind);
        let damaged = |source| DebuginfoError::Record { object: path.to_string(), source };
        let json = codec::encode(&record).map_err(damaged)?;
        self.objects.put(&path, json.into()).await?;
        self.records.lock().insert(record);
        Ok(())
    }

    fn arrived(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl Records {
    fn insert(&mut self, record: Record) {
        self.note_names(&record);
        let name = (record.build_id.clone(), record.kind);
        if let Some(crc32) = record.crc32 {
            self.by_crc32.insert(crc32, name.clone());
        }
        self.by_split_unit.extend(record.split_units.0.iter().map(|&id| (id, name.clone())));
        self.by_name.insert(name, record);
    }

    fn note_names(&mut self, record: &Record) {
        let names = record.other_names().map(|other| (other.to_owned(), record.build_id.clone()));
        self.other_names.extend(names);
    }

    fn forget(&mut self, name: &FileName) {
        self.by_name.remove(name);
        self.by_crc32.retain(|_, of| of != name);
        self.by_split_unit.retain(|_, of| of != name);
        self.other_names.retain(|_, build_id| *build_id != name.0);
        // Those of its files of other kinds stay.
        for kind in FileKind::ALL {
            if let Some(record) = self.by_name.get(&(name.0.clone(), kind)).cloned() {
                self.note_names(&record);
            }
        }
    }

    /// The file with this checksum.
    fn with_crc32(&self, crc32: u32) -> Option<&Record> {
        let record = self.by_name.get(self.by_crc32.get(&crc32)?)?;
        (record.crc32 == Some(crc32)).then_some(record)
    }

    /// The file with this unit of split DWARF.
    fn with_split_unit(&self, id: u64) -> Option<&Record> {
        let record = self.by_name.get(self.by_split_unit.get(&id)?)?;
        record.split_units.0.binary_search(&id).is_ok().then_some(record)
    }

    /// The record of a file under any of its names.
    fn find(&self, build_id: &str, kind: FileKind) -> Option<&Record> {
        let by = |name: &str| self.by_name.get(&(name.to_owned(), kind));
        by(build_id).or_else(|| by(self.other_names.get(build_id)?))
    }

    /// The first record of a file under one of some names that can be read.
    fn usable(&self, names: &[String], kind: FileKind) -> Option<&Record> {
        let all = names.iter().flat_map(|name| [Some(name), self.other_names.get(name)]).flatten();
        let mut records = all.filter_map(|name| self.by_name.get(&(name.clone(), kind)));
        records.find(|record| companions::is_usable(record))
    }
}

fn root() -> Path {
    Path::from_iter([TENANT, "debuginfo"])
}

/// The build ID, as a path, that an object belongs to.
fn folder_of(path: &Path) -> Option<String> {
    path.as_ref().rsplit_once('/').map(|(folder, _)| folder.to_owned())
}

fn record_path(build_id: &str, kind: FileKind) -> Path {
    Path::from_iter([TENANT, "debuginfo", build_id, &format!("{}.json", kind.as_str())])
}

fn object_path(build_id: &str, object: &str) -> Path {
    Path::from_iter([TENANT, "debuginfo", build_id, object])
}

fn stored_path(record: &Record) -> Option<Path> {
    record.stored().map(|Stored { object, .. }| object_path(&record.build_id, object))
}

#[cfg(test)]
mod tests;
