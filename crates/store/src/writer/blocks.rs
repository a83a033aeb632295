//! Heads become blocks, and blocks come and go in the manifest: the part of the writer that is not about requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{DUPLICATE_WINDOW_NS, PersistError, Reply, TICK, Writer};
use crate::{
    block::{ListedBlock, encode::encode_head, meta::BlockMeta, write::SeenRequest},
    error::AppendError,
    flush, follow,
    head::{Head, HeadView},
    host::Handle,
    log::{codec::LogPosition, replay::ReplayedHead},
    manifest::{BlockEntry, Manifest},
    metrics::Counters,
    space::Space,
    storage::{PutError, Storage, TENANT},
    store::Shared,
    symbolize::SYMBOLIZE_TIMEOUT,
};

/// Pause before a failed flush is tried again.
const FLUSH_RETRY: Duration = Duration::from_secs(2);
/// How long files of a block that is in no manifest any more stay, for other processes that have not seen the new one. Queries of this
/// process keep them as long as they last; one of another that lasts longer asks a newer snapshot.
const RETIRED_GRACE: Duration = Duration::from_secs(30);
/// The same of a directory, where looking for a new manifest takes no time worth speaking of.
const RETIRED_GRACE_LOCAL: Duration = follow::REFRESH.saturating_mul(2);

/// A flush under way.
pub(super) struct Flushing {
    /// First log position that the block will not hold.
    pub(super) floor: LogPosition,
    /// Log objects and bytes before the floor.
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) waiters: Vec<Reply<()>>,
}

/// A block that no manifest names any more.
pub(super) struct Retired {
    id: String,
    size_bytes: u64,
    at: Instant,
    /// Held by the queries of this process that read it.
    meta: Option<Weak<BlockMeta>>,
}

impl Retired {
    /// Blocks that nothing refers to at the start.
    pub(super) fn orphans(sizes: BTreeMap<String, u64>) -> Vec<Self> {
        let retired = |(id, size_bytes)| Self { id, size_bytes, at: Instant::now(), meta: None };
        sizes.into_iter().map(retired).collect()
    }

    fn new(block: ListedBlock, at: Instant) -> Self {
        let ListedBlock { entry, reader, .. } = block;
        let meta = reader.map(|reader| Arc::downgrade(&reader.meta));
        Self { id: entry.id, size_bytes: entry.size_bytes, at, meta }
    }

    /// Whether nobody can be reading it any more.
    fn may_go(&self, grace: Duration, now: Instant) -> bool {
        let is_read = self.meta.as_ref().is_some_and(|meta| meta.strong_count() > 0);
        !is_read && now.saturating_duration_since(self.at) >= grace
    }
}

/// The blocks of one flush.
pub(super) type Flushed = Vec<(BlockEntry, BlockMeta)>;

impl Writer {
    /// Freezes the head and has it written to a block by a thread of its own.
    pub(super) fn begin_flush(&mut self, runtime: &Handle) {
        let memory_bytes = self.held().memory_bytes;
        let view = {
            let mut state = self.shared.state.lock();
            let labels: Arc<[String]> = self.shared.settings.partition_labels.clone().into();
            let frozen = std::mem::replace(&mut state.head, Head::new(labels)).view;
            state.frozen = Some(frozen.clone());
            frozen
        };
        self.head_began = None;
        self.is_head_start = true;
        let requests = std::mem::take(&mut self.head_requests);
        self.flushing = Some(Flushing {
            floor: self.log.next,
            objects: self.log.objects,
            bytes: self.log.bytes,
            memory_bytes,
            waiters: Vec::new(),
        });
        self.spawn_flush(view, requests, runtime);
    }

    /// Begins anew the flush that a process before this one did not end. What is written after `floor` is of the head that is
    /// current now.
    pub(super) fn resume_flush(&mut self, frozen: ReplayedHead, floor: LogPosition, runtime: &Handle) {
        let head = Head::replayed(frozen.view, Arc::default());
        self.flushing = Some(Flushing {
            floor,
            objects: frozen.objects,
            bytes: frozen.bytes,
            memory_bytes: head.size_bytes() as u64,
            waiters: Vec::new(),
        });
        self.spawn_flush(head.view, SeenRequest::all(frozen.requests), runtime);
    }

