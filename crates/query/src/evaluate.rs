//! Here is a report request and a snapshot, gives you the report: plan, [`gather`](crate::gather), then [`render`](crate::render).
//!
//! Everything after reading is pure and runs on a blocking thread that stops when the caller goes away.

use std::{collections::BTreeSet, sync::Arc};

use decima_store::source::{SeriesTable, Snapshot, Symbols, Tree};
use hashbrown::HashMap;

use crate::{
    api::{QueryError, ReportAnswer, ReportRequest},
    cancel::Cancel,
    coarse::Coarse,
    engine::Settings,
    gather::{self, SourcePlan},
    memory::{QueryMemory, Share},
    plan::{self, Task},
    question::Question,
    read::{self, Failures},
    render,
    scan::Partial,
    states,
    symbolize::{self, Reasons, Symbolizer},
};

/// What was read of one source.
#[derive(Default)]
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
    let (mut read, share) = read_sources(snapshot, &question, settings, memory).await?;
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
    settings: &Settings,
    memory: &QueryMemory,
) -> Result<(Read, Arc<Share>), QueryError> {
    let mut failures = Failures::new(settings.allow_partial);
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
    let (sources, share) = gather::gather(plans, settings.fold_bytes, memory, &mut failures).await?;
    let mut notices = failures.into_notices();
    notices.extend(coarse.notices());
    Ok((Read { sources, label_names, period, notices }, share))
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
