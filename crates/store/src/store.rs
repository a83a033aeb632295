//! The store itself: opening, appending, snapshots, closing.

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use decima_profile::SampleBatch;
use object_store::{ObjectStore, local::LocalFileSystem};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::{
    block::{
        ListedBlock,
        meta::BlockMeta,
        read::{self, BlockCache, BlockReader},
    },
    clock::now_ns,
    error::{AppendError, OpenError},
    head::{Head, HeadSource, HeadView},
    log::{
        codec::{self, LogPosition, ObjectKind},
        replay,
    },
    manifest::Manifest,
    metrics::{Counters, StoreCounts},
    source::{Snapshot, Source},
    storage::{PutError, Storage},
    symbolize::Symbolizer,
    writer::{Command, DUPLICATE_WINDOW_NS, Log, Writer},
};

/// Requests that may wait for the log writer; each holds its decoded samples.
const QUEUE_REQUESTS: usize = 64;

/// How a store is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Data directory.
    pub path: PathBuf,
    /// Memory that heads may hold; appends wait, then are refused, beyond it.
    pub head_memory_bytes: u64,
    /// Samples older than this are refused and blocks older dropped; `None` = for ever.
    pub retention: Option<Duration>,
    /// How far ahead of the clock a sample may be.
    pub ahead_max: Duration,
    /// Labels that choose the partition, first present wins.
    pub partition_labels: Vec<String>,
    /// Memory for decoded block parts.
    pub cache_bytes: u64,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Samples stored.
    pub samples: u64,
    /// Samples refused for their time.
    pub rejected: u64,
    /// The same request was stored before; nothing was added.
    pub duplicate: bool,
}

/// What snapshots are made of; changed by the writer only.
pub(crate) struct State {
    pub(crate) head: Head,
    /// The head that is being flushed.
    pub(crate) frozen: Option<HeadView>,
    pub(crate) blocks: Vec<ListedBlock>,
}

/// What the handle and the writer share.
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) storage: Storage,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) counters: Counters,
    pub(crate) settings: Settings,
    pub(crate) symbolizer: OnceLock<Arc<dyn Symbolizer>>,
}

struct Inner {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Held for the life of the process: one process per directory.
    _lock: Option<File>,
}

/// A handle; clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens or creates the store in its data directory and replays the log. Must be called in a multi-threaded Tokio runtime.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let (lock, objects) = open_directory(&settings.path)?;
        Self::open_on(settings, objects, Some(lock)).await
    }

    /// Opens or creates a store whose objects are elsewhere; `lock` is held as long as the store lives.
    pub async fn open_on(
        settings: Settings,
        objects: Arc<dyn ObjectStore>,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let storage = Storage { objects };
        let manifest = storage.manifest().await?;
        let replayed = replay::replay(&storage, manifest.log_floor).await?;
        let cache = Arc::new(read::cache(settings.cache_bytes));
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        let mut seen = std::collections::HashMap::new();
        let now = now_ns();
        for entry in &manifest.blocks {
            let block = match storage.block_meta(entry).await {
                Ok(meta) => {
                    let is_recent = entry.newest_request_ns > now - DUPLICATE_WINDOW_NS;
                    if is_recent {
                        seen.extend(seen_requests(&meta, &storage, &cache).await);
                    }
                    ListedBlock::readable(entry.clone(), meta, &storage, &cache)
                }
                Err(e) => {
                    error!(error = %e, "a block cannot be read; queries that need it will fail");
                    ListedBlock::unreadable(entry.clone(), e)
                }
            };
            blocks.push(block);
        }
        sweep(&storage, &manifest).await?;
        let replayed_heads = replayed.frozen.iter().map(|(head, _)| head).chain([&replayed.head]);
        seen.extend(replayed_heads.flat_map(|head| &head.requests).copied());
        let log = begin_epoch(&storage, &replayed).await?;
        let partition_labels: Arc<[String]> = settings.partition_labels.clone().into();
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                head: Head::replayed(replayed.head.view, partition_labels),
                frozen: replayed.frozen.as_ref().map(|(head, _)| head.view.clone()),
                blocks,
            }),
            storage,
            cache,
            counters: Counters::default(),
            settings,
            symbolizer: OnceLock::new(),
        });
        let (commands, queue) = mpsc::channel(QUEUE_REQUESTS);
        let writer =
            Writer::new(shared.clone(), manifest, log, seen, replayed.head.requests, commands.downgrade());
        let runtime = tokio::runtime::Handle::current();
        let writer = std::thread::Builder::new()
            .name("decima-log".to_owned())
            .spawn(move || writer.run(replayed.frozen, queue, &runtime))
            .map_err(|source| OpenError::Directory { path: "(thread of the log)".to_owned(), source })?;
        Ok(Self {
            inner: Arc::new(Inner { shared, commands, writer: Mutex::new(Some(writer)), _lock: lock }),
        })
    }

    /// Stores a batch. Returns when it is durable and visible to the next snapshot.
    ///
    /// `request_hash` identifies the request for [duplicate recognition](Appended::duplicate) over 60 minutes; `None` = never a
    /// duplicate.
    pub async fn append(
        &self,
        batch: SampleBatch,
        request_hash: Option<u128>,
    ) -> Result<Appended, AppendError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Append { batch: Box::new(batch), hash: request_hash, reply };
        self.inner.commands.send(command).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// Everything acknowledged so far.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.inner.shared.state.lock();
        let mut sources: Vec<Arc<dyn Source>> = Vec::with_capacity(state.blocks.len() + 2);
        sources.extend(state.blocks.iter().map(|b| b.source.clone()));
        let heads = [state.frozen.clone(), Some(state.head.view.clone())];
        drop(state);
        for view in heads.into_iter().flatten().filter(|v| v.sample_count > 0) {
            sources.push(Arc::new(HeadSource::new(view)));
        }
        Snapshot { sources }
    }

    /// Writes the head to a block now, and returns when it is in the manifest.
    pub async fn flush(&self) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Flush { reply }).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// Flushes the head to a block and stops. Appends after this fail with [`AppendError::Closed`].
    pub async fn close(&self) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Close { reply }).await.map_err(|_| AppendError::Closed)?;
        let result = answer.await.map_err(|_| AppendError::Closed)?;
        let writer = self.inner.writer.lock().take();
        if let Some(writer) = writer {
            // The thread ends right after its answer.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
        result
    }

    /// Where this store keeps its objects, for what is kept beside them.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.shared.storage.objects)
    }

    /// Asks `symbolizer` from now on for the functions of what becomes a block. The first that is given counts.
    pub fn symbolize_with(&self, symbolizer: Arc<dyn Symbolizer>) {
        let _ = self.inner.shared.symbolizer.set(symbolizer);
    }

    /// Numbers for monitoring.
    pub fn counts(&self) -> StoreCounts {
        let shared = &self.inner.shared;
        let state = shared.state.lock();
        StoreCounts {
            blocks: state.blocks.len() as u64,
            block_bytes: state.blocks.iter().map(|b| b.entry.size_bytes).sum(),
            block_samples: state.blocks.iter().map(|b| b.entry.samples).sum(),
            head_samples: state.head.view.sample_count + state.frozen.as_ref().map_or(0, |v| v.sample_count),
            head_bytes: shared.counters.head_bytes.load(Ordering::Relaxed),
            cache_bytes: shared.cache.weight(),
            ..shared.counters.read()
        }
    }
}

