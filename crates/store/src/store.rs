//! The store itself: opening, appending, snapshots, closing.

use std::{
    fs::File,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use decima_profile::SampleBatch;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tracing::{error, warn};

use crate::{
    block::{
        ListedBlock,
        meta::BlockMeta,
        read::{self, BlockCache, BlockReader},
    },
    counted::{Counted, Requests},
    error::{AppendError, OpenError, ReadError},
    follow::{self, Follower, Loaded},
    head::{Head, HeadSource, HeadView, Incoming},
    host::Handle,
    manifest::BlockEntry,
    metrics::{Counters, StoreCounts},
    open::{self, Claimed},
    place::Place,
    query_cost::QueryCosts,
    source::{Snapshot, Source},
    storage::Storage,
    symbolize::Symbolizer,
    tiers::Tiers,
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
    /// Ages from which on samples are kept in less detail, earlier than they are dropped.
    pub tiers: Tiers,
    /// Size of the store; before it is reached the coarsest and oldest blocks go, at it nothing is taken. `None` = no limit.
    pub storage_max_bytes: Option<u64>,
    /// How far ahead of the clock a sample may be.
    pub ahead_max: Duration,
    /// Labels that choose the partition, first present wins.
    pub partition_labels: Vec<String>,
    /// Memory for decoded block parts.
    pub cache_bytes: u64,
    /// Memory that a compaction may take; 0 = blocks are never merged, nor become coarser.
    pub compaction_memory_bytes: u64,
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

/// A request on its way, until it is appended or dropped; see [`Store::announce`].
#[must_use]
pub struct Announced {
    store: Store,
}

impl Announced {
    /// Stores its batch as [`Store::append`] does.
    pub async fn append(
        self,
        batch: SampleBatch,
        request_hash: Option<u128>,
    ) -> Result<Appended, AppendError> {
        let (reply, answer) = oneshot::channel();
        let incoming = Box::new(Incoming::from(batch));
        let command = Command::Append { incoming, hash: request_hash, arrived: Instant::now(), reply };
        self.store.commands()?.send(command).await.map_err(|_| AppendError::Closed)?;
        drop(self);
        answer.await.map_err(|_| AppendError::Closed)?
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        self.store.inner.shared.announced.fetch_sub(1, Ordering::Relaxed);
    }
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
    pub(crate) requests: Arc<Requests>,
    /// What queries asked of a bucket.
    costs: Arc<QueryCosts>,
    /// Whether the blocks are files of this machine.
    pub(crate) is_local: bool,
    pub(crate) settings: Settings,
    pub(crate) host: Handle,
    pub(crate) symbolizer: OnceLock<Arc<dyn Symbolizer>>,
    /// Requests that are [announced](Store::announce) and not yet in the writer's queue.
    pub(crate) announced: AtomicUsize,
}

impl Shared {
    /// A block of the manifest, its description read.
    pub(crate) async fn listed(&self, entry: &BlockEntry) -> Result<ListedBlock, ReadError> {
        match self.storage.block_meta(entry).await {
            Ok(meta) => Ok(ListedBlock::readable(entry.clone(), meta, &self.storage, &self.cache)),
            Err(e @ ReadError::Unavailable { .. }) => Err(e),
            Err(e) => {
                error!(error = %e, "a block cannot be read; queries that need it will fail");
                Ok(ListedBlock::unreadable(entry.clone(), e))
            }
        }
    }
}

struct Inner {
    shared: Arc<Shared>,
    part: Part,
}

/// What the process does besides answering.
enum Part {
    Writes {
        commands: mpsc::Sender<Command>,
        /// Answers when the writer has ended.
        ended: Mutex<Option<oneshot::Receiver<()>>>,
        /// Held for the life of the process: one process per directory.
        _locks: Vec<File>,
    },
    Follows {
        /// Ends when it is dropped.
        _follower: JoinSet<()>,
        refresh: mpsc::Sender<oneshot::Sender<()>>,
    },
}

/// A handle; clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl Store {
    /// Opens or creates the store in its data directory and replays the log. Must be called in a multi-threaded Tokio runtime.
    pub async fn open(settings: Settings) -> Result<Self, OpenError> {
        let place = Place::directory(&settings.path)?;
        Self::open_at(settings, place).await
    }

    /// Opens or creates a store that is elsewhere, as its writer: a process that had been it before stops acknowledging.
    pub async fn open_at(settings: Settings, place: Place) -> Result<Self, OpenError> {
        place.probe().await?;
        let storage = place.storage();
        let host = place.host();
        let Claimed { manifest, replayed, orphans } = open::claim(&storage, &place, &host).await?;
        let cache = Arc::new(read::cache(settings.cache_bytes));
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        let mut seen = std::collections::HashMap::new();
        let now = host.now_ns();
        for entry in &manifest.blocks {
            let block = match storage.block_meta(entry).await {
                Ok(meta) => {
                    let is_recent = entry.newest_request_ns > now - DUPLICATE_WINDOW_NS;
                    if is_recent {
                        match seen_requests(&meta, &storage, &cache).await {
                            Ok(requests) => seen.extend(requests),
                            Err(e) if is_for_now(&e, &place) => return Err(unreadable(e)),
                            Err(e) => {
                                warn!(error = %e, "repeats of a block's requests cannot be recognised");
                            }
                        }
                    }
                    ListedBlock::readable(entry.clone(), meta, &storage, &cache)
                }
                Err(e) if is_for_now(&e, &place) => return Err(unreadable(e)),
                Err(e) => {
                    error!(error = %e, "a block cannot be read; queries that need it will fail");
                    ListedBlock::unreadable(entry.clone(), e)
                }
            };
            blocks.push(block);
        }
        let replayed_heads = replayed.frozen.iter().map(|(head, _)| head).chain([&replayed.head]);
        seen.extend(replayed_heads.flat_map(|head| &head.requests).copied());
        let log = Log::after(&replayed, manifest.epoch);
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
            requests: place.requests.clone(),
            costs: Arc::default(),
            is_local: place.is_local,
            settings,
            host: place.host(),
            symbolizer: OnceLock::new(),
            announced: AtomicUsize::new(0),
        });
        let (commands, queue) = mpsc::channel(QUEUE_REQUESTS);
        let writer = Writer::new(
            shared.clone(),
            manifest,
            log,
            seen,
            replayed.head.requests,
            orphans,
            commands.downgrade(),
        );
        let (ends, ended) = oneshot::channel();
        let of_thread = host.clone();
        host.thread("decima-log", move || {
            writer.run(replayed.frozen, queue, &of_thread);
            // Nobody asks unless the store is closed.
            let _ = ends.send(());
        })
        .map_err(|source| OpenError::Directory { path: "(thread of the log)".to_owned(), source })?;
        let part = Part::Writes { commands, ended: Mutex::new(Some(ended)), _locks: place.locks };
        Ok(Self { inner: Arc::new(Inner { shared, part }) })
    }

    /// Opens a store that another process writes, to answer only: what is new is seen within seconds, and samples that
    /// are acknowledged but in no block yet too if the log is in the same place. Changes nothing there.
    pub async fn follow(settings: Settings, place: &Place) -> Result<Self, OpenError> {
        let storage = place.storage();
        let Loaded { manifest, replayed } = follow::load(&storage).await?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                head: Head::replayed(replayed.head.view.clone(), Arc::default()),
                frozen: replayed.frozen.as_ref().map(|(head, _)| head.view.clone()),
                blocks: Vec::new(),
            }),
            storage,
            cache: Arc::new(read::cache(settings.cache_bytes)),
            counters: Counters::default(),
            requests: place.requests.clone(),
            costs: Arc::default(),
            is_local: place.is_local,
            settings,
            host: place.host(),
            symbolizer: OnceLock::new(),
            announced: AtomicUsize::new(0),
        });
        let follower = Follower::new(shared.clone(), manifest, &replayed);
        drop(replayed);
        let blocks = follower.blocks().await?;
        shared.state.lock().blocks = blocks;
        let (follower, refresh) = follower.run();
        let part = Part::Follows { _follower: follower, refresh };
        Ok(Self { inner: Arc::new(Inner { shared, part }) })
    }

    fn commands(&self) -> Result<&mpsc::Sender<Command>, AppendError> {
        match &self.inner.part {
            Part::Writes { commands, .. } => Ok(commands),
            Part::Follows { .. } => Err(AppendError::ReadOnly),
        }
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
        self.announce().append(batch, request_hash).await
    }

    /// Tells that a request has come that will be appended if nothing is wrong with it. What is appended while it is decoded waits a
    /// moment for it, so that both are made durable at once.
    pub fn announce(&self) -> Announced {
        self.inner.shared.announced.fetch_add(1, Ordering::Relaxed);
        Announced { store: self.clone() }
    }

    /// Everything acknowledged so far.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_of(|block| block.source.clone())
    }

    /// The same, for one query: what it asks of a bucket counts in [`StoreCounts::query_gets`] once the snapshot and its sources are
    /// dropped.
    pub fn query_snapshot(&self) -> Snapshot {
        let shared = &self.inner.shared;
        if shared.is_local {
            return self.snapshot();
        }
        let objects: Arc<dyn ObjectStore> = Arc::new(Counted {
            inner: shared.storage.objects.clone(),
            requests: Arc::new(Requests::of_query(shared.costs.clone())),
            is_local: false,
        });
        self.snapshot_of(|block| block.over(&objects))
    }

    fn snapshot_of(&self, source: impl Fn(&ListedBlock) -> Arc<dyn Source>) -> Snapshot {
        let state = self.inner.shared.state.lock();
        let mut sources: Vec<Arc<dyn Source>> = Vec::with_capacity(state.blocks.len() + 2);
        sources.extend(state.blocks.iter().map(source));
        let heads = [state.frozen.clone(), Some(state.head.view.clone())];
        drop(state);
        for view in heads.into_iter().flatten().filter(|v| v.sample_count > 0) {
            sources.push(Arc::new(HeadSource::new(view)));
        }
        Snapshot { sources }
    }

    /// Whether another process writes the store, and this one only answers.
    pub fn follows(&self) -> bool {
        matches!(self.inner.part, Part::Follows { .. })
    }

    /// Looks at once for what is new, if another process writes the store: a block of the last snapshot may be merged and gone.
    pub async fn refresh(&self) {
        let Part::Follows { refresh, .. } = &self.inner.part else { return };
        let (reply, answer) = oneshot::channel();
        if refresh.send(reply).await.is_ok() {
            // A look that failed is counted, and the next snapshot is as old as the last.
            let _ = answer.await;
        }
    }

    /// Writes the head to a block now, and returns when it is in the manifest.
    pub async fn flush(&self) -> Result<(), AppendError> {
        let (reply, answer) = oneshot::channel();
        self.commands()?.send(Command::Flush { reply }).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// Merges the blocks whose windows are over at a time, now and without a pause, and gives their number.
    ///
    /// The store does so by itself as the clock goes on. A failure leaves the blocks as they were.
    pub async fn compact(&self, now_ns: i64) -> Result<u64, AppendError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Compact { now_ns, reply };
        self.commands()?.send(command).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// Flushes the head to a block and stops. Appends after this fail with [`AppendError::Closed`].
    pub async fn close(&self) -> Result<(), AppendError> {
        let Part::Writes { ended, .. } = &self.inner.part else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        self.commands()?.send(Command::Close { reply }).await.map_err(|_| AppendError::Closed)?;
        let result = answer.await.map_err(|_| AppendError::Closed)?;
        let ended = ended.lock().take();
        if let Some(ended) = ended {
            // The thread ends right after its answer.
            let _ = ended.await;
        }
        result
    }

    /// Where this store keeps its objects, for what is kept beside them. A process that only answers cannot change them.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner.shared.storage.objects)
    }

    /// Asks `symbolizer` from now on for the functions of what becomes a block. The first that is given counts.
    pub fn symbolize_with(&self, symbolizer: Arc<dyn Symbolizer>) {
        let _ = self.inner.shared.symbolizer.set(symbolizer);
    }

    /// Whether another process has taken over the log, or the log cannot go on: nothing is acknowledged any more.
    pub fn is_fenced(&self) -> bool {
        self.inner.shared.counters.fenced.load(Ordering::Relaxed) > 0
    }

    /// Numbers for monitoring.
    pub fn counts(&self) -> StoreCounts {
        let shared = &self.inner.shared;
        let (query_gets, query_read_bytes) = shared.costs.read();
        let state = shared.state.lock();
        StoreCounts {
            query_gets,
            query_read_bytes,
            blocks: state.blocks.len() as u64,
            block_bytes: state.blocks.iter().map(|b| b.entry.size_bytes).sum(),
            block_samples: state.blocks.iter().map(|b| b.entry.samples).sum(),
            head_samples: state.head.view.sample_count + state.frozen.as_ref().map_or(0, |v| v.sample_count),
            head_bytes: shared.counters.head_bytes.load(Ordering::Relaxed),
            cache_bytes: shared.cache.weight(),
            requests: shared.requests.counts(),
            read_cache: shared.storage.read_cache.as_ref().map(|cache| cache.counts()).unwrap_or_default(),
            ..shared.counters.read()
        }
    }
}

/// Requests of a block that are still recognised.
async fn seen_requests(
    meta: &BlockMeta,
    storage: &Storage,
    cache: &Arc<BlockCache>,
) -> Result<Vec<(u128, i64)>, ReadError> {
    let directory = Storage::block_path(&meta.id);
    let reader = BlockReader::new(meta.clone(), directory, storage.objects.clone(), cache.clone());
    Ok(reader.requests().await?.into_iter().map(|r| (r.hash, r.received_ns)).collect())
}

/// Whether another try may read it: a bucket that fails is no damage, and nothing is to be forgotten for it.
fn is_for_now(error: &ReadError, place: &Place) -> bool {
    matches!(error, ReadError::Unavailable { .. }) && !place.is_local
}

/// A start that could not read a block.
fn unreadable(error: ReadError) -> OpenError {
    let object = match &error {
        ReadError::Unavailable { block, file, .. } => {
            Storage::block_path(block).join(file.as_str()).to_string()
        }
        _ => String::new(),
    };
    OpenError::Storage {
        object,
        source: object_store::Error::Generic { store: "store", source: Box::new(error) },
    }
}