    fn spawn_flush(&mut self, view: HeadView, mut requests: Vec<SeenRequest>, runtime: &Handle) {
        let oldest = runtime.now_ns() - DUPLICATE_WINDOW_NS;
        requests.retain(|r| r.received_ns > oldest);
        let newest_request_ns = self.log.newest_request_ns;
        let (shared, done, of_thread) = (self.shared.clone(), self.flushed.0.clone(), runtime.clone());
        let commands = self.commands.clone();
        let spawned = runtime.thread("decima-flush", move || {
            let view = symbolized(&shared, view, &of_thread);
            while let Some(alive) = commands.upgrade() {
                drop(alive);
                match write_blocks(&shared, &view, &requests, newest_request_ns, &of_thread) {
                    Ok(flushed) => {
                        // The writer may have ended; the log still has the samples.
                        let _ = done.send(flushed);
                        return;
                    }
                    Err(reason) => {
                        Counters::add(&shared.counters.flush_failures, 1);
                        warn!(reason, "the head could not be written to a block; trying again");
                        of_thread.sleep(FLUSH_RETRY);
                    }
                }
            }
        });
        if let Err(e) = spawned {
            error!(error = %e, "cannot start the flush thread; the log keeps the samples");
        }
    }

    /// Takes the block of a finished flush into the manifest.
    pub(super) fn collect_flushed(&mut self, wait: Duration, runtime: &Handle) {
        if self.flushing.is_none() {
            return;
        }
        let flushed = match self.unlisted.take() {
            Some(flushed) => flushed,
            None => match runtime.block_on(async { tokio::time::timeout(wait, self.flushed.1.recv()).await })
            {
                Ok(Some(flushed)) => flushed,
                Ok(None) | Err(_) => return,
            },
        };
        let Some(flushing) = self.flushing.take() else { return };
        let entries = flushed.iter().map(|(entry, _)| entry.clone());
        let next = self.manifest.with_blocks(entries, flushing.floor);
        match self.put_manifest(next, runtime) {
            Ok(()) => {}
            Err(PersistError::Fenced) => {
                for waiter in flushing.waiters {
                    let _ = waiter.send(Err(PersistError::Fenced.as_append_error()));
                }
                return;
            }
            Err(PersistError::Full | PersistError::Unavailable(_)) => {
                // The block is there and the log still has its samples: list it later.
                self.unlisted = Some(flushed);
                self.flushing = Some(flushing);
                runtime.sleep(wait.min(TICK));
                return;
            }
        }
        {
            let mut state = self.shared.state.lock();
            state.frozen = None;
            for (entry, meta) in flushed {
                info!(
                    block = entry.id,
                    samples = entry.samples,
                    size_bytes = entry.size_bytes,
                    "flushed the head"
                );
                state.blocks.push(ListedBlock::readable(
                    entry,
                    meta,
                    &self.shared.storage,
                    &self.shared.cache,
                ));
            }
        }
        self.flushed_at = Instant::now();
        self.log.objects -= flushing.objects;
        self.log.bytes -= flushing.bytes;
        Counters::add(&self.shared.counters.flushes, 1);
        self.drop_flushed_log(&flushing, runtime);
        for waiter in flushing.waiters {
            let _ = waiter.send(Ok(()));
        }
    }

