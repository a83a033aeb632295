//! Here is a report request and a snapshot, gives you the report: plan, scan, merge, render.
//!
//! Reading is async and runs for all sources at once; everything after it is pure and runs on a blocking thread that stops
//! when the caller goes away.

use std::sync::Arc;

use decima_profile::ProfileType;
use decima_store::source::{Snapshot, Source, Symbols, Tree};
use hashbrown::HashMap;

use crate::{
    api::{QueryError, Report, ReportAnswer, ReportRequest, ReportType, Selection, TimeRange},
    branch::{BASE, Branch, COMPARED, Visibility},
    cancel::Cancel,
    engine::Settings,
    fields::GroupFields,
    group::{GroupTable, Grouping},
    merge::{self, Cut},
    names::{Names, SymbolView},
    plan::{self, Task, Wanted},
    read::{self, Failures},
    report::{self, Forest, Scale, flamegraph},
    scan::{self, Partial},
    selector::{Matcher, Selector},
    walk,
};

/// One side of a question.
struct Side {
    profile_type: ProfileType,
    matchers: Vec<Matcher>,
    range: TimeRange,
    scale_by_period: bool,
    single: bool,
}

/// A question after its texts have been read.
struct Question {
    /// The compared side first.
    sides: Vec<Side>,
    absolute: bool,
}

/// What was read of one source.
struct SourceRead {
    symbols: Arc<Symbols>,
    trees: HashMap<u32, Arc<Tree>>,
    /// By side.
    partials: Vec<(usize, Partial)>,
}

/// Answers a report request.
pub(crate) async fn report(
    snapshot: &Snapshot,
    settings: &Settings,
    request: ReportRequest,
) -> Result<ReportAnswer, QueryError> {
    refuse_unimplemented(request.report)?;
    let fields = GroupFields::parse(&request.group_by)?;
    let question = read_selection(&request.selection)?;
    let mut failures = Failures::new(settings.allow_partial);
    let reads = read_sources(snapshot, &question, &fields, &mut failures).await?;
    let samples: u64 = reads.iter().flat_map(|r| &r.partials).map(|(_, p)| p.sample_count).sum();
    if samples == 0 && question.sides.iter().all(|side| side.single) {
        return Err(QueryError::NotFound {
            message: "could not find profile at requested time and selectors".to_owned(),
        });
    }
    let (guard, cancel) = Cancel::pair();
    let settings = settings.clone();
    let notices = failures.into_notices();
    let render = move || {
        let renderer = Renderer { request: &request, fields: &fields, settings: &settings, cancel: &cancel };
        renderer.answer(&question, reads, notices)
    };
    let rendered = tokio::task::spawn_blocking(render).await;
    drop(guard);
    match rendered {
        Ok(answer) => answer,
        Err(error) => Err(QueryError::Internal { message: format!("the query stopped: {error}") }),
    }
}

fn refuse_unimplemented(report: ReportType) -> Result<(), QueryError> {
    match report {
        ReportType::FlamegraphArrow => Ok(()),
        other => Err(QueryError::Unimplemented { message: format!("reports of type {other:?} are not offered") }),
    }
}

fn read_selection(selection: &Selection) -> Result<Question, QueryError> {
    match selection {
        Selection::Diff { a, b, absolute } => {
            Ok(Question { sides: vec![read_side(b)?, read_side(a)?], absolute: *absolute })
        }
        one => Ok(Question { sides: vec![read_side(one)?], absolute: true }),
    }
}

fn read_side(selection: &Selection) -> Result<Side, QueryError> {
    let (query, range, single) = match selection {
        Selection::Single { query, time_ns } => {
            let start_ns = time_ns - time_ns.rem_euclid(1_000_000);
            (query, TimeRange { start_ns, end_ns: start_ns.saturating_add(999_999) }, true)
        }
        Selection::Merge { query, range } => (query, *range, false),
        Selection::Diff { .. } => {
            return Err(QueryError::InvalidArgument { message: "a side of a diff cannot be a diff".to_owned() });
        }
    };
    if range.start_ns > range.end_ns {
        return Err(QueryError::InvalidArgument { message: "start must be before end".to_owned() });
    }
    let (profile_type, matchers) = Selector::parse_typed(query)?;
    let scale_by_period = !single && read::counts_samples(&profile_type);
    Ok(Side { profile_type, matchers, range, scale_by_period, single })
}

impl Side {
    fn wanted<'a>(&'a self, fields: &'a GroupFields) -> Wanted<'a> {
        Wanted {
            profile_type: &self.profile_type,
            matchers: &self.matchers,
            range: self.range,
            grouping: Grouping::Labels(&fields.labels),
            scale_by_period: self.scale_by_period,
        }
    }

    fn unit(&self) -> String {
        let unit = if self.scale_by_period { &self.profile_type.period_unit } else { &self.profile_type.sample_unit };
        unit.clone()
    }
}

