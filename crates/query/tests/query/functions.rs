//! Reports about functions (TOP, TABLE, CALLGRAPH), PPROF and PROFILE_METADATA.

use std::collections::BTreeMap;

use decima_profile::{compression, pprof};
use decima_query::{Engine, Report, ReportType, engine::Settings};
use proptest::prelude::*;

use crate::{
    answers::{answer, batch, ints, keys, lists},
    memory::Sample,
    naive::{self, Look},
    world::{World, counts, diff_of, filters, folding, merge_of, request, signed, worlds},
};

type Values = BTreeMap<String, (i64, i64)>;

fn top(engine: &Engine, asked: decima_query::ReportRequest) -> decima_query::Top {
    match answer(engine, asked).unwrap().report {
        Report::Top(top) => top,
        other => panic!("not a top: {other:?}"),
    }
}

fn top_values(top: &decima_query::Top) -> Values {
    let key = |node: &decima_query::TopNode| {
        let meta = &node.meta;
        if !meta.function_name.is_empty() {
            return meta.function_name.clone();
        }
        let object = if meta.build_id.is_empty() { &meta.mapping_file } else { &meta.build_id };
        format!("{:#x}@{object}", meta.address)
    };
    top.nodes.iter().map(|node| (key(node), (node.cumulative, node.flat))).collect()
}

/// Stacktraces as text with their values, empty ones and sums of 0 left out.
fn pprof_stacks(report: &Report) -> BTreeMap<(String, String), i64> {
    let Report::Pprof(gzip) = report else { panic!("not a pprof") };
    let message = compression::decompress(gzip, 1 << 30).unwrap();
    let profile = pprof::decode(message, &pprof::Limits::default()).unwrap();
    let batch = &profile.batch;
    let mut stacks = BTreeMap::new();
    for series in &batch.series {
        for (row, &value) in series.values.iter().enumerate() {
            let mut path: Vec<String> = Vec::new();
            for &location in batch.stacktrace(series.stacktraces[row]).iter().rev() {
                let location = &batch.locations[location as usize];
                let first = location.first_line as usize;
                let lines = &batch.lines[first..first + location.line_count as usize];
                let mapping = batch.mappings.get(location.mapping as usize);
                let place = format!(
                    "{:#x}@{}",
                    location.address,
                    mapping.map_or("", |m| batch.strings.get(m.build_id))
                );
                for line in lines.iter().rev() {
                    let function = &batch.functions[line.function as usize];
                    let text = |id| batch.strings.get(id);
                    path.push(format!(
                        "{place} {} {} {}:{}",
                        text(function.name),
                        text(function.system_name),
                        text(function.filename),
                        line.line
                    ));
                }
                if lines.is_empty() {
                    path.push(place);
                }
            }
            let labels: Vec<String> = series
                .attributes
                .iter()
                .filter_map(|attribute| match &attribute.values {
                    decima_profile::batch::AttributeValues::Text(ids) if ids[row] != 0 => {
                        Some(batch.strings.get(ids[row]).to_owned())
                    }
                    _ => None,
                })
                .collect();
            assert!(stacks.insert((labels.join(","), path.join(";")), value).is_none(), "stacktraces differ");
        }
    }
    stacks
}

