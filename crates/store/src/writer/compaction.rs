//! Compactions under way: begun from the manifest, done by a thread that yields to queries, taken into the manifest by the writer.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tracing::{error, info, warn};

use super::{DUPLICATE_WINDOW_NS, PersistError, Writer, nanoseconds};
use crate::{
    block::{ListedBlock, meta::BlockMeta},
    compact::{
        self, CompactError, Progress, Target,
        plan::{self, CompactionSettings, Plan, Quiet},
    },
    error::AppendError,
    host::Handle,
    manifest::{BlockEntry, Manifest},
    metrics::Counters,
    tiers,
};

/// Pause after a compaction that failed: what made it fail (a full disk, damage) seldom passes at once.
const FAILURE_PAUSE: Duration = Duration::from_secs(60);

/// A finished block and its description.
type Compacted = Result<(BlockEntry, BlockMeta), CompactError>;

/// What the writer knows of compactions.
#[derive(Default)]
pub(super) struct Compactions {
    running: Option<Running>,
    /// A block that is written but not yet in the manifest, with its inputs.
    unlisted: Option<(Vec<String>, BlockEntry, BlockMeta)>,
    failed: Option<Instant>,
    /// When the last block was taken into the manifest.
    listed_at: Option<Instant>,
    /// Blocks that could not be merged for a reason that does not pass, and that others are merged without.
    left_out: BTreeSet<String>,
}

impl Compactions {
    /// Whether one is under way.
    pub(super) fn are_running(&self) -> bool {
        self.running.is_some()
    }

    /// What they may write until the manifest knows: no more than they read.
    pub(super) fn writes_bytes(&self) -> u64 {
        let unlisted = self.unlisted.as_ref().map_or(0, |(_, entry, _)| entry.size_bytes);
        unlisted + self.running.as_ref().map_or(0, |running| running.size_bytes)
    }
}

struct Running {
    inputs: Vec<String>,
    /// Samples of the inputs.
    samples: u64,
    /// Size of the inputs.
    size_bytes: u64,
    progress: Arc<Progress>,
    done: oneshot::Receiver<Compacted>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }
}

impl Writer {
    /// What compactions are decided by; `None` if there are none.
    fn compacted_manifest(&self) -> Option<(Cow<'_, Manifest>, CompactionSettings)> {
        let memory_bytes = self.shared.settings.compaction_memory_bytes;
        if memory_bytes == 0 || self.is_fenced {
            return None;
        }
        let settings = CompactionSettings { memory_bytes, tiers: self.shared.settings.tiers };
        let left_out = &self.compactions.left_out;
        let mut manifest = Cow::Borrowed(&self.manifest);
        if !left_out.is_empty() {
            manifest.to_mut().blocks.retain(|block| !left_out.contains(&block.id));
        }
        Some((manifest, settings))
    }

    fn compaction_plans(&self, now_ns: i64) -> Vec<Plan> {
        let manifest = self.compacted_manifest();
        manifest.map_or_else(Vec::new, |(manifest, settings)| plan::plans(&manifest, settings, now_ns))
    }

    fn quiet_plan(&self, now_ns: i64) -> Option<Plan> {
        let (manifest, settings) = self.compacted_manifest()?;
        let since = |at: Instant| nanoseconds(at.elapsed());
        let quiet = Quiet {
            since_append_ns: since(self.appended_at),
            since_flush_ns: since(self.flushed_at),
            since_compaction_ns: self.compactions.listed_at.map_or(i64::MAX, since),
        };
        plan::quiet_plan(&manifest, settings, now_ns, quiet)
    }

    /// Takes a finished compaction into the manifest, and begins the next that is due.
    pub(super) fn compact(&mut self, runtime: &Handle) {
        self.collect_compacted(Duration::ZERO, runtime);
        let is_paused = self.compactions.failed.is_some_and(|at| at.elapsed() < FAILURE_PAUSE);
        if self.compactions.running.is_none() && self.compactions.unlisted.is_none() && !is_paused {
            let mut plans = self.compaction_plans(runtime.now_ns());
            if plans.is_empty() && self.flushing.is_none() {
                plans.extend(self.quiet_plan(runtime.now_ns()));
            }
            let backlog = plans.iter().map(|plan| plan.inputs.len() as u64).sum();
            self.shared.counters.compaction_backlog_blocks.store(backlog, Ordering::Relaxed);
            if let Some(plan) = plans.into_iter().find(|plan| self.has_space_for(plan)) {
                self.begin_compaction(plan, runtime);
            }
        }
        let running = self.compactions.running.as_ref();
        let (done, samples) =
            running.map_or((0, 0), |r| (r.progress.done.load(Ordering::Relaxed), r.samples));
        self.shared.counters.compaction_samples.store(done, Ordering::Relaxed);
        self.shared.counters.compaction_planned_samples.store(samples, Ordering::Relaxed);
    }

    /// Runs every compaction that is due at a time, and gives the number of blocks that became others.
    pub(super) fn compact_all(&mut self, now_ns: i64, runtime: &Handle) -> Result<u64, AppendError> {
        let unavailable = |reason: &str| AppendError::Unavailable { reason: reason.to_owned() };
        self.compactions.failed = None;
        let mut merged = 0;
        loop {
            while self.compactions.running.is_some() {
                self.collect_compacted(Duration::from_millis(100), runtime);
            }
            self.list_compacted(runtime);
            if self.is_fenced {
                return Err(PersistError::Fenced.as_append_error());
            }
            if self.compactions.unlisted.is_some() {
                return Err(unavailable("the manifest could not be written; it is tried again"));
            }
            if self.compactions.failed.is_some() {
                return Err(unavailable("a compaction failed; its blocks are as they were"));
            }
            let plans = self.compaction_plans(now_ns).into_iter();
            let Some(plan) = plans.into_iter().find(|plan| self.has_space_for(plan)) else {
                return Ok(merged);
            };
            merged += plan.inputs.len() as u64;
            self.begin_compaction(plan, runtime);
        }
    }