    /// Has the log of a flush deleted, and counts its objects until they have gone.
    fn drop_flushed_log(&self, flushing: &Flushing, runtime: &Handle) {
        let leaving = self.leaving_log_bytes.clone();
        // What an earlier try could not delete goes with it.
        let leaving_bytes = leaving.fetch_add(flushing.bytes, Ordering::Relaxed) + flushing.bytes;
        let dropped = drop_log_below(self.shared.storage.clone(), flushing.floor, self.manifest.version);
        runtime.spawn(async move {
            if dropped.await {
                let less = |bytes: u64| Some(bytes.saturating_sub(leaving_bytes));
                let _ = leaving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
        });
    }

    /// Puts the next manifest.
    pub(super) fn put_manifest(&mut self, next: Manifest, runtime: &Handle) -> Result<(), PersistError> {
        match runtime.block_on(self.shared.storage.put_manifest(&next)) {
            Ok(()) => {}
            Err(PutError::Exists) => {
                let current = runtime.block_on(self.shared.storage.manifest()).map_err(|e| {
                    warn!(error = %e, "the newest manifest cannot be read; trying again");
                    PersistError::Unavailable(e.to_string())
                })?;
                // An earlier put of ours may have succeeded though its answer was lost.
                if current != next {
                    self.fence();
                    error!(
                        version = next.version,
                        "another process has written the manifest; no more samples are accepted"
                    );
                    return Err(PersistError::Fenced);
                }
            }
            Err(e) => {
                warn!(error = %e, "the manifest could not be written; trying again");
                return Err(match e {
                    PutError::Full => PersistError::Full,
                    other => PersistError::Unavailable(other.to_string()),
                });
            }
        }
        self.manifest = next;
        Ok(())
    }

    /// Has the files of blocks deleted that are in no manifest any more, when nobody can read them.
    pub(super) fn retire(&mut self, blocks: Vec<ListedBlock>) {
        let now = Instant::now();
        self.retired.extend(blocks.into_iter().map(|block| Retired::new(block, now)));
    }

    /// Deletes the files of blocks that were dropped a while ago.
    pub(super) fn delete_retired(&mut self, runtime: &Handle) {
        let grace = if self.shared.is_local { RETIRED_GRACE_LOCAL } else { RETIRED_GRACE };
        let now = Instant::now();
        let (ready, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retired).into_iter().partition(|block| block.may_go(grace, now));
        self.retired = waiting;
        for block in ready {
            if let Err(e) = runtime.block_on(self.shared.storage.delete_block(&block.id)) {
                warn!(block = block.id, error = %e, "a block that is not needed could not be deleted; it is tried again");
                self.retired.push(Retired { at: Instant::now(), ..block });
            }
        }
    }

    /// Drops blocks that the retention has passed.
    pub(super) fn expire(&mut self, runtime: &Handle) {
        if self.shared.settings.retention.is_none() || self.is_fenced {
            return;
        }
        let oldest_ns = self.accepted().oldest_ns;
        let Some((next, dropped)) = self.manifest.without_expired(oldest_ns) else { return };
        if self.drop_blocks(next, &dropped, "its samples are past the retention", runtime) {
            Counters::add(&self.shared.counters.expired_blocks, dropped.len() as u64);
        }
    }

    /// What the store takes.
    pub(super) fn space(&self) -> Space {
        Space {
            listed: self.manifest.blocks.iter().map(|block| block.size_bytes).sum(),
            retired: self.retired.iter().map(|block| block.size_bytes).sum::<u64>()
                + self.leaving_log_bytes.load(Ordering::Relaxed),
            log: self.log.bytes,
            compaction: self.compactions.writes_bytes(),
        }
    }

    /// Drops what goes first if the store is nearly as large as it may be.
    pub(super) fn make_space(&mut self, runtime: &Handle) {
        let space = self.space();
        self.shared.counters.storage_bytes.store(space.used(), Ordering::Relaxed);
        let Some(max_bytes) = self.shared.settings.storage_max_bytes.filter(|_| !self.is_fenced) else {
            return;
        };
        let excess = space.excess(&self.manifest, max_bytes);
        let Some((next, dropped)) = self.manifest.without(&excess) else { return };
        if self.drop_blocks(next, &dropped, "the store is as large as it may be", runtime) {
            Counters::add(&self.shared.counters.space_dropped_blocks, dropped.len() as u64);
        }
    }

    /// Refuses what would make the store larger than it may be.
    pub(super) fn check_space(&self, incoming_bytes: u64) -> Result<(), AppendError> {
        let used_bytes = self.space().used_with(incoming_bytes);
        match self.shared.settings.storage_max_bytes {
            Some(max_bytes) if used_bytes > max_bytes => {
                Err(AppendError::StorageBudget { used_bytes, max_bytes })
            }
            _ => Ok(()),
        }
    }

    /// Goes on without blocks; whether the manifest says so.
    fn drop_blocks(
        &mut self,
        next: Manifest,
        dropped: &[BlockEntry],
        reason: &str,
        runtime: &Handle,
    ) -> bool {
        if self.put_manifest(next, runtime).is_err() {
            return false;
        }
        let is_dropped = |block: &ListedBlock| dropped.iter().any(|d| d.id == block.entry.id);
        let mut state = self.shared.state.lock();
        let (expired, kept) = std::mem::take(&mut state.blocks).into_iter().partition(is_dropped);
        state.blocks = kept;
        drop(state);
        for block in dropped {
            info!(block = block.id, max_time_ns = block.max_time_ns, reason, "dropped a block");
        }
        self.retire(expired);
        true
    }
}

/// The head with what is known of its functions by now. Whatever goes wrong with that, its samples become a block.
fn symbolized(shared: &Shared, mut view: HeadView, runtime: &Handle) -> HeadView {
    let Some(symbolizer) = shared.symbolizer.get().cloned() else { return view };
    let symbols = Arc::clone(&view.symbols);
    let task = runtime.spawn(async move { symbolizer.symbolize(symbols, SYMBOLIZE_TIMEOUT).await });
    match runtime.block_on(task) {
        Ok(symbols) => view.symbols = symbols,
        Err(e) => error!(error = %e, "functions could not be looked up; the block has addresses instead"),
    }
    view
}

/// Encodes and puts a head's blocks; what was put of them is deleted on failure.
fn write_blocks(
    shared: &Shared,
    view: &HeadView,
    requests: &[SeenRequest],
    newest_request_ns: i64,
    runtime: &Handle,
) -> Result<Flushed, String> {
    let mut flushed = Flushed::new();
    let slices = flush::slices(view.range());
    for (at, &slice) in slices.iter().enumerate() {
        let id = runtime.ulid().to_string();
        let part = view.within(slice);
        if part.sample_count == 0 {
            continue;
        }
        // The current one, which stays the longest, has the requests.
        let requests = if at + 1 == slices.len() { requests } else { &[] };
        let written =
            encode_head(id.clone(), TENANT, &part, requests).map_err(|e| e.to_string()).and_then(|block| {
                runtime
                    .block_on(shared.storage.put_block(block, newest_request_ns))
                    .map_err(|e| e.to_string())
            });
        match written {
            Ok(block) => flushed.push(block),
            Err(reason) => {
                for id in flushed.iter().map(|(entry, _)| &entry.id).chain([&id]) {
                    if let Err(e) = runtime.block_on(shared.storage.delete_block(id)) {
                        warn!(block = id, error = %e, "a half-written block could not be deleted; the next start will");
                    }
                }
                return Err(reason);
            }
        }
    }
    Ok(flushed)
}

/// Deletes log objects and manifests that nothing needs any more; whether all have gone.
pub(super) async fn drop_log_below(storage: Storage, floor: LogPosition, manifest_version: u64) -> bool {
    let outcome = async {
        storage.drop_log_below(floor).await?;
        storage.prune_manifests(manifest_version).await
    };
    let outcome = outcome.await;
    if let Err(e) = &outcome {
        warn!(error = %e, "old log objects could not be deleted; the next start will");
    }
    outcome.is_ok()
}

#[cfg(test)]
mod tests {
    use object_store::{ObjectStore, memory::InMemory};