async fn read_sources(
    snapshot: &Snapshot,
    question: &Question,
    fields: &GroupFields,
    failures: &mut Failures,
) -> Result<Vec<SourceRead>, QueryError> {
    let tables = read::series_tables(snapshot, failures).await?;
    let mut tasks: Vec<Vec<(usize, Task)>> = snapshot.sources.iter().map(|_| Vec::new()).collect();
    for (side, asked) in question.sides.iter().enumerate() {
        for task in plan::plan(&tables, asked.wanted(fields)) {
            tasks[task.source].push((side, task));
        }
    }
    let jobs = snapshot.sources.iter().zip(tasks).filter(|(_, tasks)| !tasks.is_empty());
    let jobs = jobs.map(|(source, tasks)| (source.name().to_owned(), read_source(Arc::clone(source), tasks)));
    read::all(jobs.collect(), failures).await
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
    let symbols = async { Ok(source.symbols().await?) };
    let trees = async { Ok(source.trees(&partitions).await?) };
    let (partials, symbols, trees) = tokio::try_join!(scans, symbols, trees)?;
    let trees = partitions.iter().copied().zip(trees).collect();
    Ok(SourceRead { symbols, trees, partials })
}

/// The pure part of an answer.
struct Renderer<'a> {
    request: &'a ReportRequest,
    fields: &'a GroupFields,
    settings: &'a Settings,
    cancel: &'a Cancel,
}

impl Renderer<'_> {
    fn answer(
        &self,
        question: &Question,
        reads: Vec<SourceRead>,
        mut notices: Vec<String>,
    ) -> Result<ReportAnswer, QueryError> {
        let mut filtered = [0; 2];
        let (mut forest, mut saturated) = self.forest(question, reads, &mut filtered)?;
        let total = forest.total(COMPARED);
        let report = match self.request.report {
            ReportType::FlamegraphArrow => {
                let merged = self.merge(&mut forest)?;
                saturated |= merged.saturated;
                if let Some(name) = &merged.focus_missing {
                    notices.push(format!("the focus ends before {name:?}: there is no such frame"));
                }
                let compress = self.request.ipc_compression;
                let graph = flamegraph::render(&merged, &mut forest, &self.fields.labels, compress)?;
                if graph.clamped {
                    notices.push("negative values are shown as 0: the columns of this report are unsigned".to_owned());
                }
                report::check_size(graph.record.record.len(), self.settings.report_bytes_max)?;
                Report::FlamegraphArrow(graph.record)
            }
            other => {
                refuse_unimplemented(other)?;
                return Err(QueryError::Internal { message: format!("no renderer for {other:?}") });
            }
        };
        if saturated {
            notices.push("a sum is larger than a 64-bit integer holds and was cut there".to_owned());
        }
        Ok(ReportAnswer { report, total, filtered: filtered[COMPARED], notices })
    }

    fn merge(&self, forest: &mut Forest) -> Result<merge::Merged, QueryError> {
        let wanted = if self.request.node_max == 0 { self.settings.node_default } else { self.request.node_max };
        let share_min = f64::from(self.request.node_trim_threshold) / 100.0;
        let cut = Cut {
            rows_max: wanted.clamp(1, self.settings.node_max.max(1)),
            share_min: if share_min.is_finite() { share_min.clamp(0.0, 1.0) } else { 0.0 },
            focus: &self.request.focus,
        };
        let Forest { branches, groups, views, names, .. } = forest;
        if self.request.invert_call_stack {
            merge::merge(&walk::Up, branches, groups, views, names, &cut, self.cancel)
        } else {
            merge::merge(&walk::Down, branches, groups, views, names, &cut, self.cancel)
        }
    }

    fn needs_leaves(&self) -> bool {
        self.request.invert_call_stack
    }

    fn forest(
        &self,
        question: &Question,
        reads: Vec<SourceRead>,
        filtered: &mut [i64; 2],
    ) -> Result<(Forest, bool), QueryError> {
        let mut groups = GroupTable::default();
        let mut views = Vec::with_capacity(reads.len());
        let mut branches = Vec::new();
        let mut saturated = false;
        for read in reads {
            let view = views.len();
            views.push(SymbolView::new(read.symbols));
            for (side, partial) in read.partials {
                saturated |= partial.saturated;
                // Groups of a base would stand beside those of what is compared.
                let ids: Vec<u32> = partial.groups.into_iter().map(|key| groups.id(key)).collect();
                for sums in &partial.sums {
                    self.cancel.check()?;
                    let Some(tree) = read.trees.get(&sums.partition) else {
                        return Err(QueryError::Internal { message: format!("partition {} has no tree", sums.partition) });
                    };
                    let place = (view, ids[sums.group as usize], side);
                    let branch = Branch::build(
                        place,
                        Arc::clone(tree),
                        sums,
                        &Visibility::default(),
                        self.needs_leaves(),
                        &mut filtered[side],
                    )?;
                    saturated |= branch.saturated;
                    branches.push(branch);
                }
            }
        }
        let mut forest = Forest {
            branches,
            groups: groups.into_keys(),
            views,
            names: Names::new(self.fields.key),
            unit: question.sides.first().map(Side::unit).unwrap_or_default(),
            compares: question.sides.len() > 1,
            scale: Scale::ONE,
        };
        if !question.absolute {
            forest.scale = Scale::between(forest.total(COMPARED), forest.total(BASE));
        }
        Ok((forest, saturated))
    }
}
