//! Messages to the engine's questions. Refuses what a message cannot mean, naming the field.

use decima_proto::parca::query::v1alpha1::{
    self as proto,
    query_request::{Mode, ReportType as ProtoReportType},
};
use decima_query::{
    Condition, Filter, FrameCriteria, LabelsRequest, QueryRangeRequest, ReportRequest, ReportType, Selection,
    TimeRange,
};
use prost_types::Timestamp;
use tonic::Status;

use super::{Extras, RecordBuffers};
use crate::time;

/// Filters of one request; a hand-written query has a handful.
const FILTERS_MAX: usize = 256;
/// Fields of a grouping; each adds a column to the answer.
const GROUP_BY_MAX: usize = 64;
/// Labels kept apart in a range query.
const SUM_BY_MAX: usize = 64;
/// Bytes of a selector; the parser's work grows with it.
const SELECTOR_BYTES_MAX: usize = 64 << 10;

/// A range of which either side may be open: absent or the epoch, as clients that do not care send it. `None` = always.
pub(super) fn range(start: Option<Timestamp>, end: Option<Timestamp>) -> Result<Option<TimeRange>, Status> {
    let start_ns = given("start", start)?;
    let end_ns = given("end", end)?;
    if start_ns.is_none() && end_ns.is_none() {
        return Ok(None);
    }
    ordered(TimeRange {
        start_ns: start_ns.unwrap_or(TimeRange::ALL.start_ns),
        end_ns: end_ns.unwrap_or(TimeRange::ALL.end_ns),
    })
    .map(Some)
}

