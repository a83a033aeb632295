//! The engine's answers to messages.

use decima_profile::ProfileType;
use decima_proto::parca::{
    metastore::v1alpha1::{Function, Line, Location, Mapping},
    profilestore::v1alpha1::{Label, LabelSet},
    query::v1alpha1::{
        self as proto, CallgraphEdge, CallgraphNode, CallgraphNodeMeta, FlamegraphArrow, MetricsSample,
        MetricsSeries, ProfileMetadata, ProfileTypesResponse, QueryRangeResponse, QueryResponse, TableArrow,
        TopNodeMeta, ValueType,
    },
};
use decima_query::{Callgraph, NodeMeta, RangeSample, RangeSeries, Report, ReportAnswer, Top, TopNode};

use crate::time;

pub(super) fn profile_types(types: Vec<ProfileType>) -> ProfileTypesResponse {
    let types = types.into_iter().map(|profile_type| proto::ProfileType {
        name: profile_type.name,
        sample_type: profile_type.sample_type,
        sample_unit: profile_type.sample_unit,
        period_type: profile_type.period_type,
        period_unit: profile_type.period_unit,
        delta: profile_type.delta,
    });
    ProfileTypesResponse { types: types.collect() }
}

pub(super) fn query_range(series: Vec<RangeSeries>) -> QueryRangeResponse {
    QueryRangeResponse { series: series.into_iter().map(metrics_series).collect() }
}

pub(super) fn report(answer: ReportAnswer) -> QueryResponse {
    use proto::query_response::Report as Message;
    let report = match answer.report {
        Report::FlamegraphArrow(arrow) => Message::FlamegraphArrow(FlamegraphArrow {
            record: arrow.record.into(),
            unit: arrow.unit,
            height: arrow.height,
            trimmed: arrow.trimmed,
        }),
        Report::TableArrow(arrow) => {
            Message::TableArrow(TableArrow { record: arrow.record.into(), unit: arrow.unit })
        }
        Report::Top(top) => Message::Top(self::top(top)),
        Report::Pprof(bytes) => Message::Pprof(bytes.into()),
        Report::Callgraph(callgraph) => Message::Callgraph(self::callgraph(callgraph)),
        Report::ProfileMetadata { mapping_files, labels } => {
            Message::ProfileMetadata(ProfileMetadata { mapping_files, labels })
        }
    };
    QueryResponse { report: Some(report), total: answer.total, filtered: answer.filtered }
}

fn metrics_series(series: RangeSeries) -> MetricsSeries {
    let labels = series.labels.into_iter().map(|(name, value)| Label { name, value });
    MetricsSeries {
        // Always there: Grafana's plugin reads it without asking.
        labelset: Some(LabelSet { labels: labels.collect() }),
        samples: series.samples.into_iter().map(metrics_sample).collect(),
        period_type: Some(value_type(series.period_type)),
        sample_type: Some(value_type(series.sample_type)),
    }
}

fn metrics_sample(sample: RangeSample) -> MetricsSample {
    MetricsSample {
        timestamp: Some(time::to_proto(sample.time_ns)),
        value: sample.value,
        value_per_second: sample.value_per_second,
        duration: sample.duration_ns,
        count: i32::try_from(sample.count).unwrap_or(i32::MAX),
    }
}

fn value_type((name, unit): (String, String)) -> ValueType {
    ValueType { r#type: name, unit }
}

fn top(top: Top) -> proto::Top {
    let count = i32::try_from(top.nodes.len()).unwrap_or(i32::MAX);
    let list = top.nodes.into_iter().map(|node| proto::TopNode {
        meta: Some(top_meta(node.meta)),
        cumulative: node.cumulative,
        flat: node.flat,
        diff: node.diff,
    });
    proto::Top { list: list.collect(), reported: count, total: count, unit: top.unit }
}

fn callgraph(callgraph: Callgraph) -> proto::Callgraph {
    let nodes =
        callgraph.nodes.into_iter().enumerate().map(|(index, node): (usize, TopNode)| CallgraphNode {
            id: index.to_string(),
            meta: Some(callgraph_meta(node.meta)),
            cumulative: node.cumulative,
            flat: node.flat,
        });
    let edges = callgraph.edges.into_iter().enumerate().map(|(index, edge)| CallgraphEdge {
        id: format!("e{index}"),
        source: edge.source.to_string(),
        target: edge.target.to_string(),
        cumulative: edge.cumulative,
        is_collapsed: edge.collapsed,
    });
    proto::Callgraph { nodes: nodes.collect(), edges: edges.collect(), cumulative: callgraph.cumulative }
}

/// The parts of a node that are known.
struct Parts {
    location: Option<Location>,
    mapping: Option<Mapping>,
    function: Option<Function>,
    line: Option<Line>,
}

fn parts(meta: NodeMeta) -> Parts {
    let has_function = !meta.function_name.is_empty() || !meta.system_name.is_empty();
    let has_mapping = !meta.mapping_file.is_empty() || !meta.build_id.is_empty();
    Parts {
        location: (meta.address != 0).then(|| Location { address: meta.address, ..Location::default() }),
        mapping: has_mapping.then(|| Mapping {
            file: meta.mapping_file,
            build_id: meta.build_id,
            ..Mapping::default()
        }),
        function: has_function.then(|| Function {
            name: meta.function_name,
            system_name: meta.system_name,
            filename: meta.filename,
            start_line: meta.start_line,
            ..Function::default()
        }),
        line: (meta.line != 0).then(|| Line { line: meta.line, ..Line::default() }),
    }
}

fn top_meta(meta: NodeMeta) -> TopNodeMeta {
    let Parts { location, mapping, function, line } = parts(meta);
    TopNodeMeta { location, mapping, function, line }
}

fn callgraph_meta(meta: NodeMeta) -> CallgraphNodeMeta {
    let Parts { location, mapping, function, line } = parts(meta);
    CallgraphNodeMeta { location, mapping, function, line }
}
