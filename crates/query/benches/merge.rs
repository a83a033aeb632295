//! CPU of reports over a generated fleet in memory: 200 services with a tree of their own, 0.68 M stacktraces, 7 M nodes,
//! 4 M samples. Reading and decoding are not part of it. `DECIMA_BENCH_SERVICES` changes the number of services.
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a bench stops by panicking and tells its size"
)]

mod fleet;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use decima_query::{
    Condition, Engine, Filter, FrameCriteria, QueryRangeRequest, ReportRequest, ReportType, Selection,
    TimeRange, engine::Settings,
};
use decima_store::source::Snapshot;

fn merge_of(matchers: &str) -> Selection {
    Selection::Merge { query: format!("{}{{{matchers}}}", fleet::TYPE), range: TimeRange::ALL }
}

fn reports(c: &mut Criterion) {
    let services = std::env::var("DECIMA_BENCH_SERVICES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let enough_bytes = 1 << 33;
    let settings = Settings {
        report_bytes_max: 1 << 30,
        memory_bytes: enough_bytes,
        fold_bytes: enough_bytes,
        ..Settings::default()
    };
    let snapshot = fleet::snapshot(services);
    let twice = Snapshot { sources: [snapshot.sources.clone(), snapshot.sources.clone()].concat() };
    let engine = Engine::over(snapshot, settings.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let mut group = c.benchmark_group("fleet");
    group.sample_size(10);
    let mut bench = |name: &str, request: ReportRequest| {
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(engine.query(black_box(request.clone()))).expect("an answer"));
        });
    };
    let flame = || ReportRequest::new(merge_of(""), ReportType::FlamegraphArrow);
    bench("flame", flame());
    bench("flame, one service", ReportRequest::new(merge_of("service=\"s7\""), ReportType::FlamegraphArrow));
    bench("flame, 0.1 %", ReportRequest { node_trim_threshold: 0.1, ..flame() });
    bench("flame, a million nodes", ReportRequest { node_max: 1 << 20, ..flame() });
    bench("flame, by service", ReportRequest { group_by: vec!["labels.service".to_owned()], ..flame() });
    bench("flame, by pod", ReportRequest { group_by: vec!["labels.pod".to_owned()], ..flame() });
    bench("flame, inverted", ReportRequest { invert_call_stack: true, ..flame() });
    let contains = |text: &str| FrameCriteria {
        function_name: Some(Condition::Contains(text.to_owned())),
        ..FrameCriteria::default()
    };
    bench("flame, stack filter", ReportRequest { filters: vec![Filter::Stack(contains("17"))], ..flame() });
    bench("flame, frame filter", ReportRequest { filters: vec![Filter::Frame(contains("7"))], ..flame() });
    let side = || Box::new(merge_of(""));
    let diff = Selection::Diff { a: side(), b: side(), absolute: false };
    bench("flame, compared", ReportRequest::new(diff, ReportType::FlamegraphArrow));
    bench("top", ReportRequest::new(merge_of(""), ReportType::Top));
    bench("table", ReportRequest::new(merge_of(""), ReportType::TableArrow));
    bench("callgraph", ReportRequest::new(merge_of(""), ReportType::Callgraph));
    bench("metadata", ReportRequest::new(merge_of(""), ReportType::ProfileMetadata));
    bench("pprof", ReportRequest::new(merge_of(""), ReportType::Pprof));
    for (name, fold_bytes) in [("flame, twice", enough_bytes), ("flame, twice, folded", 0)] {
        let engine = Engine::over(twice.clone(), Settings { fold_bytes, ..settings.clone() });
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(engine.query(black_box(flame()))).expect("an answer"));
        });
    }
    group.bench_function("range", |b| {
        let request = QueryRangeRequest {
            query: format!("{}{{}}", fleet::TYPE),
            range: TimeRange { start_ns: 0, end_ns: 3_600_000_000_000 },
            step_ns: 15_000_000_000,
            limit: 0,
            sum_by: vec!["service".to_owned()],
        };
        b.iter(|| runtime.block_on(engine.query_range(black_box(request.clone()))).expect("an answer"));
    });
    group.bench_function("label values", |b| {
        b.iter(|| {
            runtime
                .block_on(engine.values("service", decima_query::LabelsRequest::default()))
                .expect("values")
        });
    });
    group.finish();
}

criterion_group!(benches, reports);
criterion_main!(benches);