fn naive_stacks<'s>(
    samples: impl Iterator<Item = &'s Sample>,
    look: &Look<'_>,
) -> BTreeMap<(String, String), i64> {
    let mut stacks: BTreeMap<(String, String), i64> = BTreeMap::new();
    for sample in samples {
        let Some(frames) = look.visible(sample) else { continue };
        let text = |frame: &naive::Frame| match &frame.line {
            Some(line) => {
                let name = if line.name.is_empty() { &line.system_name } else { &line.name };
                format!("{} {name} {} {}:{}", frame.place(), line.system_name, line.filename, line.line)
            }
            None => frame.place(),
        };
        let path: Vec<String> = frames.iter().map(text).collect();
        let labels = look.labels(sample);
        *stacks.entry((labels.join(","), path.join(";"))).or_default() += sample.value;
    }
    stacks.retain(|_, value| *value != 0);
    stacks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn top_equals_the_naive_one(world in worlds(signed()), filters in filters()) {
        let mut asked = request(merge_of("{}"), ReportType::Top);
        asked.filters = filters.clone();
        let got = top(&world.engine(), asked);
        let expected = naive::functions(world.samples.iter(), &Look { filters: &filters, ..Look::default() });
        // Functions whose values cancel out may or may not be there.
        let nonzero = |values: Values| values.into_iter().filter(|(_, v)| *v != (0, 0)).collect::<Values>();
        prop_assert_eq!(nonzero(top_values(&got)), nonzero(expected));
        prop_assert!(got.nodes.is_sorted_by_key(|node| std::cmp::Reverse(node.flat)));
    }

    #[test]
    fn top_cuts_at_a_function(world in worlds(counts())) {
        let mut asked = request(merge_of("{}"), ReportType::Top);
        asked.sandwich_by_function = Some("middle".to_owned());
        let got = top(&world.engine(), asked);
        let expected = naive::functions(world.samples.iter(), &Look { sandwich: Some("middle"), ..Look::default() });
        prop_assert_eq!(top_values(&got), expected);
    }

    #[test]
    fn table_equals_the_naive_one(world in worlds(counts())) {
        let got = answer(&world.engine(), request(merge_of("{}"), ReportType::TableArrow)).unwrap();
        let Report::TableArrow(record) = got.report else { panic!("not a table") };
        let batch = batch(&record);
        let keys = keys(&batch);
        let (cumulative, flat) = (ints(&batch, "cumulative"), ints(&batch, "flat"));
        let values: Values =
            (0..keys.len()).map(|at| (keys[at].clone(), (cumulative[at].unwrap(), flat[at].unwrap()))).collect();
        prop_assert_eq!(values, naive::functions(world.samples.iter(), &Look::default()));
        let mut expected: Vec<(String, String)> = Vec::new();
        for sample in &world.samples {
            let path = Look::default().path(sample).unwrap();
            expected.extend(path.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())));
        }
        expected.sort();
        expected.dedup();
        let read = |name: &str, turn: bool| {
            let lists = lists(&batch, name);
            let pairs = lists.iter().enumerate().flat_map(|(row, list)| list.iter().map(move |&other| (row, other as usize)));
            let mut pairs: Vec<(String, String)> = pairs
                .map(|(row, other)| if turn { (other, row) } else { (row, other) })
                .map(|(caller, callee)| (keys[caller].clone(), keys[callee].clone()))
                .collect();
            pairs.sort();
            pairs
        };
        prop_assert_eq!(read("callees", false), expected.clone());
        prop_assert_eq!(read("callers", true), expected);
    }

    #[test]
    fn pprof_holds_every_stacktrace(world in worlds(signed()), filters in filters(), by_pod in any::<bool>()) {
        let mut asked = request(merge_of("{}"), ReportType::Pprof);
        let grouping: &[&str] = if by_pod { &["pod"] } else { &[] };
        asked.group_by = grouping.iter().map(|name| format!("labels.{name}")).collect();
        asked.filters = filters.clone();
        let got = answer(&world.engine(), asked).unwrap();
        let look = Look { filters: &filters, group_by: grouping, ..Look::default() };
        let expected = naive_stacks(world.samples.iter(), &look);
        let sum = |stacks: &BTreeMap<(String, String), i64>| stacks.values().sum::<i64>();
        let stacks = pprof_stacks(&got.report);
        prop_assert_eq!(sum(&stacks), sum(&expected));
        prop_assert_eq!(stacks, expected);
    }

    #[test]
    fn any_split_gives_the_same(world in worlds(signed())) {
        let (folded, spread) = (world.engine_with(folding()), world.spread().engine());
        let engines = [world.engine(), folded, spread, world.joined().engine()];
        let all = |report| {
            let asked = || request(diff_of("{}", false), report);
            engines.each_ref().map(|engine| answer(engine, asked()).unwrap().report)
        };
        for report in
            [ReportType::Top, ReportType::TableArrow, ReportType::Callgraph, ReportType::ProfileMetadata]
        {
            let [split, folded, spread, joined] = all(report).map(|report| format!("{report:?}"));
            prop_assert_eq!(&split, &joined);
            prop_assert_eq!(&folded, &joined);
            prop_assert_eq!(spread, joined);
        }
        let [first, again] = [all(ReportType::Pprof), all(ReportType::Pprof)];
        prop_assert_eq!(format!("{first:?}"), format!("{again:?}"));
        let [split, folded, spread, joined] = first.map(|report| pprof_stacks(&report));
        prop_assert_eq!(&split, &joined);
        prop_assert_eq!(&folded, &joined);
        prop_assert_eq!(spread, joined);
    }

    #[test]
    fn callgraph_equals_the_naive_one(world in worlds(counts())) {
        let mut asked = request(merge_of("{}"), ReportType::Callgraph);
        // So small that nothing is left out.
        asked.node_trim_threshold = 1e-6;
        let Report::Callgraph(graph) = answer(&world.engine(), asked).unwrap().report else { panic!("not a graph") };
        let mut expected: BTreeMap<(String, String), i64> = BTreeMap::new();
        for sample in &world.samples {
            let mut path = Look::default().path(sample).unwrap();
            path.insert(0, "root@".to_owned());
            let mut calls: Vec<(String, String)> =
                path.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
            calls.sort();
            calls.dedup();
            calls.into_iter().for_each(|call| *expected.entry(call).or_default() += sample.value);
        }
        let key = |at: usize| match (at, &graph.nodes[at].meta) {
            (0, _) => "root@".to_owned(),
            (_, meta) if meta.function_name.is_empty() => format!("{:#x}@{}", meta.address, meta.build_id),
            (_, meta) => meta.function_name.clone(),
        };
        let got: BTreeMap<(String, String), i64> =
            graph.edges.iter().map(|edge| ((key(edge.source), key(edge.target)), edge.cumulative)).collect();
        prop_assert_eq!(got, expected);
        prop_assert!(graph.edges.iter().all(|edge| !edge.collapsed));
        prop_assert_eq!(graph.cumulative, world.samples.iter().map(|s| s.value).sum::<i64>());
    }
}

