//! Here is what is wanted of each source, gives you what was read of them.
//!
//! All sources are read at once, and large ones in parts. Sources that would take too much memory together are read a few at a time
//! and [folded](crate::fold): while some are folded on a blocking thread, the next are read. Several small ones, as the blocks of one
//! service are, are folded too: that costs half of a merge of all of them, as long as what is known of stacktraces is in a
//! processor's cache.

use std::{ops::Range, sync::Arc};

use decima_store::source::{Part, SeriesTable, Source};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::QueryError,
    cancel::Cancel,
    evaluate::SourceRead,
    fold::Fold,
    memory::{self, QueryMemory, Share},
    plan::{ChosenSeries, Task},
    read::{self, Failures},
    scan,
};

/// Sources that are folded are read so many at a time as take this part of what all may take.
const FOLDED_AT_ONCE: u64 = 4;

/// Sources that are folded although there is memory for all: so many at least, with so many stacktraces together at most.
const SMALL_SOURCES_MIN: usize = 4;
const SMALL_STACKTRACES_MAX: u64 = 1 << 18;

/// Reads sources. Those that take more than `fold_bytes` together are folded.
pub(crate) async fn gather(
    plans: Vec<SourcePlan>,
    fold_bytes: u64,
    memory: &QueryMemory,
    failures: &mut Failures,
) -> Result<(Vec<SourceRead>, Arc<Share>), QueryError> {
    let needed_bytes = plans.iter().fold(0u64, |all, plan| all.saturating_add(plan.needed_bytes));
    let fold_bytes = fold_bytes.min(memory.limit_bytes());
    if needed_bytes > fold_bytes && plans.len() > 1 {
        return gather_folded(plans, fold_bytes, memory, failures).await;
    }
    let share = Arc::new(memory.take(needed_bytes).await?);
    let stacktrace_count: u64 = plans.iter().map(|plan| plan.stacktrace_count).sum();
    let mut reads = read_all(plans, &share, failures).await?;
    if reads.len() >= SMALL_SOURCES_MIN && stacktrace_count <= SMALL_STACKTRACES_MAX {
        let (_guard, cancel) = Cancel::pair();
        reads = folded(Fold::new().with_whole_symbols(), reads, cancel).await?.finish();
    }
    Ok((reads, share))
}

async fn read_all(
    plans: Vec<SourcePlan>,
    share: &Arc<Share>,
    failures: &mut Failures,
) -> Result<Vec<SourceRead>, QueryError> {
    let jobs = plans.into_iter().map(|plan| (plan.source.name().to_owned(), plan.read(Arc::clone(share))));
    read::all(jobs.collect(), failures).await
}

async fn gather_folded(
    plans: Vec<SourcePlan>,
    fold_bytes: u64,
    memory: &QueryMemory,
    failures: &mut Failures,
) -> Result<(Vec<SourceRead>, Arc<Share>), QueryError> {
    let portions = portions(plans, fold_bytes / FOLDED_AT_ONCE);
    let sizes: Vec<u64> = portions.iter().map(|(_, size_bytes)| *size_bytes).collect();
    // Those that are folded and those that are read meanwhile.
    let two = |at: usize| sizes.iter().skip(at).take(2).fold(0u64, |all, size| all.saturating_add(*size));
    let most = (1..sizes.len()).map(two).max().unwrap_or_default();
    // And the first with what is remembered of its stacktraces.
    let mut held_bytes = sizes[0].saturating_add(sizes[0] / 4).saturating_add(most);
    let share = Arc::new(memory.take(held_bytes).await?);
    let (_guard, cancel) = Cancel::pair();
    let mut portions = portions.into_iter().map(|(plans, _)| plans);
    let mut reads = read_all(portions.next().unwrap_or_default(), &share, failures).await?;
    let mut fold = Fold::new();
    for at in 0..sizes.len() {
        let folding = folded(fold, std::mem::take(&mut reads), cancel.clone());
        let reading = read_all(portions.next().unwrap_or_default(), &share, failures);
        (fold, reads) = tokio::try_join!(folding, reading)?;
        let needed_bytes = fold.size_bytes().saturating_add(two(at + 1));
        if needed_bytes > held_bytes {
            share.grow(needed_bytes - held_bytes)?;
            held_bytes = needed_bytes;
        }
    }
    Ok((fold.finish(), share))
}

/// Folds on a blocking thread, until nobody waits.
async fn folded(mut fold: Fold, reads: Vec<SourceRead>, cancel: Cancel) -> Result<Fold, QueryError> {
    let folding = tokio::task::spawn_blocking(move || {
        reads.into_iter().try_for_each(|read| fold.add(read, &cancel))?;
        Ok(fold)
    });
    folding.await.map_err(|e| QueryError::Internal { message: format!("the query stopped: {e}") })?
}

/// Plans that are read together, in their order, with the memory that they need: of one, or of several within `size_bytes`.
fn portions(plans: Vec<SourcePlan>, size_bytes: u64) -> Vec<(Vec<SourcePlan>, u64)> {
    let mut portions: Vec<(Vec<SourcePlan>, u64)> = Vec::new();
    for plan in plans {
        let needed_bytes = plan.needed_bytes;
        match portions.last_mut() {
            Some((plans, size)) if size.saturating_add(needed_bytes) <= size_bytes => {
                plans.push(plan);
                *size += needed_bytes;
            }
            _ => portions.push((vec![plan], needed_bytes)),
        }
    }
    portions
}