    fn inputs(&self, plan: &Plan) -> Vec<BlockEntry> {
        self.manifest.blocks.iter().filter(|b| plan.inputs.contains(&b.id)).cloned().collect()
    }

    /// Whether there is space for what a plan makes beside what it is made of.
    fn has_space_for(&self, plan: &Plan) -> bool {
        let needed: u64 = self.inputs(plan).iter().map(|block| block.size_bytes).sum();
        let max_bytes = self.shared.settings.storage_max_bytes;
        max_bytes.is_none_or(|max_bytes| self.space().used() + needed <= max_bytes)
    }

    fn begin_compaction(&mut self, plan: Plan, runtime: &Handle) {
        let inputs = self.inputs(&plan);
        let size_bytes = inputs.iter().map(|block| block.size_bytes).sum();
        let samples = inputs.iter().map(|block| block.samples).sum();
        let memory_bytes = self.shared.settings.compaction_memory_bytes;
        let progress = Arc::new(Progress::default());
        let (send, done) = oneshot::channel();
        let (storage, host, of_thread) = (self.shared.storage.clone(), runtime.clone(), progress.clone());
        let spawned = runtime.thread("decima-compact", move || {
            host.yield_to_others();
            let target = Target {
                id: host.ulid().to_string(),
                level: plan.level,
                memory_bytes,
                resolution_ns: plan.resolution_ns,
                oldest_request_ns: host.now_ns() - DUPLICATE_WINDOW_NS,
            };
            let compacted = host.block_on(compact::compact(&storage, &inputs, &target, &of_thread));
            // The writer may have ended; then the block is swept at the next start.
            let _ = send.send(compacted);
        });
        match spawned {
            Ok(()) => {
                self.compactions.running =
                    Some(Running { inputs: plan.inputs, samples, size_bytes, progress, done });
            }
            Err(e) => {
                error!(error = %e, "cannot start a compaction");
                self.compactions.failed = Some(Instant::now());
            }
        }
    }

    fn collect_compacted(&mut self, wait: Duration, runtime: &Handle) {
        if let Some(running) = &mut self.compactions.running {
            let done = &mut running.done;
            let compacted = match runtime.block_on(async { tokio::time::timeout(wait, done).await }) {
                Err(_) => return,
                Ok(Ok(compacted)) => compacted,
                Ok(Err(_)) => Err(CompactError::Panicked),
            };
            let inputs = running.inputs.clone();
            self.compactions.running = None;
            match compacted {
                Ok((entry, meta)) => self.compactions.unlisted = Some((inputs, entry, meta)),
                Err(e) => {
                    Counters::add(&self.shared.counters.compaction_failures, 1);
                    let left_out = e.left_out(&inputs);
                    if left_out.is_empty() {
                        warn!(error = %e, "a compaction failed; its blocks are as they were");
                        self.compactions.failed = Some(Instant::now());
                    } else {
                        let blocks = left_out.join(", ");
                        warn!(blocks, error = %e, "a compaction failed; these blocks stay as they are, until a restart at least");
                        self.compactions.left_out.extend(left_out);
                        let count = self.compactions.left_out.len() as u64;
                        self.shared.counters.compaction_left_out_blocks.store(count, Ordering::Relaxed);
                    }
                }
            }
        }
        self.list_compacted(runtime);
    }

    /// Puts a manifest with a block in place of its inputs.
    fn list_compacted(&mut self, runtime: &Handle) {
        let Some((inputs, entry, meta)) = self.compactions.unlisted.take() else { return };
        let Some(next) = self.manifest.with_replaced(&inputs, entry.clone()) else {
            // The retention dropped an input meanwhile.
            if let Err(e) = runtime.block_on(self.shared.storage.delete_block(&entry.id)) {
                warn!(block = entry.id, error = %e, "a block that is not needed could not be deleted; the next start will");
            }
            return;
        };
        if self.put_manifest(next, runtime).is_err() {
            self.compactions.unlisted = Some((inputs, entry, meta));
            return;
        }
        self.compactions.listed_at = Some(Instant::now());
        info!(
            block = entry.id,
            inputs = inputs.len(),
            level = entry.level,
            resolution = tiers::name(entry.resolution_ns),
            samples = entry.samples,
            size_bytes = entry.size_bytes,
            "merged blocks"
        );
        Counters::add(&self.shared.counters.compactions, 1);
        Counters::add(&self.shared.counters.compacted_blocks, inputs.len() as u64);
        let block = ListedBlock::readable(entry, meta, &self.shared.storage, &self.shared.cache);
        let mut state = self.shared.state.lock();
        let at = state.blocks.iter().position(|b| inputs.contains(&b.entry.id)).unwrap_or_default();
        let (replaced, mut kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.blocks).into_iter().partition(|b| inputs.contains(&b.entry.id));
        kept.insert(at.min(kept.len()), block);
        state.blocks = kept;
        drop(state);
        self.retire(replaced);
    }

    /// Ends the compaction under way, whose inputs stay.
    pub(super) fn stop_compaction(&mut self) {
        let Some(mut running) = self.compactions.running.take() else { return };
        running.progress.stop.store(true, Ordering::Relaxed);
        // It looks before every batch, and deletes its files then.
        let done = &mut running.done;
        let stopped =
            self.shared.host.block_on(async { tokio::time::timeout(Duration::from_secs(10), done).await });
        if stopped.is_err() {
            warn!("the compaction did not stop in time; the next start deletes its files");
        }
    }
}
