//! Here is a report request and a snapshot, gives you the report: plan, scan, then [`render`](crate::render).
//!
//! Reading is async and runs for all sources at once; everything after it is pure and runs on a blocking thread that stops
//! when the caller goes away.

use std::{collections::BTreeSet, sync::Arc};

use decima_store::source::{SeriesTable, Snapshot, Source, Symbols, Tree};
use hashbrown::HashMap;

use crate::{
    api::{QueryError, ReportAnswer, ReportRequest},
    cancel::Cancel,
    engine::Settings,
    plan::{self, Task},
    question::Question,
    read::{self, Failures},
    render,
    scan::{self, Partial},
    symbolize::{self, Reasons, Symbolizer, UnresolvedAddresses},
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
    /// Addresses without a function.
    pub(crate) unresolved: Vec<UnresolvedAddresses>,
    /// What the reader of the report must know.
    pub(crate) notices: Vec<String>,
}

/// Answers a report request.
pub(crate) async fn report(
    snapshot: &Snapshot,
    settings: &Settings,
    symbolizer: Option<&Symbolizer>,
    request: ReportRequest,
) -> Result<ReportAnswer, QueryError> {
    let question = Question::read(&request)?;
    let mut read = read_sources(snapshot, &question, settings.allow_partial).await?;
    let partials = || read.sources.iter().flat_map(|source| &source.partials);
    let is_empty = partials().all(|(_, partial)| partial.sample_count == 0);
    if is_empty && question.sides().all(|side| side.single) {
        return Err(QueryError::NotFound {
            message: "could not find profile at requested time and selectors".to_owned(),
        });
    }
    if let Some(symbolizer) = symbolizer {
        symbolize(&mut read, symbolizer).await;
    }
    let (guard, cancel) = Cancel::pair();
    let settings = settings.clone();
    let rendered =
        tokio::task::spawn_blocking(move || render::render(&request, &question, read, &settings, &cancel))
            .await;
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
    let mut unresolved = Vec::new();
    for (source, symbolized) in read.sources.iter_mut().zip(symbolized) {
        (source.symbols, source.reasons) = (symbolized.symbols, symbolized.reasons);
        unresolved.extend(symbolized.unresolved.iter().cloned());
    }
    read.unresolved = symbolize::added_up(unresolved);
    read.notices.extend(symbolize::notice(&read.unresolved));
}

async fn read_sources(
    snapshot: &Snapshot,
    question: &Question,
    allow_partial: bool,
) -> Result<Read, QueryError> {
    let mut failures = Failures::new(allow_partial);
    let tables = read::series_tables(snapshot, &mut failures).await?;
    let mut tasks: Vec<Vec<(usize, Task)>> = snapshot.sources.iter().map(|_| Vec::new()).collect();
    for (number, side) in question.sides().enumerate() {
        for task in plan::plan(&tables, question.wanted(side)) {
            tasks[task.source].push((number, task));
        }
    }
    let label_names = label_names(&tables, &tasks);
    let period = common_period(&tasks);
    let jobs = snapshot.sources.iter().zip(tasks).filter(|(_, tasks)| !tasks.is_empty());
    let jobs = jobs.map(|(source, tasks)| (source.name().to_owned(), read_source(Arc::clone(source), tasks)));
    let sources = read::all(jobs.collect(), &mut failures).await?;
    Ok(Read { sources, label_names, period, unresolved: Vec::new(), notices: failures.into_notices() })
}

async fn read_source(source: Arc<dyn Source>, tasks: Vec<(usize, Task)>) -> Result<SourceRead, QueryError> {
    let mut partitions: Vec<u32> = tasks.iter().flat_map(|(_, task)| task.partitions()).collect();
    partitions.sort_unstable();
    partitions.dedup();
    let scans = async {
        let mut partials = Vec::with_capacity(tasks.len());
        for (side, task) in &tasks {
            partials.push((*side, scan::scan(task, &*source).await?));
        }
        Ok::<_, QueryError>(partials)
    };
    let symbols = async { Ok(source.symbols(&partitions).await?) };
    let trees = async { Ok(source.trees(&partitions).await?) };
    let (partials, symbols, trees) = tokio::try_join!(scans, symbols, trees)?;
    let trees = partitions.iter().copied().zip(trees).collect();
    Ok(SourceRead { symbols, reasons: Arc::default(), trees, partials })
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
