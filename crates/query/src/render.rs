//! Here is what was read, gives you the report. Pure: runs on a blocking thread, stops when cancelled.

use crate::{
    api::{QueryError, Report, ReportAnswer, ReportRequest, ReportType},
    branch::{BASE, BranchBuilder, COMPARED, Visibility},
    cancel::Cancel,
    engine::Settings,
    evaluate::Read,
    filter::{Direction, SourceFilter},
    group::GroupTable,
    merge::{self, Cut, Merged},
    names::{Names, SymbolView},
    question::Question,
    report::{self, Forest, Reported, Scale, callgraph, flamegraph, metadata, pprof, table, top},
    scan,
    sums::SATURATED,
    unresolved, walk,
};

/// Renders a report.
pub(crate) fn render(
    request: &ReportRequest,
    question: &Question,
    mut read: Read,
    settings: &Settings,
    cancel: &Cancel,
) -> Result<ReportAnswer, QueryError> {
    let mut notices = std::mem::take(&mut read.notices);
    let label_names = std::mem::take(&mut read.label_names);
    let period = read.period;
    let Grown { mut forest, filtered, mut saturated } = grow(request.report, question, read, cancel)?;
    let unresolved = unresolved::addresses(&forest);
    notices.extend(unresolved::notice(&unresolved));
    let total = forest.total(COMPARED);
    let mut said = |sums_cut: bool| saturated |= sums_cut;
    let bytes_max = settings.report_bytes_max;
    let report = match request.report {
        ReportType::FlamegraphArrow => {
            let merged = merge(request, question, settings, &mut forest, cancel)?;
            said(merged.saturated);
            let graph = flamegraph::render(&merged, &mut forest, &question.fields.labels, request)?;
            report::check_size(graph.record.record.len(), bytes_max)?;
            notices.extend(remarks(&merged, graph.clamped));
            Report::FlamegraphArrow(graph.record)
        }
        ReportType::TableArrow => {
            let Reported { report, saturated } = table::render(&mut forest, request, cancel)?;
            report::check_size(report.record.len(), bytes_max)?;
            said(saturated);
            Report::TableArrow(report)
        }
        ReportType::Top => {
            let Reported { report, saturated } = top::render(&mut forest, cancel)?;
            said(saturated);
            Report::Top(report)
        }
        ReportType::Callgraph => {
            let share = share_of(request.node_trim_threshold);
            let share = if share > 0.0 { share } else { callgraph::SHARE_DEFAULT };
            let Reported { report, saturated } = callgraph::render(&mut forest, share, cancel)?;
            said(saturated);
            Report::Callgraph(report)
        }
        ReportType::Pprof => {
            let side = &question.compared;
            let header = pprof::Header {
                profile_type: &side.profile_type,
                sample_type: side.value_type(),
                period,
                range: side.range,
            };
            let Reported { report, saturated } = pprof::render(&forest, &header, bytes_max, cancel)?;
            said(saturated);
            Report::Pprof(report)
        }
        ReportType::ProfileMetadata => {
            Report::ProfileMetadata { mapping_files: metadata::mapping_files(&forest), labels: label_names }
        }
        other @ (ReportType::Flamechart | ReportType::Source) => {
            return Err(QueryError::Internal { message: format!("{other:?} came as far as its renderer") });
        }
    };
    if saturated {
        notices.push(SATURATED.to_owned());
    }
    Ok(ReportAnswer { report, total, filtered, unresolved, notices })
}

fn remarks(merged: &Merged, clamped: bool) -> impl Iterator<Item = String> {
    let missing = merged.focus_missing.as_ref();
    let missing = missing.map(|name| format!("the focus ends before {name:?}: there is no such frame"));
    let clamped =
        clamped.then(|| "negative values are shown as 0: the columns of this report are unsigned".to_owned());
    missing.into_iter().chain(clamped)
}

/// A percentage as a share; what is not a number is 0.
fn share_of(percent: f32) -> f64 {
    let share = f64::from(percent) / 100.0;
    if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
}

fn merge(
    request: &ReportRequest,
    question: &Question,
    settings: &Settings,
    forest: &mut Forest,
    cancel: &Cancel,
) -> Result<Merged, QueryError> {
    let wanted = if request.node_max == 0 { settings.node_default } else { request.node_max };
    let cut = Cut {
        rows_max: wanted.clamp(1, settings.node_max.max(1)),
        share_min: share_of(request.node_trim_threshold),
        focus: &request.focus,
    };
    let Forest { branches, groups, views, names, .. } = forest;
    match question.direction {
        Direction::Down => merge::merge(&walk::Down, branches, groups, views, names, &cut, cancel),
        Direction::Up => merge::merge(&walk::Up, branches, groups, views, names, &cut, cancel),
    }
}

struct Grown {
    forest: Forest,
    /// Value that filters took from the compared side.
    filtered: i64,
    saturated: bool,
}

/// Sums up all trees.
fn grow(report: ReportType, question: &Question, read: Read, cancel: &Cancel) -> Result<Grown, QueryError> {
    let keep_leaves = question.direction == Direction::Up
        || matches!(
            report,
            ReportType::Top | ReportType::TableArrow | ReportType::Callgraph | ReportType::Pprof
        );
    let mut builder = BranchBuilder::new(keep_leaves);
    let mut groups = GroupTable::default();
    let mut views = Vec::with_capacity(read.sources.len());
    let mut branches = Vec::new();
    let mut filtered = [0; 2];
    let mut saturated = false;
    for source in read.sources {
        let mut view = SymbolView::new(source.symbols, source.reasons);
        let mut filter = SourceFilter::new(&question.filters, question.direction, &mut view);
        let mut visibilities: hashbrown::HashMap<u32, Visibility> = hashbrown::HashMap::new();
        for (side, partial) in source.partials {
            saturated |= partial.saturated;
            if partial.sums.len() > source.trees.len() {
                builder.share_trees();
            }
            let ids: Vec<u32> = partial.groups.into_iter().map(|key| groups.id(key)).collect();
            if groups.keys().len() > scan::GROUPS_MAX {
                return Err(scan::too_many_groups());
            }
            for sums in partial.sums {
                cancel.check()?;
                let Some(tree) = source.trees.get(&sums.partition) else {
                    return Err(QueryError::Internal {
                        message: format!("partition {} has no tree", sums.partition),
                    });
                };
                let visibility =
                    visibilities.entry(sums.partition).or_insert_with(|| filter.visibility(&mut view, tree));
                let place = (views.len(), ids[sums.group as usize], side);
                let branch = builder.build(place, tree, &sums, visibility, &mut filtered[side])?;
                saturated |= branch.saturated;
                branches.push(branch);
            }
        }
        drop(visibilities);
        views.push(view);
    }
    let mut forest = Forest {
        branches,
        groups: groups.into_keys(),
        views,
        names: Names::new(question.fields.key),
        unit: question.compared.value_type().1.to_owned(),
        compares: question.base.is_some(),
        scale: Scale::ONE,
    };
    if !question.absolute {
        forest.scale = Scale::between(forest.total(COMPARED), forest.total(BASE));
    }
    Ok(Grown { forest, filtered: filtered[COMPARED], saturated })
}