pub(super) fn labels(request: proto::LabelsRequest) -> Result<LabelsRequest, Status> {
    labels_request(request.profile_type, request.r#match, range(request.start, request.end)?)
}

/// The name asked for and the rest.
pub(super) fn values(request: proto::ValuesRequest) -> Result<(String, LabelsRequest), Status> {
    if request.label_name.is_empty() {
        return Err(Status::invalid_argument("label_name: missing"));
    }
    let range = range(request.start, request.end)?;
    Ok((request.label_name, labels_request(request.profile_type, request.r#match, range)?))
}

pub(super) fn query_range(request: proto::QueryRangeRequest) -> Result<QueryRangeRequest, Status> {
    bounded("sum_by", request.sum_by.len(), SUM_BY_MAX)?;
    let step_ns = request.step.map(|step| time::duration_from_proto("step", &step)).transpose()?;
    Ok(QueryRangeRequest {
        query: selector("query", request.query)?,
        range: required_range("", request.start, request.end)?,
        step_ns: step_ns.unwrap_or(0),
        limit: request.limit,
        sum_by: request.sum_by,
    })
}

pub(super) fn report(
    request: proto::QueryRequest,
    extras: Extras,
    buffers: RecordBuffers,
) -> Result<ReportRequest, Status> {
    let report = report_type(request.report_type)?;
    let selection = selection(request.mode, request.options)?;
    let group_by = request.group_by.map(|group_by| group_by.fields).unwrap_or_default();
    bounded("group_by.fields", group_by.len(), GROUP_BY_MAX)?;
    let threshold = request.node_trim_threshold.unwrap_or(0.0);
    if !(0.0..=100.0).contains(&threshold) {
        return Err(Status::invalid_argument("node_trim_threshold: must be a percentage from 0 to 100"));
    }
    Ok(ReportRequest {
        node_trim_threshold: threshold,
        node_max: extras.node_max,
        group_by,
        filters: filters(request.filter, request.filter_query)?,
        invert_call_stack: request.invert_call_stack.unwrap_or(false),
        sandwich_by_function: request.sandwich_by_function.filter(|name| !name.is_empty()),
        focus: extras.focus,
        ipc_compression: buffers == RecordBuffers::Compressed,
        unresolved_column: extras.reasons,
        frame_type_column: extras.frame_types,
        ..ReportRequest::new(selection, report)
    })
}

fn labels_request(
    profile_type: Option<String>,
    matchers: Vec<String>,
    range: Option<TimeRange>,
) -> Result<LabelsRequest, Status> {
    let matchers: Result<_, _> = matchers.into_iter().map(|matcher| selector("match", matcher)).collect();
    Ok(LabelsRequest {
        profile_type: profile_type.filter(|name| !name.is_empty()),
        matchers: matchers?,
        range,
    })
}

fn report_type(number: i32) -> Result<ReportType, Status> {
    let Ok(report_type) = ProtoReportType::try_from(number) else {
        return Err(Status::invalid_argument(format!("invalid report type: {number}")));
    };
    match report_type {
        ProtoReportType::FlamegraphArrow => Ok(ReportType::FlamegraphArrow),
        ProtoReportType::Flamechart => Ok(ReportType::Flamechart),
        ProtoReportType::TableArrow => Ok(ReportType::TableArrow),
        ProtoReportType::Top => Ok(ReportType::Top),
        ProtoReportType::Pprof => Ok(ReportType::Pprof),
        ProtoReportType::Callgraph => Ok(ReportType::Callgraph),
        ProtoReportType::ProfileMetadata => Ok(ReportType::ProfileMetadata),
        ProtoReportType::Source => Ok(ReportType::Source),
        // Deep trees as nested messages; clients have moved on to Arrow.
        ProtoReportType::FlamegraphUnspecified | ProtoReportType::FlamegraphTable => {
            Err(Status::unimplemented(format!(
                "invalid report type: {} is not offered, ask for REPORT_TYPE_FLAMEGRAPH_ARROW",
                report_type.as_str_name()
            )))
        }
    }
}

fn selection(mode: i32, options: Option<proto::query_request::Options>) -> Result<Selection, Status> {
    use proto::query_request::Options;
    let mode =
        Mode::try_from(mode).map_err(|_| Status::invalid_argument(format!("mode: {mode} is not known")))?;
    match (mode, options) {
        (Mode::SingleUnspecified, Some(Options::Single(side))) => single("single", side),
        (Mode::Merge, Some(Options::Merge(side))) => merge("merge", side),
        (Mode::Diff, Some(Options::Diff(diff))) => {
            let (Some(a), Some(b)) = (diff.a, diff.b) else {
                return Err(Status::invalid_argument("diff: needs both a and b"));
            };
            Ok(Selection::Diff {
                a: Box::new(side("diff.a", a)?),
                b: Box::new(side("diff.b", b)?),
                absolute: diff.absolute.unwrap_or(false),
            })
        }
        (mode, _) => {
            let field = match mode {
                Mode::SingleUnspecified => "single",
                Mode::Merge => "merge",
                Mode::Diff => "diff",
            };
            Err(Status::invalid_argument(format!(
                "mode: {} needs the options in `{field}`",
                mode.as_str_name()
            )))
        }
    }
}

fn side(field: &str, side: proto::ProfileDiffSelection) -> Result<Selection, Status> {
    use proto::profile_diff_selection::{Mode, Options};
    match (Mode::try_from(side.mode), side.options) {
        (Ok(Mode::SingleUnspecified), Some(Options::Single(side))) => {
            single(&format!("{field}.single"), side)
        }
        (Ok(Mode::Merge), Some(Options::Merge(side))) => merge(&format!("{field}.merge"), side),
        _ => Err(Status::invalid_argument(format!("{field}: the options must be those of its mode"))),
    }
}

fn single(field: &str, side: proto::SingleProfile) -> Result<Selection, Status> {
    let name = format!("{field}.time");
    let time = side.time.ok_or_else(|| Status::invalid_argument(format!("{name}: missing")))?;
    Ok(Selection::Single {
        query: selector(&format!("{field}.query"), side.query)?,
        time_ns: time::ns_from_proto(&name, &time)?,
    })
}

fn merge(field: &str, side: proto::MergeProfile) -> Result<Selection, Status> {
    Ok(Selection::Merge {
        query: selector(&format!("{field}.query"), side.query)?,
        range: required_range(&format!("{field}."), side.start, side.end)?,
    })
}

fn selector(field: &str, text: String) -> Result<String, Status> {
    if text.is_empty() {
        return Err(Status::invalid_argument(format!("{field}: missing")));
    }
    bounded(field, text.len(), SELECTOR_BYTES_MAX)?;
    Ok(text)
}

fn given(field: &str, time: Option<Timestamp>) -> Result<Option<i64>, Status> {
    time.filter(|time| *time != Timestamp::default())
        .map(|time| time::ns_from_proto(field, &time))
        .transpose()
}

fn required_range(
    field: &str,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
) -> Result<TimeRange, Status> {
    let required = |name: &str, time: Option<Timestamp>| {
        let name = format!("{field}{name}");
        let time = time.ok_or_else(|| Status::invalid_argument(format!("{name}: missing")))?;
        time::ns_from_proto(&name, &time)
    };
    ordered(TimeRange { start_ns: required("start", start)?, end_ns: required("end", end)? })
}

fn ordered(range: TimeRange) -> Result<TimeRange, Status> {
    if range.start_ns > range.end_ns {
        return Err(Status::invalid_argument("start: must not be after end"));
    }
    Ok(range)
}

fn bounded(field: &str, size: usize, size_max: usize) -> Result<(), Status> {
    if size > size_max {
        return Err(Status::invalid_argument(format!("{field}: {size} is more than {size_max}")));
    }
    Ok(())
}

fn filters(filters: Vec<proto::Filter>, function_name: Option<String>) -> Result<Vec<Filter>, Status> {
    bounded("filter", filters.len(), FILTERS_MAX)?;
    let mut wanted = Vec::with_capacity(filters.len() + 1);
    if let Some(text) = function_name.filter(|text| !text.is_empty()) {
        wanted.push(function_filter(Condition::Contains(text)));
    }
    for filter in filters {
        match filter.filter {
            Some(proto::filter::Filter::StackFilter(filter)) => wanted.extend(stack_filter(filter)),
            Some(proto::filter::Filter::FrameFilter(filter)) => frame_filter(filter, &mut wanted)?,
            None => {}
        }
    }
    Ok(wanted)
}

fn function_filter(condition: Condition) -> Filter {
    Filter::Stack(FrameCriteria { function_name: Some(condition), ..FrameCriteria::default() })
}

fn stack_filter(filter: proto::StackFilter) -> Option<Filter> {
    use proto::stack_filter::Filter as Kind;
    match filter.filter? {
        Kind::FunctionNameStackFilter(filter) if filter.function_to_filter.is_empty() => None,
        Kind::FunctionNameStackFilter(filter) if filter.exclude => {
            Some(function_filter(Condition::NotContains(filter.function_to_filter)))
        }
        Kind::FunctionNameStackFilter(filter) => {
            Some(function_filter(Condition::Contains(filter.function_to_filter)))
        }
        Kind::Criteria(criteria) => Some(Filter::Stack(frame_criteria(criteria))),
    }
}

fn frame_filter(filter: proto::FrameFilter, wanted: &mut Vec<Filter>) -> Result<(), Status> {
    use proto::frame_filter::Filter as Kind;
    match filter.filter {
        Some(Kind::BinaryFrameFilter(filter)) => {
            bounded("filter.include_binaries", filter.include_binaries.len(), FILTERS_MAX)?;
            wanted.extend(filter.include_binaries.into_iter().map(|binary| {
                Filter::Frame(FrameCriteria {
                    binary: Some(Condition::Contains(binary)),
                    ..FrameCriteria::default()
                })
            }));
        }
        Some(Kind::Criteria(criteria)) => wanted.push(Filter::Frame(frame_criteria(criteria))),
        None => {}
    }
    Ok(())
}

fn frame_criteria(criteria: proto::FilterCriteria) -> FrameCriteria {
    FrameCriteria {
        function_name: criteria.function_name.and_then(text_condition),
        binary: criteria.binary.and_then(text_condition),
        system_name: criteria.system_name.and_then(text_condition),
        filename: criteria.filename.and_then(text_condition),
        address: criteria.address.and_then(number_condition),
        line_number: criteria.line_number.and_then(number_condition),
    }
}

fn text_condition(condition: proto::StringCondition) -> Option<Condition> {
    use proto::string_condition::Condition as Kind;
    Some(match condition.condition? {
        Kind::Equal(text) => Condition::Equal(text),
        Kind::NotEqual(text) => Condition::NotEqual(text),
        Kind::Contains(text) => Condition::Contains(text),
        Kind::NotContains(text) => Condition::NotContains(text),
        Kind::StartsWith(text) => Condition::StartsWith(text),
        Kind::NotStartsWith(text) => Condition::NotStartsWith(text),
    })
}

fn number_condition(condition: proto::NumberCondition) -> Option<Condition> {
    use proto::number_condition::Condition as Kind;
    Some(match condition.condition? {
        Kind::Equal(number) => Condition::NumberEqual(number),
        Kind::NotEqual(number) => Condition::NumberNotEqual(number),
    })
}

#[cfg(test)]
mod tests;
