//! The engine over the real store: the same answers from head, block and both as from memory.

use std::collections::HashMap;

use decima_profile::{
    ProfileType, SampleBatch,
    batch::{
        Attribute, AttributeValues, Function, Line, Location, Mapping, NO_MAPPING, SeriesSamples, Strings,
    },
};
use decima_query::{Engine, LabelsRequest, QueryRangeRequest, ReportType, TimeRange, engine::Settings};
use decima_store::Store;
use proptest::prelude::*;

use crate::{
    answers::flamegraph_record,
    memory::{LocationSpec, Sample},
    world::{ALL, TYPE, World, diff_of, folding, merge_of, request, signed, worlds},
};

/// One request with these samples.
pub(crate) fn batch(samples: &[Sample]) -> SampleBatch {
    let mut batch = SampleBatch {
        strings: Strings::over(Vec::new()),
        stacktrace_offsets: vec![0],
        ..SampleBatch::default()
    };
    let mut locations: HashMap<LocationSpec, u32> = HashMap::new();
    let mut series: Vec<(Vec<&Sample>, Vec<u32>)> = Vec::new();
    for sample in samples {
        for location in &sample.stack {
            let id = match locations.get(location) {
                Some(&id) => id,
                None => {
                    let id = add_location(&mut batch, location);
                    locations.insert(location.clone(), id);
                    id
                }
            };
            batch.stacktrace_locations.push(id);
        }
        batch.stacktrace_offsets.push(batch.stacktrace_locations.len() as u32);
        let stacktrace = batch.stacktrace_offsets.len() as u32 - 2;
        let found = series.iter_mut().find(|(known, _)| known[0].labels == sample.labels);
        match found {
            Some((samples, stacktraces)) => {
                samples.push(sample);
                stacktraces.push(stacktrace);
            }
            None => series.push((vec![sample], vec![stacktrace])),
        }
    }
    for (samples, stacktraces) in series {
        let attributes = ["number", "thread"].map(|name| {
            let value = |sample: &&Sample| {
                sample.attributes.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
            };
            let values: Vec<Option<String>> = samples.iter().map(value).collect();
            let texts = |strings: &mut Strings| {
                values.iter().map(|v| v.as_ref().map_or(0, |v| strings.push(v))).collect()
            };
            let values = if name == "number" {
                let values = values.iter().map(|value| value.as_ref().and_then(|v| v.parse().ok())).collect();
                AttributeValues::Integer { unit: 0, values }
            } else {
                AttributeValues::Text(texts(&mut batch.strings))
            };
            Attribute { name: batch.strings.push(name), values }
        });
        batch.series.push(SeriesSamples {
            profile_type: ProfileType::parse(&samples[0].profile_type).unwrap(),
            labels: samples[0].labels.clone(),
            period: samples[0].period,
            duration_ns: samples[0].duration_ns,
            times_ns: samples.iter().map(|s| s.time_ns).collect(),
            stacktraces,
            values: samples.iter().map(|s| s.value).collect(),
            attributes: attributes.into(),
        });
    }
    batch
}

fn add_location(batch: &mut SampleBatch, spec: &LocationSpec) -> u32 {
    let mapping = spec.mapping.as_ref().map_or(NO_MAPPING, |(file, build_id)| {
        let mapping = Mapping {
            file: batch.strings.push(file),
            build_id: batch.strings.push(build_id),
            ..Mapping::default()
        };
        batch.mappings.push(mapping);
        batch.mappings.len() as u32 - 1
    });
    let first_line = batch.lines.len() as u32;
    for line in &spec.lines {
        let function = Function {
            name: batch.strings.push(&line.name),
            system_name: batch.strings.push(&line.system_name),
            filename: batch.strings.push(&line.filename),
            start_line: line.start_line,
        };
        batch.functions.push(function);
        batch.lines.push(Line { function: batch.functions.len() as u32 - 1, line: line.line, column: 0 });
    }
    batch.locations.push(Location {
        mapping,
        address: spec.address,
        frame_type: 0,
        first_line,
        line_count: spec.lines.len() as u32,
    });
    batch.locations.len() as u32 - 1
}

async fn open(path: &std::path::Path, compaction_memory_bytes: u64) -> Store {
    Store::open(settings(path, compaction_memory_bytes)).await.unwrap()
}

pub(crate) fn settings(path: &std::path::Path, compaction_memory_bytes: u64) -> decima_store::Settings {
    decima_store::Settings {
        path: path.to_owned(),
        head_memory_bytes: 64 << 20,
        retention: None,
        tiers: decima_store::Tiers::default(),
        storage_max_bytes: None,
        ahead_max: std::time::Duration::from_secs(60),
        partition_labels: vec!["service".to_owned()],
        cache_bytes: 16 << 20,
        compaction_memory_bytes,
    }
}

