//! Blocks become one and say the same.

use std::{collections::BTreeSet, sync::Arc};

use decima_store::{
    Place, Store, inspect,
    source::{ScanRequest, Snapshot, TimeRange},
};
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use proptest::prelude::*;

use crate::{
    batches::{Row, batch, contents, points_sum, read},
    durability::{STACKS, crash, now, rows, settings},
    faults::eventually,
};

const HOUR_NS: i64 = 3_600_000_000_000;

/// The begin of a day that is over for long enough that the store merges its blocks.
fn begin_of_day() -> i64 {
    (now() / (24 * HOUR_NS) - 2) * 24 * HOUR_NS
}

/// A store that is filled first and merges when it is opened anew.
fn without_compaction(path: &std::path::Path) -> decima_store::Settings {
    decima_store::Settings { compaction_memory_bytes: 0, ..settings(path) }
}

async fn block_levels(path: &std::path::Path) -> Vec<u8> {
    inspect::inspect(&Place::shared_directory(path).unwrap(), false)
        .await
        .unwrap()
        .blocks
        .iter()
        .map(|block| block.level)
        .collect()
}

/// Names of what nothing refers to.
async fn unknown(path: &std::path::Path) -> Vec<String> {
    inspect::inspect(&Place::shared_directory(path).unwrap(), false).await.unwrap().unknown
}

/// What label queries see: of each series its name, times, number of samples and attributes.
async fn series(snapshot: &Snapshot) -> BTreeSet<String> {
    let mut out: std::collections::BTreeMap<String, (TimeRange, u64, BTreeSet<String>)> = Default::default();
    for source in &snapshot.sources {
        let table = source.series().await.unwrap();
        for (id, row) in (0..).zip(&table.series) {
            let key = format!("{} {:?} {} {}", row.profile_type, row.labels, row.period, row.duration_ns);
            let known = out.entry(key).or_insert((row.range, 0, BTreeSet::new()));
            known.0 = known.0.with(row.range);
            known.1 += row.sample_count;
            for (name, attribute) in table.attributes.iter() {
                let Some(of) = attribute.of_series(id) else { continue };
                known.2.extend(of.values.keys().map(|&value| format!("{name}={}", attribute.text(value))));
            }
        }
    }
    out.into_iter().map(|row| format!("{row:?}")).collect()
}