/// Nodes of the trees that are read one after another: what is larger is read in parts at the same time.
const PART_NODES: u64 = 1 << 20;

/// Samples that are read one after another: more, which several row groups have, are read in parts at the same time.
const PART_SAMPLES: u64 = 1 << 20;
/// Parts at most: each adds up sums of its own.
const SAMPLE_PARTS_MAX: u64 = 8;

/// What is read of a source.
pub(crate) struct SourcePlan {
    source: Arc<dyn Source>,
    tasks: Vec<(usize, Task)>,
    /// Partitions that tasks need, ascending.
    partitions: Vec<u32>,
    /// Places of partitions that are read one after another.
    parts: Vec<Range<usize>>,
    table: Arc<SeriesTable>,
    /// Of all its partitions.
    stacktrace_count: u64,
    needed_bytes: u64,
}

impl SourcePlan {
    pub(crate) fn new(source: &Arc<dyn Source>, table: &Arc<SeriesTable>, tasks: Vec<(usize, Task)>) -> Self {
        let by_task: Vec<Vec<u32>> = tasks.iter().map(|(_, task)| task.partitions()).collect();
        let mut partitions = by_task.concat();
        partitions.sort_unstable();
        partitions.dedup();
        let size = |partition: &u32| table.partitions.get(*partition as usize).copied().unwrap_or_default();
        let sides =
            |partition| by_task.iter().filter(|own| own.binary_search(partition).is_ok()).count() as u64;
        let sizes = partitions.iter().map(|partition| (size(partition), sides(partition)));
        Self {
            source: Arc::clone(source),
            needed_bytes: memory::needed_bytes(table, sizes),
            stacktrace_count: partitions.iter().map(|p| u64::from(size(p).stacktrace_count)).sum(),
            parts: parts(partitions.iter().map(|partition| u64::from(size(partition).node_count))),
            table: Arc::clone(table),
            tasks,
            partitions,
        }
    }

    async fn read(self, share: Arc<Share>) -> Result<SourceRead, QueryError> {
        let Self { source, tasks, partitions, parts, table, .. } = self;
        let partitions: Arc<[u32]> = partitions.into();
        let symbols = {
            let (source, partitions) = (Arc::clone(&source), Arc::clone(&partitions));
            spawned(async move { Ok(source.symbols(&partitions).await?) })
        };
        let trees: Vec<_> = parts
            .iter()
            .cloned()
            .map(|part| {
                let (source, partitions) = (Arc::clone(&source), Arc::clone(&partitions));
                spawned(async move { Ok(source.trees(&partitions, part).await?) })
            })
            .collect();
        let mut scans = Vec::new();
        for (side, task) in tasks {
            for part in &parts {
                let Some(task) = task.restricted_to(&partitions[part.clone()]) else { continue };
                let task = Arc::new(task);
                for part in sample_parts(&task, &table) {
                    let (source, share, task) = (Arc::clone(&source), Arc::clone(&share), Arc::clone(&task));
                    scans.push(spawned(async move {
                        Ok((side, scan::scan(&task, &*source, part, &share).await?))
                    }));
                }
            }
        }
        let trees = futures::future::try_join_all(trees);
        let scans = futures::future::try_join_all(scans);
        let (symbols, trees, partials) = tokio::try_join!(symbols, trees, scans)?;
        let trees = partitions.iter().copied().zip(trees.into_iter().flatten()).collect();
        Ok(SourceRead { symbols, reasons: Arc::default(), trees, partials })
    }
}

/// Runs on its own until it is dropped.
async fn spawned<T: Send + 'static>(
    job: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    let job = AbortOnDropHandle::new(tokio::spawn(job));
    job.await.map_err(|e| QueryError::Internal { message: format!("a read stopped: {e}") })?
}

/// Divides the samples of a task, given the series of its source.
fn sample_parts(task: &Task, table: &SeriesTable) -> impl Iterator<Item = Part> + use<> {
    let count_of =
        |series: &ChosenSeries| table.series.get(series.id as usize).map_or(0, |series| series.sample_count);
    let samples = task.series.iter().map(count_of).fold(0u64, u64::saturating_add);
    let of = samples.div_ceil(PART_SAMPLES).clamp(1, SAMPLE_PARTS_MAX);
    (0..of).map(move |at| Part { at, of })
}

/// Divides partitions with these numbers of nodes into parts of about [`PART_NODES`].
fn parts(node_counts: impl ExactSizeIterator<Item = u64>) -> Vec<Range<usize>> {
    let count = node_counts.len();
    let mut parts = Vec::new();
    let (mut first, mut nodes) = (0, 0);
    for (at, node_count) in node_counts.enumerate() {
        nodes += node_count;
        if nodes >= PART_NODES {
            parts.push(first..at + 1);
            (first, nodes) = (at + 1, 0);
        }
    }
    if first < count {
        parts.push(first..count);
    }
    parts
}