/// Requests of a block that are still recognised; none if they cannot be read, since a query will say so.
async fn seen_requests(meta: &BlockMeta, storage: &Storage, cache: &Arc<BlockCache>) -> Vec<(u128, i64)> {
    let directory = Storage::block_path(&meta.id);
    let reader = BlockReader::new(meta.clone(), directory, storage.objects.clone(), cache.clone());
    match reader.requests().await {
        Ok(requests) => requests.into_iter().map(|r| (r.hash, r.received_ns)).collect(),
        Err(e) => {
            warn!(error = %e, "repeats of a block's requests cannot be recognised");
            Vec::new()
        }
    }
}

/// Locks the data directory and opens it as an object store.
fn open_directory(path: &std::path::Path) -> Result<(File, Arc<dyn ObjectStore>), OpenError> {
    let directory_error = |source| OpenError::Directory { path: path.display().to_string(), source };
    std::fs::create_dir_all(path).map_err(directory_error)?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))
        .map_err(directory_error)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => {
            return Err(OpenError::Locked { path: path.display().to_string() });
        }
        Err(std::fs::TryLockError::Error(source)) => return Err(directory_error(source)),
    }
    probe_hard_links(path).map_err(directory_error)?;
    sweep_staging(path).map_err(directory_error)?;
    let objects = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| OpenError::Storage { object: path.display().to_string(), source })?
        .with_fsync(true);
    Ok((lock, Arc::new(objects)))
}

/// Create-if-absent on a local disk is a hard link; find out now rather than at the first write.
fn probe_hard_links(path: &std::path::Path) -> std::io::Result<()> {
    let (from, to) = (path.join("lock"), path.join("lock.probe"));
    match std::fs::remove_file(&to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::hard_link(&from, &to).map_err(|e| {
        std::io::Error::new(e.kind(), format!("the file system must support hard links: {e}"))
    })?;
    std::fs::remove_file(&to)
}

/// Removes what a killed process was writing (`name#1`); the object store does not list such files.
fn sweep_staging(path: &std::path::Path) -> std::io::Result<()> {
    let mut pending = vec![path.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name();
            let is_staging = name
                .to_str()
                .and_then(|n| n.rsplit_once('#'))
                .is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
            if kind.is_dir() {
                pending.push(entry.path());
            } else if is_staging {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

/// Deletes blocks that no manifest names and log objects below the floor: what a crash left between two steps.
async fn sweep(storage: &Storage, manifest: &Manifest) -> Result<(), OpenError> {
    for id in storage.block_ids().await? {
        if !manifest.blocks.iter().any(|b| b.id == id) {
            storage.delete_block(&id).await?;
        }
    }
    for position in storage.log_positions().await? {
        if position < manifest.log_floor {
            let path = Storage::log_path(position);
            storage
                .delete(&path)
                .await
                .map_err(|source| OpenError::Storage { object: path.to_string(), source })?;
        }
    }
    Ok(())
}

/// Seals the epoch before, so that a process that still believes it is the writer cannot go on, and begins the next.
async fn begin_epoch(storage: &Storage, replayed: &replay::Replayed) -> Result<Log, OpenError> {
    if let Some(position) = replayed.unsealed {
        let path = Storage::log_path(position);
        let corrupt = |reason: String| OpenError::Corrupt { object: path.to_string(), reason };
        let object = codec::encode(position, 0, ObjectKind::Seal, &[])
            .map_err(|e| corrupt(format!("cannot encode a seal: {e}")))?;
        storage.create(&path, object.into()).await.map_err(|e| match e {
            PutError::Exists => corrupt("another process writes this log".to_owned()),
            other => corrupt(format!("cannot seal the log: {other}")),
        })?;
    }
    let frozen = replayed.frozen.as_ref().map_or((0, 0), |(head, _)| (head.objects, head.bytes));
    Ok(Log {
        next: LogPosition { epoch: replayed.epoch + 1, seq: 0 },
        objects: replayed.head.objects + frozen.0,
        bytes: replayed.head.bytes + frozen.1,
        newest_request_ns: replayed.newest_request_ns,
    })
}
