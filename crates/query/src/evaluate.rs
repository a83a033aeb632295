//! Here is a report request and a snapshot, gives you the report: plan, scan, then [`render`](crate::render).
//!
//! Reading is async and runs for all sources at once, and for large ones in parts; everything after it is pure and runs on a
//! blocking thread that stops when the caller goes away.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use decima_store::source::{Part, SeriesTable, Snapshot, Source, Symbols, Tree};
use hashbrown::HashMap;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    api::{QueryError, ReportAnswer, ReportRequest},
    cancel::Cancel,
    coarse::Coarse,
    engine::Settings,
    memory::{self, QueryMemory, Share},
    plan::{self, ChosenSeries, Task},
    question::Question,
    read::{self, Failures},
    render,
    scan::{self, Partial},
    states,
    symbolize::{self, Reasons, Symbolizer},
};

/// What was read of one source.
pub(crate) struct SourceRead {
    pub(crate) symbols: Arc<Symbols>,
    /// Why some of them have no function.
    pub(crate) reasons: Reasons,
    /// By partition.
    pub(crate) trees: HashMap<u32, Arc<Tree>>,
    /// With the side they are for.
    pub(crate) partials: Vec<(usize, Partial)>,
}

/// What was read for a question.
pub(crate) struct Read {
    pub(crate) sources: Vec<SourceRead>,
    /// Names of the labels and attributes of the series chosen, sorted.
    pub(crate) label_names: Vec<String>,
    /// Period of the series chosen, 0 if they differ.
    pub(crate) period: i64,
    /// What the reader of the report must know.
    pub(crate) notices: Vec<String>,
}

/// What a question is answered within.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) memory: &'a QueryMemory,
    pub(crate) symbolizer: Option<&'a Symbolizer>,
}

/// Answers a report request.
pub(crate) async fn report(
    snapshot: &Snapshot,
    Surroundings { settings, memory, symbolizer }: Surroundings<'_>,
    request: ReportRequest,
) -> Result<ReportAnswer, QueryError> {
    let question = Question::read(&request)?;
    let (mut read, share) = read_sources(snapshot, &question, settings.allow_partial, memory).await?;
    let partials = || read.sources.iter().flat_map(|source| &source.partials);
    let is_empty = partials().all(|(_, partial)| partial.sample_count == 0);
    if is_empty && question.sides().all(|side| side.single) {
        let mut message = "could not find profile at requested time and selectors".to_owned();
        read.notices.iter().for_each(|notice| message = format!("{message}; {notice}"));
        return Err(QueryError::NotFound { message });
    }
    if let Some(symbolizer) = symbolizer {
        symbolize(&mut read, symbolizer).await;
    }
    let (guard, cancel) = Cancel::pair();
    let settings = settings.clone();
    let rendered = tokio::task::spawn_blocking(move || {
        let answer = render::render(&request, &question, read, &settings, &cancel);
        drop(share);
        answer
    });
    let rendered = rendered.await;
    drop(guard);
    match rendered {
        Ok(answer) => answer,
        Err(error) => Err(QueryError::Internal { message: format!("the query stopped: {error}") }),
    }
}

/// Looks up functions of all sources at once, so that they wait for one deadline.
async fn symbolize(read: &mut Read, symbolizer: &Symbolizer) {
    let symbolized = read.sources.iter().map(|source| {
        let mut partitions: Vec<u32> = source.trees.keys().copied().collect();
        partitions.sort_unstable();
        let symbols = Arc::clone(&source.symbols);
        async move {
            let count = symbols.location_count();
            let wanted = || symbolize::occurring(count, source.trees.values().map(|tree| &**tree));
            symbolizer.symbolize_for(symbols, &partitions, wanted).await
        }
    });
    let symbolized = futures::future::join_all(symbolized).await;
    for (source, symbolized) in read.sources.iter_mut().zip(symbolized) {
        (source.symbols, source.reasons) = (symbolized.symbols, symbolized.reasons);
    }
}

