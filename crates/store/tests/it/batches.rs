//! Batches for tests, and what a store says it holds.

use std::collections::BTreeMap;

use decima_profile::{
    ProfileType, SampleBatch,
    batch::{
        Attribute, AttributeValues, Function, Line, Location, Mapping, NO_MAPPING, SeriesSamples, Strings,
    },
};
use decima_store::{
    Store,
    source::{AttributeRun, ScanRequest, TimeRange},
};

/// A sample: stacktrace as function names leaf first, time, value, attribute `route`.
pub(crate) type Row = (&'static [&'static str], i64, i64, &'static str);

/// A batch of one series.
pub(crate) fn batch(service: &str, rows: &[Row]) -> SampleBatch {
    let mut strings = Strings::over(Vec::new());
    let file = strings.push("/bin/app");
    let build_id = strings.push("abc123");
    let route = strings.push("route");
    let mut batch = SampleBatch {
        mappings: vec![Mapping { start: 0x1000, limit: 0x9000, offset: 0, file, build_id }],
        stacktrace_offsets: vec![0],
        ..SampleBatch::default()
    };
    let mut locations = BTreeMap::new();
    let mut series = SeriesSamples {
        profile_type: ProfileType::parse("process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta").unwrap(),
        labels: vec![("job".to_owned(), service.to_owned())],
        period: 10_000_000,
        duration_ns: 10_000_000_000,
        times_ns: rows.iter().map(|r| r.1).collect(),
        stacktraces: Vec::new(),
        values: rows.iter().map(|r| r.2).collect(),
        attributes: Vec::new(),
    };
    if series.times_ns.windows(2).all(|w| w[0] == w[1]) {
        series.times_ns.truncate(1);
    }
    let mut routes = Vec::new();
    for (at, (stacktrace, _, _, r)) in rows.iter().enumerate() {
        for &name in *stacktrace {
            let id = *locations.entry(name).or_insert_with(|| {
                let function = batch.functions.len() as u32;
                batch.functions.push(Function { name: strings.push(name), ..Function::default() });
                batch.lines.push(Line { function, line: 7, column: 0 });
                batch.locations.push(Location {
                    mapping: if name.starts_with("kernel") { NO_MAPPING } else { 0 },
                    address: 0x2000 + u64::from(function),
                    frame_type: 0,
                    first_line: function,
                    line_count: 1,
                });
                function
            });
            batch.stacktrace_locations.push(id);
        }
        batch.stacktrace_offsets.push(batch.stacktrace_locations.len() as u32);
        series.stacktraces.push(at as u32);
        routes.push(if r.is_empty() { 0 } else { strings.push(r) });
    }
    if routes.iter().any(|r| *r != 0) {
        series.attributes.push(Attribute { name: route, values: AttributeValues::Text(routes) });
    }
    batch.series.push(series);
    batch.strings = strings;
    batch
}

/// Sum by "service;root;…;leaf;route@time".
pub(crate) async fn contents(store: &Store) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        let partitions: Vec<u32> = (0..table.partitions.len() as u32).collect();
        let symbols = source.symbols(&partitions).await.unwrap();
        let trees = source.trees(&partitions, 0..partitions.len()).await.unwrap();
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range: TimeRange::ALL,
            attributes: vec!["route".to_owned(), "absent".to_owned()],
            with_times: true,
        };
        source
            .scan(&request, &mut |run| {
                for row in 0..run.values.len() {
                    let tree = &trees[run.partition as usize];
                    let mut node = tree.leaf[run.stacktraces[row] as usize];
                    let mut names = Vec::new();
                    while node != 0 {
                        for line in symbols.location_lines(tree.location[node as usize]) {
                            let function = symbols.functions[line.function as usize];
                            names.push(symbols.strings.get(function.name));
                        }
                        node = tree.parent[node as usize];
                    }
                    names.reverse();
                    let route = match run.attributes[0] {
                        Some(AttributeRun::Text { ids, dictionary }) => dictionary.get(ids[row]),
                        _ => "",
                    };
                    assert!(run.attributes[1].is_none());
                    let service = table.series[run.series as usize].label("job");
                    let key = format!("{service};{};{route}@{}", names.join(";"), run.times_ns.get(row));
                    *out.entry(key).or_default() += run.values[row];
                }
            })
            .await
            .unwrap();
    }
    out
}

/// Sum of all points.
pub(crate) async fn points_sum(store: &Store) -> (i64, u64) {
    let (mut sum, mut count) = (0, 0);
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range: TimeRange::ALL,
            attributes: Vec::new(),
            with_times: false,
        };
        source
            .points(&request, &mut |_, points| {
                for p in points {
                    sum += p.sum;
                    count += p.count;
                }
            })
            .await
            .unwrap();
    }
    (sum, count)
}