/// `by_source` has the samples as the sources of the store have them.
async fn compare(store: &Store, world: &World, by_source: &World) {
    let stored = Engine::new(store.clone(), Settings::default());
    let folded = Engine::new(store.clone(), folding());
    let expected = world.joined().engine();
    let flame = ReportType::FlamegraphArrow;
    let mut asked = vec![
        request(merge_of("{}"), flame),
        request(merge_of("{thread!=\"t1\", number=\"2\"}"), flame),
        request(diff_of("{service=~\"s[01]\"}", false), flame),
    ];
    asked[0].group_by = ["labels.pod", "labels.thread", "labels.number"].map(str::to_owned).into();
    asked[1].invert_call_stack = true;
    for asked in asked {
        let expected = expected.query(asked.clone()).await.unwrap();
        let folded = folded.query(asked.clone()).await.unwrap();
        let got = stored.query(asked).await.unwrap();
        assert_eq!(flamegraph_record(&got).record, flamegraph_record(&expected).record);
        assert_eq!(flamegraph_record(&folded).record, flamegraph_record(&expected).record);
        assert_eq!((got.total, got.notices), (expected.total, expected.notices));
    }
    for report in
        [ReportType::TableArrow, ReportType::Top, ReportType::Callgraph, ReportType::ProfileMetadata]
    {
        let asked = request(merge_of("{pod=\"\"}"), report);
        let (got, expected) =
            (stored.query(asked.clone()).await.unwrap(), expected.query(asked).await.unwrap());
        assert_eq!(format!("{:?}", got.report), format!("{:?}", expected.report));
    }
    for (query, sum_by) in [("{}", "pod"), ("{thread=\"t1\"}", "service"), ("{}", "thread")] {
        let asked = QueryRangeRequest {
            query: format!("{TYPE}{query}"),
            range: TimeRange { start_ns: 1, end_ns: ALL.end_ns },
            step_ns: 2,
            limit: 0,
            sum_by: vec![sum_by.to_owned()],
        };
        let got = stored.query_range(asked.clone()).await;
        let expected = expected.query_range(asked).await;
        assert_eq!(format!("{got:?}"), format!("{expected:?}"));
    }
    // Whether a series has samples in a range is told by the first and the last one in each source.
    let expected = by_source.engine();
    let range = Some(TimeRange { start_ns: 2, end_ns: 3 });
    let scopes = [
        ("", None),
        ("{service=\"s1\"}", None),
        ("{thread=~\"t[12]\",pod!=\"p1\"}", range),
        ("{number!=\"1\"}", range),
    ];
    for (matcher, range) in scopes {
        let asked =
            || LabelsRequest { matchers: vec![matcher.to_owned()], range, ..LabelsRequest::default() };
        let names = stored.labels(asked()).await.unwrap();
        assert_eq!(names, expected.labels(asked()).await.unwrap(), "{matcher} {range:?}");
        for name in ["service", "thread", "number", "pod"] {
            let values = stored.values(name, asked()).await.unwrap();
            assert_eq!(
                values,
                expected.values(name, asked()).await.unwrap(),
                "{name} of {matcher} {range:?}"
            );
        }
    }
    assert_eq!(stored.profile_types(None).await.unwrap(), expected.profile_types(None).await.unwrap());
    assert_eq!(stored.has_profile_data().await.unwrap(), !world.samples.is_empty());
}

proptest! {
    // Each case flushes and opens again, which syncs files.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn head_blocks_and_merged_blocks_answer_like_memory(world in worlds(signed())) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let store = open(directory.path(), 0).await;
            let of = |source: usize| -> Vec<Sample> {
                let samples = world.samples.iter().zip(&world.sources).filter(|(_, s)| **s == source);
                samples.map(|(sample, _)| sample.clone()).collect()
            };
            let sources = world.sources.iter().map(|&source| source.min(1)).collect();
            let by_source = World { samples: world.samples.clone(), sources };
            store.append(batch(&of(0)), None).await.unwrap();
            store.flush().await.unwrap();
            store.append(batch(&of(1)), None).await.unwrap();
            store.append(batch(&of(2)), None).await.unwrap();
            compare(&store, &world, &by_source).await;
            store.close().await.unwrap();
            drop(store);
            let store = open(directory.path(), 0).await;
            compare(&store, &world, &by_source).await;
            store.close().await.unwrap();
            drop(store);
            let store = open(directory.path(), 256 << 20).await;
            store.compact(i64::MAX).await.unwrap();
            assert!(store.counts().blocks <= 1);
            compare(&store, &world, &world.joined()).await;
        });
    }
}