fn small_world() -> World {
    let pool = crate::world::locations();
    let sample = |stack: &[usize], value| Sample {
        profile_type: crate::world::TYPE.to_owned(),
        labels: vec![("service".to_owned(), "s".to_owned())],
        period: 10,
        time_ns: 1,
        duration_ns: 1,
        stack: stack.iter().map(|&at| pool[at].clone()).collect(),
        value,
        attributes: vec![("thread".to_owned(), "t".to_owned())],
    };
    // main → middle → Work, with `middle` small on its own in a second stacktrace.
    World { samples: vec![sample(&[1, 10, 0], 4), sample(&[1, 0], 1000)], sources: vec![0, 1] }
}

#[test]
fn callgraph_collapses_small_functions() {
    let mut asked = request(merge_of("{}"), ReportType::Callgraph);
    asked.node_trim_threshold = 1.0;
    let Report::Callgraph(graph) = answer(&small_world().engine(), asked).unwrap().report else {
        panic!("no graph")
    };
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.meta.function_name.as_str()).collect();
    assert_eq!(names, ["root", "Work", "main"]);
    let edges: Vec<_> = graph.edges.iter().map(|e| (e.source, e.target, e.cumulative, e.collapsed)).collect();
    assert_eq!(edges, [(0, 2, 1004, false), (2, 1, 1004, true)]);
}

#[test]
fn metadata_names_files_and_labels() {
    let got = answer(&small_world().engine(), request(merge_of("{}"), ReportType::ProfileMetadata)).unwrap();
    let Report::ProfileMetadata { mapping_files, labels } = got.report else { panic!("no metadata") };
    assert_eq!(mapping_files, ["/bin/app", "/bin/lib"]);
    assert_eq!(labels, ["service", "thread"]);
}

#[test]
fn pprof_says_what_it_measures() {
    let got = answer(&small_world().engine(), request(merge_of("{}"), ReportType::Pprof)).unwrap();
    let Report::Pprof(gzip) = got.report else { panic!("no pprof") };
    let profile =
        pprof::decode(compression::decompress(&gzip, 1 << 20).unwrap(), &pprof::Limits::default()).unwrap();
    let series = &profile.batch.series[0];
    assert_eq!((series.period, series.duration_ns, profile.time_ns), (10, 10_000_000, 0));
    let kind = &series.profile_type;
    assert_eq!((kind.sample_type.as_str(), kind.sample_unit.as_str()), ("cpu", "nanoseconds"));
    assert_eq!((kind.period_type.as_str(), kind.period_unit.as_str()), ("cpu", "nanoseconds"));
    let small = Settings { report_bytes_max: 8, ..Settings::default() };
    let error =
        answer(&small_world().engine_with(small), request(merge_of("{}"), ReportType::Pprof)).unwrap_err();
    assert_eq!(error.kind(), decima_base::ErrorKind::ResourceExhausted);
}