async fn scanned_in(store: &Store, range: TimeRange) -> (i128, u64) {
    let (mut sum, mut count) = (0, 0);
    for source in store.snapshot().sources {
        let table = source.series().await.unwrap();
        let request = ScanRequest {
            series: (0..table.series.len() as u32).collect(),
            range,
            attributes: Vec::new(),
            with_times: false,
        };
        let mut add = |run: decima_store::source::SampleRun<'_>| {
            sum += run.values.iter().map(|&v| i128::from(v)).sum::<i128>();
            count += run.values.len() as u64;
        };
        source.scan(&request, &mut add).await.unwrap();
    }
    (sum, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_of_two_hours_and_of_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(without_compaction(directory.path())).await.unwrap();
    let day = begin_of_day();
    for (at, hour) in [0, 1, 4, 5, 9].into_iter().enumerate() {
        let t = day + hour * HOUR_NS + 60_000_000_000;
        let rows: Vec<Row> = vec![
            (STACKS[0], t, 5, "/a"),
            (STACKS[1], t, -7, ""),
            (STACKS[at % 3], t + 1_000_000_000, 11, "/b"),
        ];
        let service = ["a", "b"][at % 2];
        store.append(batch(service, &rows), Some(at as u128)).await.unwrap();
        // The same stacktraces under another series.
        store.append(batch("c", &rows), None).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(store.compact(now()).await.unwrap(), 0);
    store.close().await.unwrap();
    drop(store);
    let store = Store::open(settings(directory.path())).await.unwrap();
    let (expected, points) = (contents(&store).await, points_sum(&store).await);
    let expected_series = series(&store.snapshot()).await;
    let part = TimeRange { start_ns: day + HOUR_NS, end_ns: day + 4 * HOUR_NS + 60_000_000_000 };
    let expected_part = scanned_in(&store, part).await;
    let before = store.snapshot();
    store.compact(now()).await.unwrap();
    assert_eq!(block_levels(directory.path()).await, [2], "two and two, then all five");
    assert_eq!(contents(&store).await, expected);
    assert_eq!(points_sum(&store).await, points);
    assert_eq!(series(&store.snapshot()).await, expected_series);
    assert_eq!(scanned_in(&store, part).await, expected_part);
    assert_eq!(series(&before).await, expected_series, "who began to read before goes on");
    let counts = store.counts();
    assert_eq!((counts.compaction_failures, counts.blocks), (0, 1));
    assert_eq!((counts.compactions, counts.compacted_blocks), (3, 7));

    // The two that were made on the way go; those that somebody reads stay, and are read.
    eventually(async || unknown(directory.path()).await.len() == 5).await;
    assert_eq!(read(&before).await.unwrap(), expected);
    crash(store);
    drop(before);
    assert_eq!(unknown(directory.path()).await.len(), 5, "what a crash leaves");
    let store = Store::open(settings(directory.path())).await.unwrap();
    assert_eq!(contents(&store).await, expected);
    let again = store.append(batch("a", &[(STACKS[0], day, 1, "")]), Some(2)).await.unwrap();
    assert!(again.duplicate, "requests are recognised through a compaction");
    let inventory =
        inspect::inspect(&Place::shared_directory(directory.path()).unwrap(), true).await.unwrap();
    assert_eq!(inventory.findings, Vec::<String>::new());
    eventually(async || unknown(directory.path()).await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_block_is_left_out() {
    let objects = Arc::new(InMemory::new());
    let unused = std::path::Path::new("unused");
    let day = begin_of_day();
    let store = Store::open_at(without_compaction(unused), Place::objects(objects.clone())).await.unwrap();
    for minute in 0..3 {
        let t = day + minute * 60_000_000_000;
        store.append(batch("a", &[(STACKS[0], t, 5, "/a")]), None).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    let all: Vec<_> = futures::StreamExt::collect::<Vec<_>>(objects.list(None)).await;
    let damaged =
        all.into_iter().map(|meta| meta.unwrap().location).find(|path| path.as_ref().contains("nodes"));
    let damaged = damaged.unwrap();
    let mut bytes = objects.get(&damaged).await.unwrap().bytes().await.unwrap().to_vec();
    bytes[20] ^= 1;
    objects.put(&damaged, bytes.into()).await.unwrap();
    let store = Store::open_at(settings(unused), Place::objects(objects.clone())).await.unwrap();
    store.compact(now()).await.unwrap();
    let counts = store.counts();
    assert_eq!((counts.blocks, counts.compactions), (2, 1), "the others are one");
    assert_eq!((counts.compaction_failures, counts.compaction_left_out_blocks), (1, 1));
    assert_eq!(store.compact(now()).await.unwrap(), 0, "it is not tried again");
    assert_eq!(store.counts().compaction_failures, 1);
    let directories: BTreeSet<String> = futures::StreamExt::collect::<Vec<_>>(objects.list(None))
        .await
        .into_iter()
        .filter_map(|meta| {
            meta.unwrap().location.as_ref().split_once("blocks/").map(|(_, rest)| rest[..26].to_owned())
        })
        .collect();
    assert_eq!(directories.len(), 4, "the block that was begun first is gone");
}

/// (service, minute of the day, samples as stacktrace, second, value and route) of a request.
type Request = (u8, i64, Vec<(usize, i64, i64, usize)>);

/// Requests by block.
fn blocks() -> impl Strategy<Value = Vec<Vec<Request>>> {
    let sample = (0..STACKS.len(), 0i64..3, -4i64..9, 0usize..3);
    let request = (0u8..4, 0i64..40, proptest::collection::vec(sample, 1..6));
    proptest::collection::vec(proptest::collection::vec(request, 1..4), 2..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_blocks_say_the_same_as_one(blocks in blocks()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let unused = std::path::Path::new("unused");
            let day = begin_of_day();
            let objects = Arc::new(InMemory::new());
            let store = Store::open_at(without_compaction(unused), Place::objects(objects.clone())).await.unwrap();
            for requests in &blocks {
                for (service, minute, samples) in requests {
                    let rows: Vec<Row> = samples.iter().filter(|s| s.2 != 0).map(|&(stack, second, value, route)| {
                        let t = day + minute * 60_000_000_000 + second * 1_000_000_000;
                        (STACKS[stack], t, value, ["", "/a", "/b"][route])
                    }).collect();
                    if !rows.is_empty() {
                        let mut one = batch(&format!("s{service}"), &rows);
                        one.series[0].duration_ns = 10_000_000_000 + minute;
                        store.append(one, None).await.unwrap();
                    }
                }
                store.flush().await.unwrap();
            }
            store.close().await.unwrap();
            let store = Store::open_at(settings(unused), Place::objects(objects)).await.unwrap();
            let (expected, points) = (contents(&store).await, points_sum(&store).await);
            let expected_series = series(&store.snapshot()).await;
            let ranges: Vec<TimeRange> = (0..4).map(|n| TimeRange {
                start_ns: day + n * 10 * 60_000_000_000,
                end_ns: day + (n + 2) * 10 * 60_000_000_000 + 1_000_000_000,
            }).collect();
            let mut expected_parts = Vec::new();
            for range in &ranges {
                expected_parts.push(scanned_in(&store, *range).await);
            }
            store.compact(now()).await.unwrap();
            assert!(store.counts().blocks <= 1);
            assert_eq!(contents(&store).await, expected);
            assert_eq!(points_sum(&store).await, points);
            assert_eq!(series(&store.snapshot()).await, expected_series);
            for (range, part) in ranges.iter().zip(expected_parts) {
                assert_eq!(scanned_in(&store, *range).await, part);
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_store_merges_two_blocks_of_its_open_window() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(settings(directory.path())).await.unwrap();
    let t = now() - 60_000_000_000;
    for service in ["a", "b"] {
        store.append(batch(service, &rows(t)), None).await.unwrap();
        store.flush().await.unwrap();
    }
    let expected = contents(&store).await;
    eventually(async || block_levels(directory.path()).await == [1]).await;
    assert_eq!(contents(&store).await, expected);
}