    use super::*;
    use crate::block::read;

    #[test]
    fn files_go_once_others_know_and_no_query_reads_them() {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let storage = Storage { objects: objects.clone(), log: objects.clone(), read_cache: None };
        let cache = Arc::new(read::cache(0));
        let listed = || {
            let entry = BlockEntry { id: "a".to_owned(), ..BlockEntry::default() };
            ListedBlock::readable(entry, BlockMeta::default(), &storage, &cache)
        };
        let (at, grace) = (Instant::now(), Duration::from_secs(2));
        let later = at + grace;
        let unread = Retired::new(listed(), at);
        assert!(!unread.may_go(grace, later - Duration::from_millis(1)));
        assert!(unread.may_go(grace, later));
        // A query reads a block of a directory, or one of a bucket by way of what counts its requests.
        let block = listed();
        let of_queries = [block.source.clone(), block.over(&objects)];
        let read = Retired::new(block, at);
        for source in of_queries {
            assert!(!read.may_go(grace, later + grace));
            drop(source);
        }
        assert!(read.may_go(grace, later));
        let orphan = Retired::orphans(BTreeMap::from([("a".to_owned(), 1)])).remove(0);
        assert!(!orphan.may_go(grace, orphan.at) && orphan.may_go(grace, orphan.at + grace));
    }
}