async fn read_sources(
    snapshot: &Snapshot,
    question: &Question,
    allow_partial: bool,
    memory: &QueryMemory,
) -> Result<(Read, Arc<Share>), QueryError> {
    let mut failures = Failures::new(allow_partial);
    let tables = read::series_tables(snapshot, &mut failures).await?;
    let mut tasks: Vec<Vec<(usize, Task)>> = snapshot.sources.iter().map(|_| Vec::new()).collect();
    let mut coarse = Coarse::default();
    for (number, side) in question.sides().enumerate() {
        let mut plan = plan::plan(&tables, question.wanted(side));
        coarse.add(plan.coarse);
        if side.single && !side.profile_type.delta {
            states::average(snapshot, &tables, &mut plan.tasks).await?;
        }
        for task in plan.tasks {
            tasks[task.source].push((number, task));
        }
    }
    let label_names = label_names(&tables, &tasks);
    let period = common_period(&tasks);
    let plans = snapshot.sources.iter().zip(tables).zip(tasks).filter(|(_, tasks)| !tasks.is_empty());
    let plans = plans.filter_map(|((source, table), tasks)| Some(SourcePlan::new(source, &table?, tasks)));
    let plans: Vec<SourcePlan> = plans.collect();
    let needed_bytes = plans.iter().fold(0u64, |all, plan| all.saturating_add(plan.needed_bytes));
    let share = Arc::new(memory.take(needed_bytes).await?);
    let jobs = plans.into_iter().map(|plan| (plan.source.name().to_owned(), plan.read(Arc::clone(&share))));
    let sources = read::all(jobs.collect(), &mut failures).await?;
    let mut notices = failures.into_notices();
    notices.extend(coarse.notices());
    Ok((Read { sources, label_names, period, notices }, share))
}

/// Nodes of the trees that are read one after another: what is larger is read in parts at the same time.
const PART_NODES: u64 = 1 << 20;

/// Samples that are read one after another: more, which several row groups have, are read in parts at the same time.
const PART_SAMPLES: u64 = 1 << 20;
/// Parts at most: each adds up sums of its own.
const SAMPLE_PARTS_MAX: u64 = 8;

/// What is read of a source.
struct SourcePlan {
    source: Arc<dyn Source>,
    tasks: Vec<(usize, Task)>,
    /// Partitions that tasks need, ascending.
    partitions: Vec<u32>,
    /// Places of partitions that are read one after another.
    parts: Vec<Range<usize>>,
    table: Arc<SeriesTable>,
    needed_bytes: u64,
}

impl SourcePlan {
    fn new(source: &Arc<dyn Source>, table: &Arc<SeriesTable>, tasks: Vec<(usize, Task)>) -> Self {
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

fn label_names(tables: &[Option<Arc<SeriesTable>>], tasks: &[Vec<(usize, Task)>]) -> Vec<String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (table, tasks) in tables.iter().zip(tasks) {
        let Some(table) = table.as_ref().filter(|_| !tasks.is_empty()) else { continue };
        let chosen = || tasks.iter().flat_map(|(_, task)| &task.series);
        let attributes = table.attributes.iter();
        names.extend(
            attributes.filter(|(_, a)| chosen().any(|s| a.of_series(s.id).is_some())).map(|(n, _)| n),
        );
        let labels = chosen().flat_map(|chosen| table.series[chosen.id as usize].labels.iter());
        names.extend(labels.map(|(name, _)| name.as_str()));
    }
    names.into_iter().map(str::to_owned).collect()
}

fn common_period(tasks: &[Vec<(usize, Task)>]) -> i64 {
    let mut periods = tasks.iter().flatten().flat_map(|(_, task)| &task.series).map(|series| series.period);
    let first = periods.next().unwrap_or_default();
    if periods.all(|period| period == first) { first } else { 0 }
}
